"""``axnode serve`` at its most talkative, with a model that needs no torch, for tests.

`python -m tests.canary_node --config FILE` serves; with the options of `daemon.inference` it is
the analysing process: the real one but for its network, which sees a node on every frame.
"""

import argparse
import logging
import os
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon import answer, inference
from daemon.child import ChildOptions
from daemon.commands import serve
from daemon.pipeline import Recipe, analyse
from model.preprocess import Spec
from tests.fakes import FakePredictor, disk

TALKATIVE = ("pydicom", "pynetdicom", "highdicom", "alembic", "uvicorn", "apscheduler", "asyncio")


class Blabbing:
    """A loaded model whose decoders, threads and errors say what they have read."""

    def describe(self) -> dict[str, str]:
        """Return what the service shows of it."""
        return {"digest": "d", "device": "cpu"}

    def analyse(self, request: dict[str, Any], progress: Callable[[], None]) -> dict[str, Any]:
        """Answer a request of `daemon.worker`."""
        return {"studies": [self._read(study, progress) for study in request["studies"]]}

    def _read(self, request: dict[str, Any], progress: Callable[[], None]) -> dict[str, Any]:
        """Read every frame with the real decoders."""
        inputs = [(uid, Path(path)) for uid, path in request["inputs"]]
        read = inputs[0][1].read_bytes()
        for stream in (1, 2):  # as a decoder written in C would
            os.write(stream, read)
        name = read.partition(b"PN")[2][:20].decode("latin-1")
        thread = threading.Thread(target=_fail, args=(name,))
        thread.start()
        thread.join()
        if b"FAIL" in read:
            _fail(name)
        recipe = Recipe(Spec(width=64, height=64), request["cine_frames"], "root")
        found = analyse(inputs, FakePredictor(lambda number: [disk(20, 20)]), recipe, progress)
        return answer.save(found, Path(request["masks"]))

    def is_fatal(self, error: Exception) -> bool:
        """Tell whether the process should be replaced."""
        return False


def _fail(words: str) -> None:
    raise ValueError(f"cannot decode {words}")


def child() -> ChildOptions:
    """Return how the service starts this file as its analysing process."""
    command = (sys.executable, "-m", "tests.canary_node")
    return ChildOptions(None, "cpu", resource.RLIM_INFINITY, command=command)


def main() -> int:
    """Serve, or analyse."""
    words = sys.argv[1:]
    if words and words[0].startswith("{"):
        return inference.main(lambda options: Blabbing())
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.DEBUG)
    return serve.run(parser.parse_args(words), child())


if __name__ == "__main__":
    sys.exit(main())
