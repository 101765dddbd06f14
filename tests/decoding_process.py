"""The analysing process with everything real but the network: decoders, pipeline, memory limit.

Started in place of `daemon.inference` by `daemon.child.ChildOptions.command`; it finds no node.
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon import answer, inference, logs
from daemon.pipeline import Recipe, analyse
from model.preprocess import Spec
from tests.fakes import FakePredictor


class Reading:
    """Reads a study as `daemon.analyser.Analyser` does, and finds nothing on it."""

    def analyse(self, request: dict[str, Any], progress: Callable[[], None]) -> dict[str, Any]:
        """Answer a request of `daemon.worker`."""
        return {"studies": [self._read(study, progress) for study in request["studies"]]}

    def _read(self, request: dict[str, Any], progress: Callable[[], None]) -> dict[str, Any]:
        inputs = [(uid, Path(path)) for uid, path in request["inputs"]]
        recipe = Recipe(Spec(width=64, height=64), request["cine_frames"], request["tracking_root"])
        analysis = analyse(inputs, FakePredictor(), recipe, progress)
        return answer.save(analysis, Path(request["masks"]))

    @staticmethod
    def is_fatal(error: Exception) -> bool:
        """Tell whether the process should be replaced after this error."""
        return isinstance(error, MemoryError)


def main() -> None:
    """Serve requests until standard input closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    inference._confine(json.loads(sys.argv[1])["memory_bytes"])
    inference._say(answers, ready={"digest": "d", "device": "none"})
    for line in sys.stdin:
        inference._serve(Reading(), json.loads(line), answers)


if __name__ == "__main__":
    logs.configure(logging.WARNING)
    main()
