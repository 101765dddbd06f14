"""A service's rows, files and settings, made small for the tests of `daemon`."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import Table, select

from daemon import claims, identity, jobs, schema
from daemon.assemble import Assembler
from daemon.audit_notes import Notes
from daemon.bundles import Bundles
from daemon.clock import Clock, seconds
from daemon.commitment import Reports
from daemon.common import Common
from daemon.config import Config, parse
from daemon.database import Database
from daemon.decision import Member
from daemon.hints import Hints
from daemon.integrity import instance_digest
from daemon.jobs import Job, StoredObject
from daemon.publish import Publisher
from daemon.reading import Reader
from daemon.rules import IGNORED, Verdict
from daemon.spool import Folders, Spool
from daemon.store import Known, Received, add_instance
from daemon.turns import Turns
from daemon.worker import Worker
from dicom_io import syntaxes
from model.architecture import Architecture
from model.bundle_file import SHIPPED, Bundle, Card, OperatingPoint
from model.nodes import Rules
from model.preprocess import Spec
from tests.fakes import FakeClock

US = "1.2.840.10008.5.1.4.1.1.6.1"
US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = "1.2.3"
QUIET_S = 120
INTERVAL_S = 600


def config(state_dir: Path, **tables: Any) -> Config:
    """Return a configuration whose state lies in `state_dir`; keywords are its tables."""
    node = {"state_dir": str(state_dir), "port": 0, "disk_floor_gb": 0, **tables.pop("node", {})}
    return parse({"node": node, "http": {"port": 0}, **tables})


def worker(
    config: Config,
    database: Database,
    clock: Clock,
    folders: Folders,
    reader: Reader,
    child: Any,
    others: Sequence[Reader] = (),
) -> Worker:
    """Return a worker of one recipe; `child` is an analysing process, or plays one.

    `others` are the readers of bundles that rules name.
    """
    readers = [reader, *others]
    publisher = Publisher(config, database, clock, folders.objects, readers, "recipe")
    return Worker(config, database, clock, folders, child, publisher)


def common(
    config: Config,
    database: Database,
    folders: Folders,
    clock: Clock,
    notes: Notes | None = None,
    bundle: Bundle | None = None,
) -> Common:
    """Return what the parts of a service share; the recipe is called so, the holder `node`."""
    return Common(
        config=config,
        database=database,
        folders=folders,
        clock=clock,
        bundles=Bundles(bundle or Bundle.load(SHIPPED), {}),
        recipe="recipe",
        holder="node",
        tls=None,
        notes=notes or Notes(),
        reports=Reports(database, folders.objects, clock),
        turns=Turns(database, "node", clock),
        hints=Hints(database),
        stopping=threading.Event(),
    )


class Engines:
    """Which engine `database` opens; `tests.conftest` lets marked tests run on both."""

    @staticmethod
    def sqlite(folder: Path) -> str:
        """Return the URL of the SQLite file of a folder."""
        return f"sqlite:///{folder / 'axnode.sqlite'}"

    url: Callable[[Path], str] = sqlite


@contextmanager
def database(folder: Path) -> Iterator[Database]:
    """Open the database of a folder, fresh where there is none: see `Engines`."""
    opened = Database(Engines.url(folder))
    try:
        yield opened
    finally:
        opened.close()


class Rows:
    """A database with a fake clock, and the steps of a study's way as verbs."""

    def __init__(self, opened: Database) -> None:
        self.database = opened
        self.clock = FakeClock()

    def receive(
        self,
        sop: str = "1.2.3.1",
        *,
        study: str = STUDY,
        patient: str = "p",
        source: str = "US1",
        content: str = "",
        assumed: bool = False,
        digest: str = "",
    ) -> Known | None:
        """Record one instance; its file has the hash `digest`, or is not there at all."""
        received = Received(
            study_uid=study,
            series_uid=f"{study}.0",
            sop_instance_uid=sop,
            sop_class_uid=US,
            transfer_syntax_uid=syntaxes.EXPLICIT_LITTLE,
            instance_hash=digest or hashlib.sha256(f"{sop}{content}".encode()).hexdigest(),
            patient_key=patient,
            size=1000,
            source_ae=source,
            assumed=assumed,
        )
        return self.database.write(lambda c: add_instance(c, received, self.clock()))

    def assembler(
        self,
        bundle: str = "bundle",
        eligible: Any = lambda hashes: "it is",
        queued: Callable[[], None] = lambda: None,
        **tables: Any,
    ) -> Assembler:
        """Return an assembler for these rows."""
        settings = {
            "study": {"quiet_period_s": QUIET_S, "version_interval_s": INTERVAL_S},
            **tables,
        }
        return Assembler(
            config(Path("unused"), **settings),
            self.database,
            self.clock,
            lambda members: _verdict(members, eligible),
            lambda folder: named(bundle),
            "recipe",
            queued,
        )

    def assemble(self) -> None:
        """Let the quiet period pass and sweep."""
        self.clock.advance(QUIET_S)
        self.assembler().sweep()

    def claim(self) -> Job | None:
        """Claim a job."""
        wait_us = seconds(INTERVAL_S)
        taken = self.database.write(lambda c: claims.claim(c, self.clock(), wait_us))
        return taken[0] if taken else None

    def claimed(self) -> Job:
        """Claim a job that must be there."""
        job = self.claim()
        assert job is not None
        return job

    def finish(
        self,
        job: Job,
        objects: Sequence[StoredObject] = (),
        destinations: Sequence[str] = (),
        not_evaluable: tuple[str, str] | None = None,
    ) -> None:
        """End a job with these results."""
        self.database.write(
            lambda c: jobs.finish(
                c,
                job,
                objects,
                lambda role: destinations,
                {"nodes": []},
                not_evaluable,
                self.clock(),
            )
        )

    def fail(self, job: Job, reason: str = "it broke") -> None:
        """End an attempt in failure."""
        self.database.write(lambda c: jobs.fail(c, job, reason, self.clock()))

    def queued(self, sop: str = "1.2.3.1", study: str = STUDY, digest: str = "") -> None:
        """Bring a study of one instance to the queue."""
        self.receive(sop, study=study, digest=digest)
        self.assemble()

    def delivering(
        self,
        objects: Spool,
        destinations: Sequence[str] = ("pacs",),
        count: int = 2,
        study: str = STUDY,
    ) -> list[StoredObject]:
        """Bring a study to its deliveries; return its objects, whose bytes lie in `objects`."""
        built = [stored(n, objects, study) for n in range(count)]
        self.deliver(built, lambda role: destinations, study)
        return built

    def deliver(
        self,
        built: Sequence[StoredObject],
        destinations: Callable[[str], Sequence[str]],
        study: str = STUDY,
    ) -> None:
        """Bring a study to the deliveries of these objects, by their role."""
        self.queued(f"{study}.1", study)
        job = self.claimed()
        self.database.write(
            lambda c: jobs.finish(c, job, built, destinations, {}, None, self.clock())
        )

    def all(self, table: Table) -> Sequence[Any]:
        """Return every committed row of a table, by id."""
        with self.database.read() as connection:
            order = table.c.id if "id" in table.c else None
            return connection.execute(select(table).order_by(order)).all()

    def study(self, uid: str = STUDY) -> Any:
        """Return a study's row."""
        return next(row for row in self.all(schema.studies) if row.study_uid == uid)

    def states(self, table: Table) -> list[str]:
        """Return the state of every row."""
        return [row.state for row in self.all(table)]

    def story(self, entity: str = "study") -> list[str]:
        """Return what happened to an entity, in order."""
        return [row.action for row in self.all(schema.events) if row.entity == entity]


