"""Our own check of a result object before it is stored: what is sent is what was found.

It reads the finished bytes back, so that it sees what a PACS will see. dciodvfy, which knows every
module of the standard, runs in the tests; this runs on every study.
"""

import io
from collections.abc import Iterator, Mapping, Sequence

import pydicom
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, SegmentationStorage

from dicom_io.context import MANUFACTURER, Source
from dicom_io.errors import ObjectError
from dicom_io.findings import StudyFindings
from dicom_io.sr_items import content_items
from dicom_io.validate_pr import check_graphics
from dicom_io.validate_seg import check_masks
from dicom_io.validate_sr import check_report
from dicom_io.verbatim import character_set, identity, raw_value

# Type 1 in every result object
_REQUIRED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "InstanceNumber",
    "ContentDate",
    "ContentTime",
    "ManufacturerModelName",
    "SoftwareVersions",
    "DeviceSerialNumber",
)


def check(data: bytes, findings: StudyFindings, sources: Sequence[Source]) -> None:
    """Raise ObjectError if an object may not be stored.

    Parameters
    ----------
    data
        The whole Part 10 file.
    findings
        What it must say.
    sources
        The images it may refer to; the first one lent patient and study.
    """
    ds = pydicom.dcmread(io.BytesIO(data))
    _check_identity(ds, sources[0])  # first: reading a value decodes it
    _check_header(ds, findings)
    _check_references(ds, sources)
    if ds.SOPClassUID == SegmentationStorage:
        check_masks(ds, findings, sources)
    elif "ContentSequence" in ds:
        check_report(ds, findings)
    elif "GraphicAnnotationSequence" in ds:
        check_graphics(ds, findings, sources)


def _check_identity(ds: Dataset, source: Source) -> None:
    for element in identity(source.ds):
        written = ds.get_item(element.tag)
        if written is None or (written.value or b"") != element.value:
            raise ObjectError("a patient or study element was not copied byte for byte")
    if raw_value(ds, Tag("SpecificCharacterSet")).strip() != character_set(source.ds):
        raise ObjectError("the character set of the source was not kept")


def _check_header(ds: Dataset, findings: StudyFindings) -> None:
    missing = [keyword for keyword in _REQUIRED if not ds.get(keyword)]
    if missing:
        raise ObjectError(f"a result object lacks {', '.join(missing)}")
    if ds.Manufacturer != MANUFACTURER:
        raise ObjectError(f"Manufacturer must be {MANUFACTURER}; the node knows its objects by it")
    if ds.StudyInstanceUID != findings.study_instance_uid:
        raise ObjectError("a result object lies outside its study")
    # the study's UID is the source's, as it came: some have components with leading zeros
    ours = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
    invalid = [keyword for keyword in ours if not UID(ds[keyword].value).is_valid]
    if invalid:
        raise ObjectError(f"a result object's {', '.join(invalid)} is no valid UID")
    if findings.algorithm.demonstration and not ds.SeriesDescription.startswith("DEMONSTRATION "):
        raise ObjectError("a demonstration bundle's object must say DEMONSTRATION")


def _check_references(ds: Dataset, sources: Sequence[Source]) -> None:
    """Every image reference names a source given, in its own class, on a frame that exists."""
    by_uid: Mapping[str, Source] = {source.sop_instance_uid: source for source in sources}
    for item in _image_references(ds):
        source = by_uid.get(item.ReferencedSOPInstanceUID)
        if source is None or source.sop_class_uid != item.ReferencedSOPClassUID:
            raise ObjectError("a result object refers to an image that is not among its sources")
        numbers = item.get("ReferencedFrameNumber")
        frames = [numbers] if isinstance(numbers, int) else list(numbers or ())
        if any(not 1 <= int(number) <= source.frame_count for number in frames):
            raise ObjectError("a result object refers to a frame that does not exist")


def _image_references(ds: Dataset) -> Iterator[Dataset]:
    for group in ds.get("PerFrameFunctionalGroupsSequence", ()):
        yield from group.DerivationImageSequence[0].SourceImageSequence
    yield from ds.get("SourceImageSequence", ())
    for series in ds.get("ReferencedSeriesSequence", ()):
        yield from series.get("ReferencedInstanceSequence", ())
        yield from series.get("ReferencedImageSequence", ())
    for keyword in ("DisplayedAreaSelectionSequence", "GraphicAnnotationSequence"):
        for item in ds.get(keyword, ()):
            yield from item.ReferencedImageSequence
    if "ContentSequence" in ds:
        for item in content_items(ds):
            yield from item.get("ReferencedSOPSequence", ())
