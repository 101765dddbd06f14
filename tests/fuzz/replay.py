"""Replay a target's corpus and mutations of it: ``python -m tests.fuzz.replay TARGET COUNT LAST``.

The input at hand is written to LAST first: a decoder in C may end the process without a word.
"""

import importlib
import resource
import sys
from pathlib import Path
from typing import Any

from tests.fuzz.mutator import mutations

CORPUS = Path(__file__).parent / "corpus"
_MEMORY_BYTES = 2 << 30
_SEED = 20_260


def main(name: str, count: str, last: str) -> None:
    """Check every input; what breaks a promise raises."""
    target: Any = importlib.import_module(f"tests.fuzz.{name}")
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    inputs = [*target.seeds(), *(f.read_bytes() for f in sorted((CORPUS / name).glob("*")))]
    number = 0
    with Path(last).open("wb", buffering=0) as file:
        for data in (*inputs, *mutations(inputs, int(count), _SEED)):
            file.seek(0)
            file.truncate()
            file.write(data)
            target.check(data)
            number += 1
    print(f"{number} inputs")


if __name__ == "__main__":
    main(*sys.argv[1:])
