"""Acknowledged means durable: the system calls of one C-STORE, in the order the kernel saw them."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest

from tests import builders_wire as wire
from tests.peers import system_tool, wait_until
from tests.reception_node import ReceptionNode, associated, store_pdu

pytestmark = pytest.mark.integration

CALLS = "write,writev,pwrite64,pwritev,fsync,fdatasync,rename,renameat,renameat2,sendto,sendmsg"
# What a call is a step of: name of the call, its first argument, the step.
STEPS = (
    (r"p?writev?(64)?", r"\d+</.*/incoming/.*\.part>", "write the file"),
    (r"f(data)?sync", r"\d+</.*/incoming/.*\.part>", "sync the file"),
    (r"rename.*", r".*/incoming/.*\.part\", .*/spool/[0-9a-f]{2}/[0-9a-f]{64}\.dcm\"", "name it"),
    (r"f(data)?sync", r"\d+</.*/spool/[0-9a-f]{2}>", "sync its folder"),
    (r"p?writev?(64)?", r"\d+</.*/axnode\.sqlite-wal>", "write the row"),
    (r"f(data)?sync", r"\d+</.*/axnode\.sqlite-wal>", "sync the row"),
    # a P-DATA-TF, and no answer to the association request
    (r"send(to|msg)", r"\d+<(socket|TCP).*>, (\{.*)?\"\\4\\0", "answer"),
)
ORDER = [step for _, _, step in STEPS]


def completed(trace: str) -> Iterator[str]:
    """Yield the calls in the order in which they ended; answers count from their beginning."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>").rstrip()
            if call.startswith("send"):
                yield f"{begun.pop(pid)}) = 0"
        elif resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            if pid in begun:
                yield begun.pop(pid) + resumed[1]
        else:
            yield call


def steps(trace: str) -> list[str]:
    """Return the steps of a C-STORE that a trace shows; calls that failed are none."""
    found = []
    for call in completed(trace):
        name, _, arguments = call.partition("(")
        for pattern, first, step in STEPS:
            if re.fullmatch(pattern, name) and re.match(first, arguments) and ") = -1" not in call:
                found.append(step)
    return [step for step, _ in groupby(found)]


@contextmanager
def traced(pid: int, path: Path) -> Iterator[None]:
    """Record the calls of a running process, all its threads."""
    command = [system_tool("strace"), "-f", "-y", "-s", "80", "-e", f"trace={CALLS}"]
    command += ["-o", str(path), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        told = strace.stderr.readline()
        if "attached" not in told:
            strace.wait()
            pytest.skip(f"strace cannot attach here: {told.strip()}")
        try:
            yield
        finally:
            strace.terminate()


def test_an_instance_is_on_the_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    """Bytes, their sync, the name, its sync, the row, its sync, and only then 0x0000."""
    trace = tmp_path / "trace"
    data = wire.dataset(instance="1.2.7.1", study="1.2.7", pixels=bytes(90_000))
    with (
        ReceptionNode(tmp_path / "node", {"linger_s": 0.2}) as node,
        associated(node.port) as peer,
        traced(node.pid, trace),
    ):
        peer.send(store_pdu("1.2.7.1", data))
        assert peer.status() == 0x0000
        wait_until(lambda: "answer" in steps(trace.read_text()))
    assert steps(trace.read_text()) == ORDER


def test_a_refused_instance_is_neither_synced_nor_named(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with (
        ReceptionNode(tmp_path / "node", {"linger_s": 0.2}) as node,
        associated(node.port) as peer,
        traced(node.pid, trace),
    ):
        peer.send(store_pdu("1.2.7.1", b"\x93\x11\xfe\x07" * 300))
        assert peer.status() == 0xC000
        wait_until(lambda: "answer" in steps(trace.read_text()))
    assert steps(trace.read_text()) == ["write the file", "answer"]
