"""The analysing process: owns torch, the decoders and the device; no database, no network.

Reads one JSON request a line from standard input and answers in JSON lines on standard output:
``{"ready": …}`` once, ``{"alive": true}`` per batch, then ``{"answer": …}`` or ``{"error": …}``.
It ends when its input closes. Started by `daemon.worker`; a crash here touches nothing else.
"""

import ctypes
import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, TextIO

from daemon import logs

_PR_SET_PDEATHSIG = 1
log = logging.getLogger(__name__)


def main() -> int:
    """Serve requests until standard input closes."""
    options = json.loads(sys.argv[1])
    # what libraries print must not end up among the answers
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    _confine(options["memory_bytes"])
    try:
        from daemon.analyser import Analyser

        analyser = Analyser.load(Path(options["bundle"]), options["device"])
    except Exception as error:  # noqa: BLE001 - process entry: the parent is told, in one line
        _say(answers, error=_words(error), fatal=True)
        return 1
    _say(answers, ready=analyser.describe())
    for line in sys.stdin:
        _serve(analyser, json.loads(line), answers)
    return 0


def _serve(analyser: Any, request: dict[str, Any], answers: TextIO) -> None:
    try:
        answer = analyser.analyse(request, lambda: _say(answers, alive=True))
    except Exception as error:
        log.exception("analysis failed", extra={"action": "analyse"})
        _say(answers, error=_words(error), fatal=analyser.is_fatal(error))
        return
    _say(answers, answer=answer)


def _say(answers: TextIO, **message: object) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _words(error: Exception) -> str:
    # our own messages name no patient; a library's may quote a data set
    ours = type(error).__module__.partition(".")[0] in ("daemon", "dicom_io", "model")
    text = str(error).splitlines()[0] if ours and str(error) else ""
    return text or f"{type(error).__name__}{logs.place_of(error)}"


def _confine(memory_bytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump holds images
    # a child that survives its parent would hold the device for ever
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    logs.configure(logging.WARNING)
    sys.exit(main())
