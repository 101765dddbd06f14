"""A node of real parts that can die at any step, and what it meets: a disk, a child, archives."""

import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from sqlalchemy import Connection

from daemon import answer, jobs
from daemon.analysis import Analysis, Frame
from daemon.assemble import Assembler
from daemon.child import ChildFailed, ChildLost
from daemon.commitment import Reports
from daemon.config import Config
from daemon.database import Database
from daemon.deliver import Deliverer
from daemon.eligibility import Known
from daemon.reading import reader
from daemon.receive import Reception
from daemon.retry import RetryPolicy
from daemon.rules import Verdict
from daemon.spool import Folders, Incoming, Spool
from daemon.ways import remote
from daemon.worker import Worker
from dicom_io import part10
from dicom_io.errors import PeerError
from dicom_io.findings import Calibration, Exclusion, ImageRead, Reason
from dicom_io.scu import Outcome, Remote, StoreResult, classify
from dicom_io.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests import builders
from tests.builders import Picture
from tests.builders_objects import node, view
from tests.fakes import FakeClock

ARCHIVES = ("pacs", "archive")
STUDIES = ("1.2.3", "1.2.4")  # a node is seen in the first
FEW = RetryPolicy(attempts=4)  # so that a walk of some steps sees a delivery parked
ROWS, COLUMNS = 24, 32
Result = TypeVar("Result")


class Instance(NamedTuple):
    """What a modality sends."""

    study: str
    number: int
    content: int = 0
    patient: str = "AX-1"
    syntax: str = EXPLICIT_LITTLE
    named: bool = True  # False: the UID stands in the command only, and one file may have two

    @property
    def sop(self) -> str:
        """SOP Instance UID."""
        return f"{self.study}.{self.number}"

    @property
    def image(self) -> tuple[str, int, str]:
        """What is the same in another transfer syntax."""
        return self.study, self.content + (self.number if self.named else 1), self.patient

    @property
    def data(self) -> bytes:
        """The data set."""
        return _encoded(self)

    @property
    def digest(self) -> str:
        """Its hash, the name of its file."""
        return hashlib.sha256(self.syntax.encode() + self.data).hexdigest()


def instance_of(study: str, number: int, patient: str, **fields: Any) -> Instance:
    """Return an instance; only one may name another patient, so that most studies have one."""
    other = (study, number) == (STUDIES[1], 3)
    return Instance(study, number, patient=patient if other else "AX-1", **fields)


@cache
def _encoded(instance: Instance) -> bytes:
    study, number, patient = instance.image
    picture = Picture(instance.sop, study, number=number, patient_id=patient)
    ds = builders.dataset(picture, builders.tissue(1, ROWS, COLUMNS))
    if not instance.named:
        del ds.SOPInstanceUID
    stream = DicomBytesIO()
    stream.is_little_endian = True
    stream.is_implicit_VR = instance.syntax == IMPLICIT_LITTLE
    write_dataset(stream, ds)
    return bytes(stream.getvalue())


class Killed(BaseException):
    """The process is gone; nothing catches this but the test."""


@dataclass
class Fate:
    """Lets the node die at the `steps`-th step from now; its files are left as they are then."""

    folder: Path
    steps: int | None = None

    def step(self) -> None:
        """Go on, or die."""
        if self.steps is None:
            return
        self.steps -= 1
        if self.steps < 0:
            self.steps = None
            self.leave()
            raise Killed

    def leave(self) -> None:
        """Keep what a dead process leaves: every file as it is; what unwinds is not seen."""
        after = self.folder.with_name(f"{int(self.folder.name) + 1:04}")
        for path in self.folder.rglob("*"):
            kept = after / path.relative_to(self.folder)
            folder = kept if path.is_dir() else kept.parent
            folder.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                continue
            if path.suffix == ".dcm":  # never written again
                os.link(path, kept)
            else:
                shutil.copy(path, kept)
        self.folder = after