def _verdict(members: Sequence[Member], eligible: Any) -> Verdict:
    """Judge as `daemon.rules` does without rules; `eligible` gives a reason from the hashes."""
    if any(member.assumed for member in members):
        return Verdict(True, "its source pushes axillary studies only")
    why = eligible([member.instance_hash for member in members])
    return Verdict(why is not None, why or IGNORED)


def stored(
    number: int, objects: Spool | None = None, study: str = STUDY, role: str = "sr"
) -> StoredObject:
    """Return an object as stored, its bytes in `objects` where that is given."""
    data = f"object {number} of {study}".encode()
    digest = objects.put(data) if objects else hashlib.sha256(data).hexdigest()
    return StoredObject(
        role=role,
        ordinal=number,
        sop_class_uid=SR,
        sop_instance_uid=identity.uid(study, "sr", number),
        series_instance_uid=f"{study}.9",
        file_hash=digest,
        size=len(data),
    )


def bundle(*points: OperatingPoint, demonstration: bool = True, digest: str = "d" * 64) -> Bundle:
    """Return a bundle's card without weights."""
    card = Card(
        name="Test bundle",
        version="1.0",
        demonstration=demonstration,
        intended_use="Tests.",
        intended_population="None.",
        limits=(),
        licence="Apache-2.0",
        architecture=Architecture("tiny"),
        input=Spec(width=64, height=64),
        nodes=Rules(),
        operating_points=points or (OperatingPoint("max_accuracy", 0.5),),
    )
    return Bundle(Path("unused"), digest, card, ())


def named(digest: str) -> Bundle:
    """Return a bundle of this digest."""
    return bundle(digest=digest)


