"""Reception as a node does it, against DCMTK's storescp and Orthanc: rate, answers, processor time.

    python -m tests.benchmarks.bench_ingest [--rounds 2] [--json FILE]

This node's whole reception (acceptor, hash, spool with fsync, walk, row committed before 0x0000) in
a process of its own, DCMTK's ``storescp --fork`` (no fsync, no index) and Orthanc (fsync, index),
each with PDUs of 128 KiB and started afresh for every round. The same storescu pushes distinct
instances over one, four and sixteen associations at once: uncompressed ones of 2.4 MB, and JPEG of
100 KB. Then `tests.benchmarks.timed_sender` sends others and times every C-STORE. A receiver that
has not kept every instance ends the run.
"""

import contextlib
import io
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter

import pydicom

import sample_dicoms
from daemon import schema
from tests import builders_wire as wire
from tests.benchmarks.receivers import SOURCES, Receiver
from tests.benchmarks.table import Figure, at_least, at_most, finish
from tests.benchmarks.timed_sender import TimedSender, send
from tests.footprint import cpu_s
from tests.misbehaviour import CALLING
from tests.peers import Orthanc, StoreScp, system_tool
from tests.reception_node import ReceptionNode

ASSOCIATIONS = (1, 4, 16)
SAMPLE = Path(sample_dicoms.__file__).parent / "5-both-sides-1.dcm"  # for a header of usual length
PLACEHOLDER = "1.2.826.0.1.3680043.8.498.1000000"
PDU_BYTES = 131072  # the longest that DCMTK knows, and what this node offers
AXNODE, STORESCP, ORTHANC = "this node", "storescp", "Orthanc"