class MortalDatabase(Database):
    """Dies before or after a commit."""

    def __init__(self, url: str, fate: Fate) -> None:
        super().__init__(url)
        self._fate = fate

    def write(self, work: Callable[[Connection], Result], *, alone: bool = True) -> Result:
        """Write, if it lives."""
        self._fate.step()
        result = super().write(work, alone=alone)
        self._fate.step()
        return result


class MortalSpool(Spool):
    """Dies before or after a rename; its disk may be full."""

    def __init__(self, root: Path, fate: Fate) -> None:
        super().__init__(root)
        self.fate = fate
        self.left: int | None = None  # bytes that can still be written; None: plenty
        self.free = 1 << 40
        self.meanwhile: Callable[[], object] = lambda: None  # between a rename and its row
        self._numbers = itertools.count()

    def incoming(self) -> Incoming:
        """Open a new file."""
        path = self.root / "incoming" / f"{self._writer}{os.getpid()}-{next(self._numbers)}.part"
        return _MortalFile(self, path)

    def free_bytes(self) -> int:
        """Return what the test says."""
        return self.free

    def files(self) -> set[str]:
        """Return the hashes of all files."""
        return {path.stem for path in self.root.glob("*/*.dcm")}


class _MortalFile(Incoming):
    def __init__(self, spool: MortalSpool, path: Path) -> None:
        super().__init__(spool, path)
        self._disk = spool

    def write(self, *pieces: bytes | memoryview) -> None:
        disk, size = self._disk, sum(map(len, pieces))
        if disk.left is not None:
            if size > disk.left:
                raise OSError(errno.ENOSPC, "No space left on device")
            disk.left -= size
        super().write(*pieces)

    def keep(self, digest: str) -> Path:
        self._disk.fate.step()
        path = super().keep(digest)
        self._disk.fate.step()
        self._disk.meanwhile()
        return path


@dataclass
class Archive:
    """The other end of deliveries; it holds what it took, over all lives of the node."""

    fate: Fate
    script: list[str] = field(default_factory=list)  # how it answers; then with success
    held: dict[str, bytes] = field(default_factory=dict)  # by SOP Instance UID

    def __call__(
        self,
        peer: Remote,
        paths: Sequence[Path],
        on_result: Callable[[StoreResult], None],
        on_tick: Callable[[], None],
    ) -> None:
        """Take files, as `daemon.deliver` asks it."""
        if self.script and self.script[0] in ("unreachable", "rejected"):
            raise PeerError("no association", transient=self.script.pop(0) == "unreachable")
        lost = False
        for path in paths:
            said = self.script.pop(0) if self.script and not lost else "0000"
            if lost or said == "abort":
                lost = True
                on_result(StoreResult(path, Outcome.TRANSIENT, None, "no answer"))
                continue
            lost = said == "mute"  # it has the object, and the association breaks
            outcome, words = classify(0 if lost else int(said, 16))
            if outcome in (Outcome.STORED, Outcome.WARNING):
                self._take(path)
            self.fate.step()
            if lost:
                on_result(StoreResult(path, Outcome.TRANSIENT, None, "no answer"))
            else:
                on_result(StoreResult(path, outcome, int(said, 16), words))

    def _take(self, path: Path) -> None:
        data = path.read_bytes()
        uid = part10.split(path)[0].sop_instance_uid
        assert self.held.setdefault(uid, data) == data, "other bytes under a known UID"


@dataclass
class ScriptedChild:
    """The analysing process: it sees a node in the first study only."""

    fate: Fate
    kind: str = "well"
    meanwhile: Callable[[], object] = lambda: None
    together: int = 1
    digests: frozenset[str] = frozenset()

    def start(self) -> None:
        """Be there always."""

    def submit(self, request: dict[str, Any]) -> None:
        """Take a request."""
        self._request = request

    def answer(self) -> dict[str, Any]:
        """Answer it, or fail as the test says."""
        request = self._request
        self.meanwhile()
        self.fate.step()
        if self.kind == "failed":
            raise ChildFailed("it cannot be read", fatal=False)
        if self.kind == "lost":
            raise ChildLost("the analysing process died")
        (study,) = request["studies"]
        return {"studies": [answer.save(_analysis(study), Path(study["masks"]))]}


