"""The analysing process confines itself, whatever it is then asked to decode."""

import subprocess
import sys

import pytest

CONFINED = """
import resource
from daemon.inference import _confine
_confine(256 << 20)
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
{}
"""


def run(lines: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CONFINED.format(lines)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "takes", ["bytearray(1 << 30)", "import numpy; numpy.ones(1 << 30, numpy.uint8)"]
)
def test_memory_beyond_the_limit_is_refused(takes: str) -> None:
    done = run(takes)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


def test_memory_within_the_limit_is_had() -> None:
    assert run("bytearray(64 << 20)").returncode == 0