@dataclass(frozen=True)
class Kind:
    """A kind of instances."""

    words: str
    syntax: str
    pixel_bytes: int
    propose: str  # storescu's switch
    images: int  # in one push
    at_least: int  # of them over each association, so that senders' starts do not decide

    def count(self, associations: int) -> int:
        """Return the number of instances in one push, a multiple of the associations."""
        return max(self.images // associations, self.at_least) * associations

    @cached_property
    def template(self) -> bytes:
        """One instance as a file, under the placeholder's UID."""
        ds = pydicom.dcmread(SAMPLE)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = PLACEHOLDER
        ds.file_meta.TransferSyntaxUID = self.syntax
        ds.Rows, ds.Columns = 1000, 800
        ds.SamplesPerPixel, ds.PlanarConfiguration = 3, 0
        ds.PhotometricInterpretation = "RGB"
        del ds.PixelData
        file = io.BytesIO()
        ds.save_as(file, enforce_file_format=True)
        return file.getvalue() + self._pixel_data()

    def _pixel_data(self) -> bytes:
        noise = os.urandom(self.pixel_bytes)  # nobody decodes it
        if self.syntax == wire.EXPLICIT:
            return wire.element(0x7FE00010, b"OB", noise)
        fragments = wire.item(b"") + wire.item(noise) + wire.delimiter(0xE0DD)
        return wire.element(0x7FE00010, b"OB", fragments, length=wire.UNDEFINED)

    def dataset(self) -> bytes:
        """Return the template's data set."""
        length = int.from_bytes(self.template[140:144], "little")  # of group 0002 (PS3.10 7.1)
        return self.template[144 + length :]


KINDS = (
    Kind("2.4 MB uncompressed", wire.EXPLICIT, 1000 * 800 * 3, "-xe", 128, 8),
    Kind("100 KB JPEG", wire.JPEG, 100_000, "-xy", 320, 60),
)


@dataclass(frozen=True)
class Target:
    """A receiver that runs, and the number of instances that it has kept."""

    receiver: Receiver
    kept: Callable[[], int]


@contextmanager
def _axnode(folder: Path) -> Iterator[Target]:
    with ReceptionNode(folder, None, {"sources": SOURCES}) as node:
        receiver = Receiver(AXNODE, "AXNODE", node.port, node.pid, node.files)

        def kept() -> int:
            rows = {row.instance_hash for row in node.rows(schema.instances)}
            return len(rows & {path.stem for path in node.files()})

        yield Target(receiver, kept)


@contextmanager
def _storescp(folder: Path) -> Iterator[Target]:
    with StoreScp(folder / "in", ["--fork", "--max-pdu", str(PDU_BYTES)]) as scp:
        pid = scp._process._popen.pid
        receiver = Receiver(STORESCP, "STORESCP", scp.port, pid, scp.files)
        yield Target(receiver, lambda: len(scp.files()))


@contextmanager
def _orthanc(folder: Path) -> Iterator[Target]:
    with Orthanc(config={"MaximumPduLength": PDU_BYTES}) as pacs:
        pid = pacs._process._popen.pid
        receiver = Receiver(ORTHANC, "ORTHANC", pacs.dicom_port, pid, lambda: [])
        yield Target(receiver, lambda: len(pacs.instances()))


TARGETS: dict[str, Callable[[Path], AbstractContextManager[Target]]] = {
    AXNODE: _axnode,
    STORESCP: _storescp,
    ORTHANC: _orthanc,
}


@dataclass(frozen=True)
class Round:
    """One receiver's round at one point."""

    rate: float  # instances a second, until the last association was released
    cpu_ms: float  # the receiver's processor time per instance
    p99_ms: float  # of the C-STORE response times


def write_files(kind: Kind, folder: Path, associations: int) -> list[list[str]]:
    """Write the instances of one push; returns the files of each association."""
    each = kind.count(associations) // associations
    files: list[list[str]] = []
    for number in range(associations):
        files.append([])
        for uid in _uids(number * each, each):
            path = folder / uid
            with path.open("wb") as stream:
                stream.write(kind.template.replace(PLACEHOLDER.encode(), uid.encode()))
                stream.flush()
                os.fsync(stream.fileno())  # nothing is left to write back during the rounds
            files[-1].append(str(path))
    return files


def _uids(first: int, count: int) -> list[str]:
    return [f"{PLACEHOLDER[:-6]}{number:06}" for number in range(first + 1, first + count + 1)]


def push(target: Target, kind: Kind, files: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Let a storescu for each association push its files; returns rate and processor time."""
    port = str(target.receiver.port)
    command = [system_tool("storescu"), "-q", "-R", kind.propose, "-pdu", str(PDU_BYTES)]
    command += ["-aet", CALLING, "-aec", target.receiver.title, "127.0.0.1", port]
    count = sum(map(len, files))
    before = cpu_s(target.receiver.pid)
    started = perf_counter()
    senders = [subprocess.Popen([*command, *names]) for names in files]
    codes = [sender.wait() for sender in senders]
    seconds = perf_counter() - started
    used = cpu_s(target.receiver.pid) - before
    if any(codes):
        raise SystemExit(f"{target.receiver.name}: storescu ended with {codes}")
    return count / seconds, used / count * 1e3


def measure_one(name: str, kind: Kind, files: Sequence[Sequence[str]]) -> Round:
    """Start a receiver, push, time, and see that it has kept everything."""
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder, contextlib.ExitStack() as stack:
        target = stack.enter_context(TARGETS[name](Path(folder)))
        rate, cpu_ms = push(target, kind, files)
        uids = _uids(500_000, kind.count(len(files)))
        arguments = (target.receiver.port, target.receiver.title, kind.syntax, kind.dataset())
        senders = [TimedSender(*arguments, PLACEHOLDER) for _ in files]
        times = send(senders, uids)
        sent = sum(map(len, files)) + len(uids)
        if target.kept() != sent or len(times) != len(uids):
            raise SystemExit(f"{name}: {target.kept()} of {sent} instances kept")
    return Round(rate, cpu_ms, statistics.quantiles(times, n=100)[98] * 1e3)


def figures(kind: Kind, associations: int, rounds: dict[str, list[Round]]) -> Iterator[Figure]:
    """Yield the lines of one point."""
    where = f"{kind.words}, {associations} at once"

    def against(other: str, key: str, what: str, unit: str) -> Figure:
        ours, theirs = (tuple(getattr(r, key) for r in rounds[name]) for name in (AXNODE, other))
        return Figure(f"{what}, {where}", unit, ours, other, theirs)

    factor = 0.6 if associations > 4 else 1.0
    yield at_least(factor, against(STORESCP, "rate", "C-STORE", "instances/s"))
    yield at_least(1.5, against(ORTHANC, "rate", "C-STORE", "instances/s"))
    yield at_most(1.5, against(STORESCP, "p99_ms", "C-STORE response, 99th percentile", "ms"))
    yield against(STORESCP, "cpu_ms", "Receiver's processor time per instance", "ms")
    yield against(ORTHANC, "cpu_ms", "Receiver's processor time per instance", "ms")


def measure(rounds: int) -> list[Figure]:
    """Measure every point in alternating rounds."""
    found: list[Figure] = []
    for kind in KINDS:
        for associations in ASSOCIATIONS:
            results: dict[str, list[Round]] = {name: [] for name in TARGETS}
            with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
                files = write_files(kind, Path(folder), associations)
                for _ in range(rounds):
                    for name, known in results.items():
                        known.append(measure_one(name, kind, files))
            found += figures(kind, associations, results)
    return found


if __name__ == "__main__":
    finish(__doc__, measure, 2)
