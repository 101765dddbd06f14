"""Images that ask for more memory than there is: stored, decoded apart, set aside, none disturbed.

The network is left out, everything else is real: reception in a process of its own, assembly, the
worker, and the process that decodes under its memory limit.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from daemon import schema
from daemon.child import Child, ChildOptions
from daemon.database import Database
from daemon.reading import reader
from daemon.spool import Folders, Spool
from dicom_io import scu
from dicom_io.scu import Remote
from tests import builders, builders_frames
from tests.builders import Picture, Rows
from tests.builders_frames import JPEG_BASELINE, image_dataset, jpeg, jpeg_dataset
from tests.fakes import FakeClock
from tests.footprint import MIB, Footprint, forget_peak
from tests.misbehaviour import RLE
from tests.reception_node import ReceptionNode

pytestmark = pytest.mark.integration

JPEG_2000 = "1.2.840.10008.1.2.4.90"
MEMORY = 1 << 30  # RLIMIT_DATA of the process that decodes
GOOD = "1.2.3"

# A JPEG 2000 codestream's SOC and SIZ: 60,000 × 60,000 of three components (ITU-T T.800 A.5.1)
_HUGE_J2K = (
    bytes.fromhex("ff4fff51002f0000")
    + b"".join(number.to_bytes(4, "big") for number in (60_000, 60_000, 0, 0, 60_000, 60_000, 0, 0))
    + bytes.fromhex("0003070101070101070101")
    + bytes(64)
)


def native(**attributes: object) -> Dataset:
    """Return an image of 8 × 8 whose header lies about what follows."""
    return image_dataset(bytes(192), 8, 8, **attributes)


def tagged(codestream: bytes, rows: int, columns: int, **attributes: object) -> Dataset:
    """Return one encapsulated frame."""
    return jpeg_dataset([codestream], rows, columns, **attributes)


_BIG = jpeg(np.zeros((4000, 4000, 3), np.uint8), transform=True)
BOMBS: dict[str, tuple[Callable[[], Dataset], str, str]] = {
    # name: data set, transfer syntax, reason that the study ends with
    "no frames": (lambda: native(NumberOfFrames=0), "", "undecodable"),
    "minus one frame": (lambda: native(NumberOfFrames=-1), "", "undecodable"),
    "seven bits": (lambda: native(BitsAllocated=7), "", "undecodable"),
    "a thousand million frames": (
        lambda: tagged(_BIG[:200], 8, 8, NumberOfFrames=10**9),
        JPEG_BASELINE,
        "undecodable",
    ),
    "65,535 square": (lambda: tagged(bytes(64), 65535, 65535), RLE, "too_large"),
    "a codestream of another size": (lambda: tagged(_BIG, 8, 8), JPEG_BASELINE, "undecodable"),
    "a header that agrees with its bomb": (
        lambda: tagged(_HUGE_J2K, 60_000, 60_000, PhotometricInterpretation="YBR_RCT"),
        JPEG_2000,
        "too_large",
    ),
    "a codestream that grows": (
        lambda: tagged(_HUGE_J2K, 8, 8, PhotometricInterpretation="YBR_RCT"),
        JPEG_2000,
        "undecodable",
    ),
}


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write every bomb in a study of its own, and a good image last; yields study and file."""
    folder.mkdir()
    for number, (make, syntax, _) in enumerate(BOMBS.values()):
        ds = make()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.7.{number}", f"1.2.7.{number}.1"
        ds.SOPInstanceUID = f"1.2.7.{number}.1.1"
        path = folder / f"{number}.dcm"
        yield ds.StudyInstanceUID, builders_frames.write(path, ds, *([syntax] if syntax else []))
    yield GOOD, builders.write(folder / "good.dcm", Picture())


def push(node: ReceptionNode, paths: list[Path]) -> list[int | None]:
    """Store files as a modality does; return the statuses."""
    results = scu.store(Remote("node", "AXNODE", "127.0.0.1", node.port, "US1"), paths)
    return [result.status for result in results]


def child_of(memory: int) -> Child:
    """Return the process that decodes, not started; `memory` is its RLIMIT_DATA."""
    command = (sys.executable, "-m", "tests.decoding_process")
    return Child(ChildOptions(None, "none", memory, command=command))


