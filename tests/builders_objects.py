"""Small ultrasound sources with clean headers, and findings on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicom_io.findings import (
    Algorithm,
    Calibration,
    ImageRead,
    Measurements,
    NodeFinding,
    NodeView,
    OperatingPoint,
    SideFinding,
    StudyFindings,
)

US = "1.2.840.10008.5.1.4.1.1.6.1"
US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
NOW = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=timezone(timedelta(hours=1)))
PREFIX = "1.2.826.0.1.3680043.10.999."


def uid(role: str, ordinal: int) -> str:
    """Derive a UID from a role, as the service does: the same for the same arguments."""
    return generate_uid(prefix=PREFIX, entropy_srcs=[role, str(ordinal)])


@dataclass(frozen=True)
class SourceSpec:
    """What one source file is like."""

    photometric: str = "RGB"
    frames: int = 1
    multiframe_class: bool | None = None  # None: by the number of frames
    rows: int = 24
    columns: int = 36
    calibrated: bool = True
    frame_of_reference: bool = False
    laterality: str | None = "R"
    series: int = 1
    number: int = 1


def source(study_uid: str, spec: SourceSpec = SourceSpec()) -> Dataset:
    """Return an ultrasound image, dciodvfy-clean, its pixels zero."""
    ds = Dataset()
    multi = spec.frames > 1 if spec.multiframe_class is None else spec.multiframe_class
    ds.SOPClassUID = US_MULTIFRAME if multi else US
    ds.SOPInstanceUID = uid(f"{study_uid}/{spec.series}/instance", spec.number)
    ds.StudyInstanceUID = study_uid
    ds.SeriesInstanceUID = uid(f"{study_uid}/series", spec.series)
    _context(ds, spec)
    _pixels(ds, spec)
    if multi:
        ds.NumberOfFrames = spec.frames
        ds.FrameTime = 50
        ds.FrameIncrementPointer = 0x00181063
    if spec.frame_of_reference:
        ds.FrameOfReferenceUID = uid(f"{study_uid}/for", spec.series)
        ds.PositionReferenceIndicator = ""
    if spec.calibrated:
        ds.SequenceOfUltrasoundRegions = [_region(spec)]
    return ds


def _context(ds: Dataset, spec: SourceSpec) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    for part in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, part + "Date", "20260304")
        setattr(ds, part + "Time", "050607")
    ds.AccessionNumber = "ACC42"
    ds.Modality = "US"
    ds.Manufacturer = "Synthetic"
    ds.ReferringPhysicianName = ""
    ds.PatientName = "Test^Axilla"
    ds.PatientID = "AX-1"
    ds.PatientBirthDate = "19700101"
    ds.PatientSex = "F"
    ds.StudyID = "1"
    ds.StudyDescription = "US AXILLA"
    ds.SeriesNumber = spec.series
    ds.InstanceNumber = spec.number
    ds.PatientOrientation = ""
    if spec.laterality:
        ds.Laterality = spec.laterality
    ds.ImageType = ["ORIGINAL", "PRIMARY", "SMALL PARTS", "0001"]
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"


def _pixels(ds: Dataset, spec: SourceSpec) -> None:
    samples = 3 if spec.photometric in ("RGB", "YBR_FULL", "YBR_FULL_422") else 1
    ds.SamplesPerPixel = samples
    ds.PhotometricInterpretation = spec.photometric
    if samples == 3:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = spec.rows, spec.columns
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    if spec.photometric == "PALETTE COLOR":
        for colour in ("Red", "Green", "Blue"):
            setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            table = (np.arange(256, dtype="<u2") * 257).tobytes()
            setattr(ds, f"{colour}PaletteColorLookupTableData", table)
    ds.PixelData = bytes(samples * spec.rows * spec.columns * spec.frames)
    ds["PixelData"].VR = "OB"


def _region(spec: SourceSpec) -> Dataset:
    ds = Dataset()
    ds.RegionSpatialFormat = ds.RegionDataType = 1
    ds.RegionFlags = 0
    ds.RegionLocationMinX0 = ds.RegionLocationMinY0 = 0
    ds.RegionLocationMaxX1 = spec.columns - 1
    ds.RegionLocationMaxY1 = spec.rows - 1
    ds.PhysicalUnitsXDirection = ds.PhysicalUnitsYDirection = 3
    ds.PhysicalDeltaX = ds.PhysicalDeltaY = 0.02
    return ds


def write(ds: Dataset, path: Path) -> Path:
    """Write a source as a Part 10 file and return its path."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path