def _analysis(request: dict[str, Any]) -> Analysis:
    uid = request["inputs"][0][0]
    if not uid.startswith("1.2.3."):
        return Analysis((), (), (Exclusion(uid, None, Reason.NO_B_MODE),))
    ds = builders.dataset(Picture(uid), builders.tissue(1, ROWS, COLUMNS))
    images = (ImageRead(uid, (1,), Calibration(0.2, 0.2), (), "R"),)
    seen = Analysis(images, (node(1, view(ds)),), ())
    frame = Frame(uid, 1, np.full((ROWS, COLUMNS, 3), 90, np.uint8))
    return replace(seen, frames=(frame,)) if request["pictures"] != "never" else seen


class Node:
    """The parts of a node over one folder, and the clock and the archives around it."""

    def __init__(self, fate: Fate, clock: FakeClock, archives: dict[str, Archive]) -> None:
        self.fate, self.clock = fate, clock
        folder = fate.folder
        self.config = _config(folder)
        self.database = MortalDatabase(self.config.database_url, fate)
        self.spool = MortalSpool(folder / "spool", fate)
        self.objects = MortalSpool(folder / "objects", fate)
        (folder / "scratch").mkdir(exist_ok=True)
        reports = Reports(self.database, self.objects, clock)
        self.reception = Reception(self.config, self.database, self.spool, clock, reports)
        self.meanwhile: Callable[[], object] = lambda: None  # while headers are read
        self.assembler = Assembler(
            self.config,
            self.database,
            clock,
            self._judge,
            lambda folder: builders.named("bundle"),
            "recipe",
        )
        self.child = ScriptedChild(fate)
        self.deliverers = {
            item.name: Deliverer(
                remote(item, "AXNODE"), self.database, self.objects, clock, FEW, archives[item.name]
            )
            for item in self.config.destinations
        }

    def _judge(self, members: Sequence[Known]) -> Verdict:
        self.meanwhile()
        return Verdict(True, "it is")

    def worker(self, child: ScriptedChild) -> Worker:
        """Return a worker with this child."""
        folders = Folders(self.spool, self.objects, self.fate.folder / "scratch")
        read = reader(
            builders.bundle(),
            aggregation=None,
            operating_point=None,
            ae_title="AXNODE",
            node_id=self.database.node_id,
        )
        return builders.worker(self.config, self.database, self.clock, folders, read, child)

    def work(self, kind: str = "well") -> bool:
        """Work one job; "taken": another worker takes it over and finishes it meanwhile."""
        self.child.kind = kind
        self.objects.left = 0 if kind == "full" else None
        self.child.meanwhile = self._take_over if kind == "taken" else lambda: None
        try:
            return self.worker(self.child).work_one()
        finally:
            self.objects.left = None

    def _take_over(self) -> None:
        self.clock.advance(2 * jobs.LEASE_US / 1e6)
        self.worker(ScriptedChild(self.fate)).work_one()


def _config(folder: Path) -> Config:
    return builders.config(
        folder,
        node={"disk_floor_gb": 1},
        study={"quiet_period_s": builders.QUIET_S, "version_interval_s": builders.INTERVAL_S},
        destinations=[
            {"name": name, "ae_title": name.upper(), "host": "127.0.0.1", "port": 104}
            for name in ARCHIVES
        ],
    )


@contextmanager
def dying(fate: Fate, steps: int | None) -> Iterator[list[bool]]:
    """Let the node die within; the list is empty if it lived."""
    died: list[bool] = []
    fate.steps = steps
    try:
        yield died
    except Killed:
        died.append(True)
    finally:
        fate.steps = None
