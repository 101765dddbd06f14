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

from dicom_io.context import MANUFACTURER, Source, character_set, identity, raw_value
from dicom_io.errors import ObjectError
from dicom_io.findings import NodeFinding, StudyFindings
from dicom_io.seg_frames import SegFrame, frames_of, paint, unpack

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
        _check_masks(ds, findings, sources)
    elif "ContentSequence" in ds:
        _check_report(ds, findings)


def _check_identity(ds: Dataset, source: Source) -> None:
    for element in identity(source):
        written = ds.get_item(element.tag)
        if written is None or (written.value or b"") != element.value:
            raise ObjectError("a patient or study element was not copied byte for byte")
    if raw_value(ds, Tag("SpecificCharacterSet")).strip() != character_set(source):
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
        yield from series.ReferencedInstanceSequence
    if "ContentSequence" in ds:
        for item in content_items(ds):
            yield from item.get("ReferencedSOPSequence", ())


def content_items(ds: Dataset) -> Iterator[Dataset]:
    """Yield every content item of a report below its root, parents first."""
    for item in ds.get("ContentSequence", ()):
        yield item
        yield from content_items(item)


def _check_masks(ds: Dataset, findings: StudyFindings, sources: Sequence[Source]) -> None:
    """Every mask that was found is stored once, exactly; any other frame is empty and was read."""
    nodes = _segmented(ds, findings)
    groups = ds.PerFrameFunctionalGroupsSequence
    if len(groups) != ds.NumberOfFrames:
        raise ObjectError("the segmentation does not describe each of its frames")
    missing: dict[tuple[int, str, int], list[SegFrame]] = {}
    for frame in frames_of(nodes, sources):
        missing.setdefault(_place(frame), []).append(frame)
    read = {image.sop_instance_uid: image.frame_numbers for image in findings.images}
    for index, group in enumerate(groups):
        written = unpack(ds.PixelData, index, ds.Rows, ds.Columns)
        place = segment, uid, number = _described(group)
        masks = missing.get(place, [])
        found = [n for n, frame in enumerate(masks) if (written == paint(frame)).all()]
        if found:
            del masks[found[0]]
        elif written.any():
            raise ObjectError("a mask in the segmentation is not the mask that was found")
        elif segment > len(nodes) or number not in read.get(uid, ()):
            raise ObjectError("the segmentation has a frame that was not read")
    if any(missing.values()):
        raise ObjectError("the segmentation lacks a mask that was found")


def _segmented(ds: Dataset, findings: StudyFindings) -> list[NodeFinding]:
    """Return the nodes of segments 1, 2, …, which must all be nodes found."""
    tracked = {segment.TrackingUID: segment.SegmentNumber for segment in ds.SegmentSequence}
    nodes = [node for node in findings.nodes if node.tracking_uid in tracked]
    if [tracked[node.tracking_uid] for node in nodes] != list(range(1, len(tracked) + 1)):
        raise ObjectError("the segments are not the nodes found")
    return nodes


def _place(frame: SegFrame) -> tuple[int, str, int]:
    """Return segment, source image and frame; the odd image does not name its frames."""
    number = frame.frame_number if frame.source.names_frames else 1
    return frame.segment, frame.source.sop_instance_uid, number


def _described(group: Dataset) -> tuple[int, str, int]:
    """Return segment, source image and frame of one stored frame."""
    image = group.DerivationImageSequence[0].SourceImageSequence[0]
    return (
        int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber),
        str(image.ReferencedSOPInstanceUID),
        int(image.get("ReferencedFrameNumber", 1)),
    )


def _check_report(ds: Dataset, findings: StudyFindings) -> None:
    """Check that every node is followed, and that a demonstration evaluates nothing."""
    items = list(content_items(ds))
    tracked = {item.UID for item in items if item.ValueType == "UIDREF"}
    if any(node.tracking_uid not in tracked for node in findings.nodes):
        raise ObjectError("the report lacks a node that was found")
    concepts = {item.ConceptNameCodeSequence[0].CodeValue for item in items}
    if findings.algorithm.demonstration and "111330" in concepts:
        raise ObjectError("a demonstration's report may carry no qualitative finding")