def study(
    folder: Path, *specs: SourceSpec, study_uid: str = ""
) -> tuple[list[Dataset], list[Path]]:
    """Write a study of the given sources; return their datasets and paths."""
    study_uid = study_uid or uid(str(folder), 0)
    sets = [source(study_uid, spec) for spec in specs]
    folder.mkdir(parents=True, exist_ok=True)
    return sets, [write(ds, folder / f"{n}.dcm") for n, ds in enumerate(sets)]


def ellipse(height: int, width: int) -> NDArray[np.bool_]:
    """Return a filled ellipse that touches its bounding box."""
    rows, columns = np.mgrid[:height, :width]
    y, x = (rows + 0.5) / height * 2 - 1, (columns + 0.5) / width * 2 - 1
    return np.asarray(x * x + y * y <= 1.0)


def view(ds: Dataset, frame: int = 1, row: int = 3, column: int = 4, size: int = 9) -> NodeView:
    """Return a node on one frame of a source; `size` is its width."""
    mask = ellipse(size - 3, size)
    height, width = mask.shape
    angle = np.linspace(0.0, 2 * np.pi, 25)
    x = column + width / 2 + width / 2 * np.cos(angle)
    y = row + height / 2 + height / 2 * np.sin(angle)
    return NodeView(str(ds.SOPInstanceUID), frame, row, column, mask, np.stack([x, y], axis=1))


def node(
    number: int, *views: NodeView, calibrated: bool = True, side: str | None = "R"
) -> NodeFinding:
    """Return a node with round numbers."""
    sizes = Measurements(12.5, 6.25, 61.4, 0.81, 0.37, calibrated)
    return NodeFinding(number, uid("tracking", number), side, 0.6125, len(views) // 2, views, sizes)


ALGORITHM = Algorithm(
    name="AxNode research",
    version="1.2.0+0123abcd",
    digest="0123abcd" * 8,
    architecture="DeepLabV3Plus resnet34",
    intended_use="Women with breast cancer before surgery. Research only.",
    demonstration=False,
)
POINT = OperatingPoint("max_accuracy", 0.45, 0.57, 0.91, (0.5, 0.64), (0.88, 0.94), 0.31)


def findings(
    sets: Sequence[Dataset],
    nodes: Sequence[NodeFinding] = (),
    *,
    demonstration: bool = False,
    calibrated: bool = True,
) -> StudyFindings:
    """Return the findings of a study that was read; one side, that of the first node."""
    spacing = Calibration(0.2, 0.2) if calibrated else None
    side = nodes[0].laterality if nodes else "R"
    numbers = tuple(n.number for n in nodes)
    return StudyFindings(
        study_instance_uid=str(sets[0].StudyInstanceUID),
        version=1,
        node_ae_title="AXNODE",
        device_uid=uid("device", 0),
        software_version="0.1.0",
        algorithm=replace(ALGORITHM, demonstration=demonstration),
        operating_point=POINT,
        images=tuple(
            ImageRead(
                str(ds.SOPInstanceUID),
                tuple(range(1, int(ds.get("NumberOfFrames", 1)) + 1)),
                spacing,
            )
            for ds in sets
        ),
        nodes=tuple(nodes),
        sides=(SideFinding(side, numbers, 0.6125 if nodes else None, None),),
    )


def raw(ds: Dataset, keyword: str, value: bytes) -> None:
    """Give a source an element that is written exactly as `value`."""
    tag = Tag(keyword)
    padded = value + b" " * (len(value) % 2)
    ds[tag] = RawDataElement(tag, dictionary_VR(tag), len(padded), padded, 0, False, True)