def analysed(node: ReceptionNode, rows: Rows, memory: int) -> int:
    """Assemble and analyse what was received; return the most memory that decoding took."""
    state = node.state
    (state / "scratch").mkdir()
    folders = Folders(Spool(state / "spool"), Spool(state / "objects"), state / "scratch")
    child = child_of(memory)
    config = builders.config(state, study={"quiet_period_s": 0, "version_interval_s": 0})
    words = reader(
        builders.bundle(),
        aggregation=None,
        operating_point=None,
        ae_title="AXNODE",
        node_id=rows.database.node_id,
    )
    rows.assembler(study={"quiet_period_s": 0}).sweep()
    worker = builders.worker(config, rows.database, rows.clock, folders, words, child)
    most = [0]
    try:
        child.start()
        before = Footprint.of(pid(child)).memory
        while worker.work_one():
            rows.clock.advance(3600)  # attempts that failed are due again
            most.append(Footprint.of(pid(child)).peak - before if child.pid else 0)
        return max(most)
    finally:
        child.stop()


def pid(child: Child) -> int:
    """Return the process id of a child that runs."""
    assert child.pid is not None
    return child.pid


def data_bytes(process: int) -> int:
    """Return what counts toward RLIMIT_DATA."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmData"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmData")


def outcomes(rows: Rows) -> dict[str, tuple[str, str | None]]:
    """Map study UID to its state and, where it is not evaluable, why."""
    why = {row.study_id: row.not_evaluable for row in rows.all(schema.analyses)}
    return {row.study_uid: (row.state, why[row.id]) for row in rows.all(schema.studies)}


@contextmanager
def received(folder: Path, paths: list[Path]) -> Iterator[tuple[ReceptionNode, Rows]]:
    """Receive files in a node of their own, which has ended then; yields it and its rows."""
    with ReceptionNode(folder) as node:
        before = node.footprint()
        forget_peak(node.pid)
        assert push(node, paths) == [0x0000] * len(paths)
        assert node.footprint().peak - before.memory < 32 * MIB
        node.stop()
    database = Database(f"sqlite:///{node.state / 'axnode.sqlite'}")
    try:
        rows = Rows(database)
        rows.clock = FakeClock(max(row.received_us for row in rows.all(schema.studies)))
        yield node, rows
    finally:
        database.close()


def test_bombs_are_stored_decoded_apart_and_set_aside(tmp_path: Path) -> None:
    sent = dict(files(tmp_path / "files"))
    with received(tmp_path / "node", list(sent.values())) as (node, rows):
        growth = analysed(node, rows, MEMORY)
        found = outcomes(rows)
        attempts = {row.attempts for row in rows.all(schema.analyses)}
    reasons = [reason for _, _, reason in BOMBS.values()]
    expected = {f"1.2.7.{n}": ("not_evaluable", reason) for n, reason in enumerate(reasons)}
    assert found == {**expected, GOOD: ("delivered", None)}
    assert attempts == {1}  # none took the process with it
    print(f"decoding took {growth / MIB:.0f} MiB more at most")
    assert growth < 32 * MIB  # a JPEG that is larger than it says would be 48


def test_a_frame_that_does_not_fit_into_memory_is_set_aside(tmp_path: Path) -> None:
    """It is true to its header, and 48 MB of pixels; the limit leaves room for less.

    The process is replaced after each attempt; after three the study waits for a person.
    """
    (tmp_path / "files").mkdir()
    large = image_dataset(bytes(4000 * 4000 * 3), 4000, 4000)
    large.StudyInstanceUID, large.SOPInstanceUID = "1.2.7.0", "1.2.7.0.1"
    paths = [
        builders_frames.write(tmp_path / "files" / "large.dcm", large),
        builders.write(tmp_path / "files" / "good.dcm", Picture()),
    ]
    idle = child_of(MEMORY)
    idle.start()
    limit = data_bytes(pid(idle)) + 40 * MIB
    idle.stop()
    with received(tmp_path / "node", paths) as (node, rows):
        analysed(node, rows, limit)
        found = outcomes(rows)
    assert found == {"1.2.7.0": ("parked", None), GOOD: ("delivered", None)}
