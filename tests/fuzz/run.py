"""Fuzz one target by coverage: ``python -m tests.fuzz.run TARGET SECONDS``; needs Atheris.

Inputs that bring new coverage are kept in ``build/fuzz/TARGET``; one that breaks a promise is
written there as ``crash-…``, named in the output, and ends the run with libFuzzer's exit code.
"""

import importlib
import os
import resource
import sys
from hashlib import sha1
from pathlib import Path
from typing import Any

import atheris

HERE = Path(__file__).parent
WORK = Path("build/fuzz")
MEMORY_BYTES = 4 << 30


def main(name: str, seconds: str) -> None:
    """Fuzz until the time is over or a promise is broken."""
    with atheris.instrument_imports(include=["dicom_io"]):
        target: Any = importlib.import_module(f"tests.fuzz.{name}")
    corpus = WORK / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in (*target.seeds(), *_real(target)):
        (corpus / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    options = [
        f"-max_total_time={seconds}",
        "-max_len=65536",
        "-timeout=20",
        "-rss_limit_mb=3072",
        f"-artifact_prefix={corpus}/",
        "-print_final_stats=1",
    ]
    folders = [str(corpus), *map(str, [HERE / "corpus" / name] if _committed(name) else [])]
    atheris.Setup([sys.argv[0], *options, *folders], target.check)
    atheris.Fuzz()


def _committed(name: str) -> bool:
    return (HERE / "corpus" / name).is_dir()


def _real(target: Any) -> list[bytes]:
    """Seeds out of real ultrasound files, where there are some; they stay on this machine."""
    folder = Path(os.environ.get("AXNODE_TEST_DATA", "")) / "us_dicom"
    found = (target.seed_of(file) for file in sorted(folder.glob("*.dcm")))
    return [seed for seed in found if seed is not None]


if __name__ == "__main__":
    main(*sys.argv[1:])
