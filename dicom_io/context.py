"""The patient, study, equipment and time of a result object, as its source images state them.

Patient and study elements are copied as raw bytes under the source's own SpecificCharacterSet
(`dicom_io.verbatim`). Whatever this product writes itself is ASCII, which every character set of
DICOM contains (PS3.5 6.1).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_io import codes, syntaxes
from dicom_io.errors import FrameError, ObjectError
from dicom_io.findings import NodeFinding, StudyFindings
from dicom_io.header import DAMAGE, read_until_pixels
from dicom_io.verbatim import OFFSET, allowed_values, raw_value, timezone_offset

MANUFACTURER = "AxNode"  # the node recognises its own objects by it

# Ultrasound Image, its retired form, and Secondary Capture
_SINGLE_FRAME = frozenset(f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("6.1", "6", "7"))


@dataclass(frozen=True)
class Source:
    """The header of one source image, as far as the result objects need it."""

    ds: Dataset  # without pixel data; elements still raw
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    rows: int  # 0: not an image
    columns: int  # 0: not an image
    frame_count: int  # at least 1; by NumberOfFrames and not by class: some single-frame US have 2

    @property
    def is_cine(self) -> bool:
        """Whether it has more than one frame."""
        return self.frame_count > 1

    @property
    def names_frames(self) -> bool:
        """Whether a reference to one of its frames carries the frame's number.

        PS3.3 10.3 allows it for multi-frame classes only. The odd single-frame instance with
        several frames is referred to as a whole, and the frame is told in words.
        """
        return self.is_cine and self.sop_class_uid not in _SINGLE_FRAME


@dataclass(frozen=True)
class Stamp:
    """The moment of building, written the way the source writes its times."""

    date: str  # DA
    time: str  # TM
    moment: str  # DT


def read_source(path: Path) -> Source:
    """Read a source image's header.

    Raises
    ------
    ObjectError
        The file is not DICOM, or has no UIDs.
    """
    try:
        with path.open("rb") as file:
            ds = read_until_pixels(file, force=True)
    except (FrameError, *DAMAGE, OSError) as error:
        raise ObjectError("a source image can no longer be read; check the spool's disk") from error
    return source_of(ds)


def source_of(ds: Dataset) -> Source:
    """Return what the result objects need of a header."""
    keywords = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    uids = [_uid(ds, keyword) for keyword in keywords]
    rows, columns, frames = (_count(ds, k) for k in ("Rows", "Columns", "NumberOfFrames"))
    return Source(ds, uids[0], uids[1], uids[2], uids[3], rows, columns, max(1, frames))


def _uid(ds: Dataset, keyword: str) -> str:
    value = raw_value(ds, Tag(keyword)).strip(b" \0").decode("ascii", "replace")
    if not value and keyword.startswith("SOP"):
        # some writers name the instance in group 0002 only; C-STORE names it in the command
        value = str(getattr(ds, "file_meta", Dataset()).get(f"MediaStorage{keyword}", ""))
    if not value:
        raise ObjectError(f"a source image has no {keyword}; results cannot refer to it")
    return value


def _count(ds: Dataset, keyword: str) -> int:
    try:
        return int(ds.get(keyword) or 0)
    except (TypeError, ValueError, OverflowError):
        return 0


def stamp(now: datetime, source: Source) -> Stamp:
    """Return `now` in the source's time zone where it states one, else in the node's."""
    match = OFFSET.fullmatch(timezone_offset(source.ds))
    zone = None
    if match:
        shift = timedelta(hours=int(match[2]), minutes=int(match[3]))
        zone = timezone(-shift if match[1] == b"-" else shift)
    local = now.astimezone(zone)
    date, clock = local.strftime("%Y%m%d"), local.strftime("%H%M%S.%f")
    return Stamp(date, clock, date + clock + (local.strftime("%z") if zone else ""))


def state_lossiness(ds: Dataset, original: Dataset) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5), with what the source says of it."""
    lossy = is_lossy(original)
    ds.LossyImageCompression = "01" if lossy else "00"
    if not lossy:
        return
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if values := allowed_values(original, keyword):
            setattr(ds, keyword, values)


def is_lossy(image: Dataset) -> bool:
    """Whether an image says that it was compressed with loss, or its transfer syntax shows it."""
    syntax = str(getattr(image, "file_meta", Dataset()).get("TransferSyntaxUID", ""))
    return image.get("LossyImageCompression") == "01" or syntax in syntaxes.LOSSY


def series_description(findings: StudyFindings, what: str) -> str:
    """Return a description that says demonstration and version first (LO, 64 characters)."""
    words = "DEMONSTRATION " if findings.algorithm.demonstration else ""
    words += f"AxNode {what}"
    if findings.version > 1:
        words += f" v{findings.version}"
    if findings.replaces is not None:
        words += f" (replaces v{findings.replaces})"
    return words[:64]


def common_side(nodes: Iterable[NodeFinding]) -> str:
    """Return the Laterality of all nodes; empty (type 2C) where they differ or it is not known.

    It belongs to the series (PS3.3 C.7.3.1), so every object of a series says the same.
    """
    sides = {node.laterality for node in nodes}
    return (sides.pop() or "") if len(sides) == 1 else ""


def describe(
    ds: Dataset, findings: StudyFindings, uids: Mapping[str, str], when: Stamp, number: int
) -> None:
    """Write the modules that every result object shares, apart from patient and study.

    Parameters
    ----------
    uids
        SOPClassUID, SOPInstanceUID, StudyInstanceUID and SeriesInstanceUID.
    number
        SeriesNumber; high, so that results are listed after the images.
    """
    for keyword, value in uids.items():
        setattr(ds, keyword, value)
    ds.SeriesNumber = number
    ds.InstanceNumber = 1
    ds.SeriesDate = ds.ContentDate = ds.InstanceCreationDate = when.date
    ds.SeriesTime = ds.ContentTime = ds.InstanceCreationTime = when.time
    _equipment(ds, findings)
    ds.ContributingEquipmentSequence = [_algorithm_equipment(findings, when)]


def _equipment(ds: Dataset, findings: StudyFindings) -> None:
    """Enhanced General Equipment (PS3.3 C.7.5.2)."""
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = "AxNode"
    ds.DeviceSerialNumber = findings.device_uid
    ds.SoftwareVersions = plain(findings.software_version)
    ds.StationName = plain(findings.node_ae_title)[:16]


def _algorithm_equipment(findings: StudyFindings, when: Stamp) -> Dataset:
    """Return the model as equipment (IHE AI Results): its Device UID changes with the bundle."""
    ds = Dataset()
    ds.PurposeOfReferenceCodeSequence = [codes.PROCESSING_EQUIPMENT.item()]
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = plain(findings.algorithm.name)[:64]
    ds.StationName = plain(findings.node_ae_title)[:16]
    ds.DeviceSerialNumber = findings.algorithm.digest[:64]
    ds.SoftwareVersions = [plain(findings.software_version), plain(findings.algorithm.version)[:64]]
    ds.DeviceUID = findings.device_uid
    ds.ContributionDateTime = when.moment
    ds.ContributionDescription = "Segmentation and scoring of lymph nodes"
    return ds


def plain(text: str) -> str:
    """Return `text` in printable ASCII without backslashes, which separate values in DICOM."""
    return "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)
