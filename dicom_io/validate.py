"""Our own check of a result object before it is stored: what is sent is what was found.

It reads the finished bytes back, so that it sees what a PACS will see. dciodvfy, which knows every
module of the standard, runs in the tests; this runs on every study.
"""

import io
from collections.abc import Iterator, Mapping, Sequence

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ColorSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_io import codes
from dicom_io.context import MANUFACTURER, Source, plain
from dicom_io.errors import ObjectError
from dicom_io.findings import StudyFindings
from dicom_io.items import codes_of
from dicom_io.sr_items import content_items
from dicom_io.validate_codes import check_codes
from dicom_io.validate_pr import check_graphics
from dicom_io.validate_seg import check_masks, check_segments
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

_CLASSES = {
    "SEG": (SegmentationStorage,),
    "SR": (ComprehensiveSRStorage, Comprehensive3DSRStorage),
    "PR": (ColorSoftcopyPresentationStateStorage, GrayscaleSoftcopyPresentationStateStorage),
    "OT": (SecondaryCaptureImageStorage,),
}


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
    try:
        _check(pydicom.dcmread(io.BytesIO(data)), findings, sources)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ObjectError("a result object lacks what it must have, or holds no value") from error


def _check(ds: FileDataset, findings: StudyFindings, sources: Sequence[Source]) -> None:
    _check_identity(ds, sources[0])  # first: reading a value decodes it
    _check_header(ds, findings)
    if _makers(ds) != _expected_makers(findings):
        raise ObjectError("a result object names another device, software or model")
    _check_references(ds, sources)
    check_codes(ds, sources)
    modality = ds.Modality
    if modality == "SEG":
        check_masks(ds, findings, sources)
        check_segments(ds, findings, sources)
    elif modality == "SR":
        check_report(ds, findings, sources)
    elif modality == "PR":
        check_graphics(ds, findings, sources)
    else:
        _check_picture(ds)


def _check_picture(ds: Dataset) -> None:
    """Check that a Secondary Capture has the pixels that it says, three bytes each."""
    size = ds.Rows * ds.Columns * 3
    said = (ds.SamplesPerPixel, ds.BitsAllocated, ds.PhotometricInterpretation)
    if said != (3, 8, "RGB") or len(ds.PixelData) != size + size % 2:
        raise ObjectError("a picture has not the pixels that it says")


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
    if ds.SOPClassUID not in _CLASSES.get(ds.Modality, ()):
        raise ObjectError("a result object's SOP class and modality do not belong together")
    meta = (ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID)
    if (ds.SOPClassUID, ds.SOPInstanceUID) != meta:
        raise ObjectError("a result object is not the one that its file names")
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


def _makers(ds: Dataset) -> tuple[object, ...]:
    (model,) = ds.ContributingEquipmentSequence
    return (
        (ds.ManufacturerModelName, ds.DeviceSerialNumber, ds.SoftwareVersions),
        (model.Manufacturer, model.ManufacturerModelName, model.DeviceSerialNumber),
        (model.DeviceUID, list(model.SoftwareVersions)),
        list(codes_of(model, "PurposeOfReferenceCodeSequence")) == [codes.PROCESSING_EQUIPMENT],
    )


def _expected_makers(findings: StudyFindings) -> tuple[object, ...]:
    """Return node and model: by them a reader knows which bundle made an object (IHE AIR)."""
    used, software = findings.algorithm, plain(findings.software_version)
    return (
        ("AxNode", findings.device_uid, software),
        (MANUFACTURER, plain(used.name)[:64], used.digest[:64]),
        (findings.device_uid, [software, plain(used.version)[:64]]),
        True,
    )


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
