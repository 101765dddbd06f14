"""``axnode serve`` with a model that needs no torch and takes a fixed time, and finds nothing.

``python -m tests.benchmarks.stub_node --config FILE --role worker`` serves; with the options of
`daemon.inference` it is the analysing process: the real one but for its network.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon import answer, inference
from daemon.child import ChildOptions
from daemon.commands import serve
from daemon.pipeline import Recipe, analyse
from model.preprocess import Spec
from tests.fakes import FakePredictor

SECONDS = "AXNODE_STUB_SECONDS"  # a study, in the environment


class Stub:
    """A loaded model that takes its time."""

    def describe(self) -> dict[str, str]:
        """Return what the service shows of it."""
        return {"digest": "d", "device": "stub"}

    def analyse(self, request: dict[str, Any], progress: Callable[[], None]) -> dict[str, Any]:
        """Answer a request of `daemon.worker`."""
        return {"studies": [self._read(study, progress) for study in request["studies"]]}

    def _read(self, request: dict[str, Any], progress: Callable[[], None]) -> dict[str, Any]:
        """Read every frame with the real decoders, and wait as long as a network would take."""
        until = time.monotonic() + float(os.environ[SECONDS])
        inputs = [(uid, Path(path)) for uid, path in request["inputs"]]
        recipe = Recipe(Spec(width=64, height=64), request["cine_frames"], "root")
        found = analyse(inputs, FakePredictor(), recipe, progress)
        time.sleep(max(0.0, until - time.monotonic()))
        return answer.save(found, Path(request["masks"]))

    def is_fatal(self, error: Exception) -> bool:
        """Tell whether the process should be replaced."""
        return False


def main() -> int:
    """Serve, or analyse."""
    words = sys.argv[1:]
    if words and words[0].startswith("{"):
        return inference.main(lambda options: Stub())
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    command = (sys.executable, "-m", "tests.benchmarks.stub_node")
    options = ChildOptions(None, "cpu", resource.RLIM_INFINITY, command=command)
    return serve.run(parser.parse_args(words), options)


if __name__ == "__main__":
    sys.exit(main())
