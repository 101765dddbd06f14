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
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TextIO

from daemon import logs

_PR_SET_PDEATHSIG = 1
log = logging.getLogger("daemon.inference")  # as the entry of a process it is __main__


class Analysing(Protocol):
    """What answers the requests: `daemon.analyser.Analysers`."""

    def describe(self) -> dict[str, str]:
        """Return what the service shows of it."""

    def analyse(self, request: dict[str, Any], progress: Callable[[], None]) -> dict[str, Any]:
        """Answer a request."""

    def is_fatal(self, error: Exception) -> bool:
        """Tell whether the process should be replaced after this error."""


def _load(options: dict[str, Any]) -> Analysing:
    from daemon.analyser import Analysers

    folders = [Path(bundle) if bundle else None for bundle in options["bundles"]]
    return Analysers.load(folders, options["device"])


def main(load: Callable[[dict[str, Any]], Analysing] = _load) -> int:
    """Serve requests until standard input closes; `load` makes what answers them."""
    options = json.loads(sys.argv[1])
    answers, lines = _take_outputs()
    logs.configure(logging.WARNING, lines)
    _confine(options["memory_bytes"])
    try:
        analyser = load(options)
    except Exception as error:  # noqa: BLE001 - process entry: the parent is told, in one line
        _say(answers, error=_words(error), fatal=True)
        return 1
    _say(answers, ready=analyser.describe())
    for line in sys.stdin:
        _serve(analyser, json.loads(line), answers)
    return 0


def _take_outputs() -> tuple[TextIO, TextIO]:
    """Return where answers and log lines go: standard output and error, which lead nowhere then.

    Decoders written in C print what they like, and may quote the file.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    lines = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return answers, lines


def _serve(analyser: Analysing, request: dict[str, Any], answers: TextIO) -> None:
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
    sys.exit(main())
