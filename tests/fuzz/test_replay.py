"""The fuzz targets' promises on the corpus and on random damage; `make fuzz` looks further."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


COUNTS = {"walker": 10_000, "association": 5000, "frames": 600, "multipart": 5000}


@pytest.mark.parametrize(("target", "count"), COUNTS.items())
def test_promises_hold(target: str, count: int, tmp_path: Path) -> None:
    """In a process of its own, with a limit on memory: C code decodes."""
    last = tmp_path / f"{target}.input"
    command = [sys.executable, "-m", "tests.fuzz.replay", target, str(count), str(last)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{last.read_bytes()!r:.2000}\n{done.stderr[-4000:]}"
    assert int(done.stdout.split()[-2]) > count