@dataclass(frozen=True)
class Picture:
    """One ultrasound file."""

    sop: str = "1.2.3.1"
    study: str = STUDY
    series: int = 1
    number: int = 1  # InstanceNumber
    patient_id: str = "AX-1"
    laterality: str = "R"
    boxes: tuple[tuple[int, int, int, int], ...] | None = None  # tissue regions; None: whole frame
    mm: float | tuple[float, ...] | None = 0.2  # per pixel, or each region's; None: not calibrated
    sop_class: str = ""  # "": by the number of frames
    description: str = "US AXILLA"
    extra: tuple[tuple[str, Any], ...] = ()  # keyword, value

    def but(self, **changes: Any) -> "Picture":
        """Return the same picture with changes."""
        return replace(self, **changes)


def tissue(
    frames: int = 1, rows: int = 120, columns: int = 160, seed: int = 0
) -> NDArray[np.uint8]:
    """Return (N, H, W, 3) frames full of grey speckle."""
    grey = np.random.default_rng(seed).integers(40, 160, (frames, rows, columns), dtype=np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


def in_colour(frames: NDArray[np.uint8], share: float = 0.6) -> NDArray[np.uint8]:
    """Return the frames with Doppler red over the middle `share` of their width."""
    coloured = frames.copy()
    width = frames.shape[2]
    first = round(width * (1 - share) / 2)
    coloured[:, :, first : first + round(width * share)] = (220, 40, 20)
    return coloured


def dataset(picture: Picture, frames: NDArray[np.uint8]) -> Dataset:
    """Return a native RGB ultrasound data set."""
    ds = Dataset()
    several = frames.shape[0] > 1
    ds.SOPClassUID = picture.sop_class or (US_MULTIFRAME if several else US)
    ds.SOPInstanceUID = picture.sop
    ds.StudyInstanceUID = picture.study
    ds.SeriesInstanceUID = f"{picture.study}.0.{picture.series}"
    ds.SeriesNumber, ds.InstanceNumber = picture.series, picture.number
    ds.Modality, ds.Manufacturer = "US", "Tests"
    ds.PatientID, ds.PatientName = picture.patient_id, "Test^Axilla"
    ds.PatientBirthDate = ds.PatientSex = ds.AccessionNumber = ds.StudyID = ""
    ds.StudyDate = ds.ContentDate = "20260304"
    ds.StudyTime = ds.ContentTime = "050607"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = picture.description
    if picture.laterality:
        ds.Laterality = picture.laterality
    if several:
        ds.NumberOfFrames = frames.shape[0]
    _pixels(ds, frames)
    boxes = picture.boxes
    if boxes is None:
        boxes = ((0, 0, frames.shape[2], frames.shape[1]),)
    if boxes:
        each = picture.mm if isinstance(picture.mm, tuple) else (picture.mm,) * len(boxes)
        ds.SequenceOfUltrasoundRegions = list(map(_region, boxes, each))
    for keyword, value in picture.extra:
        setattr(ds, keyword, value)
    return ds


def _pixels(ds: Dataset, frames: NDArray[np.uint8]) -> None:
    ds.Rows, ds.Columns = frames.shape[1:3]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = frames.tobytes()
    ds["PixelData"].VR = "OB"


def _region(box: tuple[int, int, int, int], mm: float | None) -> Dataset:
    ds = Dataset()
    ds.RegionSpatialFormat = ds.RegionDataType = 1
    ds.RegionFlags = 0
    ds.RegionLocationMinX0, ds.RegionLocationMinY0 = box[:2]
    ds.RegionLocationMaxX1, ds.RegionLocationMaxY1 = box[2] - 1, box[3] - 1
    ds.PhysicalUnitsXDirection = ds.PhysicalUnitsYDirection = 3 if mm else 0
    ds.PhysicalDeltaX = ds.PhysicalDeltaY = (mm or 0) / 10
    return ds


def write(path: Path, picture: Picture, frames: NDArray[np.uint8] | None = None) -> Path:
    """Write a picture as a Part 10 file, explicit VR little endian."""
    return save(path, dataset(picture, tissue() if frames is None else frames))


def nameless(path: Path, picture: Picture, frames: NDArray[np.uint8] | None = None) -> Path:
    """Write a picture whose SOP Instance UID stands in group 0002 only, as some scanners do."""
    ds = dataset(picture, tissue() if frames is None else frames)
    del ds.SOPInstanceUID
    return save(path, ds, picture.sop)


def save(path: Path, ds: Dataset, sop: str = "") -> Path:
    """Write a data set as a Part 10 file, explicit VR little endian."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if sop:
        ds.file_meta.MediaStorageSOPInstanceUID = sop
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def spooled(spool: Spool, picture: Picture) -> str:
    """Lay a picture into the spool as reception would; return its instance hash."""
    written = write(spool.root / "written.dcm", picture)
    digest = instance_digest(written)
    written.rename(spool.path(digest))
    return digest
