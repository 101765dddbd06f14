"""The check of a segmentation: its frames are the masks that were found, to the pixel."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.context import Source, plain
from dicom_io.errors import ObjectError
from dicom_io.findings import NodeFinding, StudyFindings
from dicom_io.seg import algorithm_parameters
from dicom_io.seg_frames import SegFrame, frames_of, paint, unpack

# One bit for one pixel of one segment (PS3.3 C.8.20.2); another value, and readers see other masks
_PIXELS = {
    "BitsAllocated": 1,
    "BitsStored": 1,
    "HighBit": 0,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelRepresentation": 0,
    "SamplesPerPixel": 1,
    "SegmentationType": "BINARY",
}


def check_segments(ds: Dataset, findings: StudyFindings, sources: Sequence[Source]) -> None:
    """Every segment names its node, side and model, and the SEG the images that it shows."""
    if any(ds[keyword].value != value for keyword, value in _PIXELS.items()):
        raise ObjectError("the segmentation's pixels are not said to be single bits")
    nodes = {node.tracking_uid: node for node in findings.nodes}
    for segment in ds.SegmentSequence:
        if _named(segment) != _expected(nodes.get(segment.TrackingUID), findings):
            raise ObjectError("a segment does not name its node, side or model")
    for group in ds.PerFrameFunctionalGroupsSequence:
        content = group.FrameContentSequence[0]
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        if content.DimensionIndexValues != [number, content.InStackPositionNumber]:
            raise ObjectError("a frame's place among the dimensions is not that of its segment")
    _check_series(ds, sources)
    _check_spacing(ds, findings)


def _named(segment: Dataset) -> tuple[object, ...]:
    (region,) = segment.AnatomicRegionSequence
    (model,) = segment.SegmentationAlgorithmIdentificationSequence
    modifiers = region.get("AnatomicRegionModifierSequence", ())
    properties = (
        segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue,
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue,
        region.CodeValue,
    )
    return (
        (segment.SegmentLabel, segment.TrackingID, segment.SegmentAlgorithmType),
        (segment.SegmentAlgorithmName, model.AlgorithmName, model.AlgorithmVersion),
        model.AlgorithmParameters,
        model.AlgorithmFamilyCodeSequence[0].CodeValue,
        properties,
        tuple(modifier.CodeValue for modifier in modifiers),
    )


def _expected(node: NodeFinding | None, findings: StudyFindings) -> tuple[object, ...]:
    if node is None:
        raise ObjectError("the segments are not the nodes found")
    name = plain(findings.algorithm.name)[:64]
    properties = (codes.ANATOMICAL_STRUCTURE.value, codes.LYMPH_NODE.value, codes.AXILLA.value)
    return (
        (node.label, node.label, "AUTOMATIC"),
        (name, name, plain(findings.algorithm.version)[:64]),
        "; ".join(algorithm_parameters(findings)),
        codes.ARTIFICIAL_INTELLIGENCE.value,
        properties,
        (codes.SIDES[node.laterality].value,) if node.laterality else (),
    )


def _check_series(ds: Dataset, sources: Sequence[Source]) -> None:
    """Viewers find the images by the Common Instance Reference (PS3.3 C.12.2)."""
    listed = {
        (str(series.SeriesInstanceUID), uid)
        for series in ds.ReferencedSeriesSequence
        for uid in _instances(series)
    }
    shown = {
        str(image.ReferencedSOPInstanceUID)
        for group in ds.PerFrameFunctionalGroupsSequence
        for image in group.DerivationImageSequence[0].SourceImageSequence
    }
    series = {source.sop_instance_uid: source.series_instance_uid for source in sources}
    if listed != {(series[uid], uid) for uid in shown}:
        raise ObjectError("the segmentation does not list the images that it shows")


def _check_spacing(ds: Dataset, findings: StudyFindings) -> None:
    """Check that a spacing is that of every image shown; only an invented volume invents 1 mm."""
    (shared,) = ds.SharedFunctionalGroupsSequence
    measures = shared.get("PixelMeasuresSequence")
    if bool(measures) != ("PlaneOrientationSequence" in shared):
        raise ObjectError("the segmentation states spacing without orientation, or the reverse")
    if not measures:
        return
    shown = {uid for series in ds.ReferencedSeriesSequence for uid in _instances(series)}
    known = {i.calibration for i in findings.images if i.sop_instance_uid in shown}
    only = known.pop() if len(known) == 1 else None
    wanted = (only.row_mm, only.column_mm) if only else ()
    if not wanted and "FrameOfReferenceUID" in ds:
        wanted = (1.0, 1.0)
    written = measures[0].get("PixelSpacing") or ()
    if len(written) != len(wanted) or not np.allclose(written, wanted, rtol=1e-6, atol=0):
        raise ObjectError("the segmentation states another spacing than its images have")


def _instances(series: Dataset) -> list[str]:
    return [str(item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence]


def check_masks(ds: Dataset, findings: StudyFindings, sources: Sequence[Source]) -> None:
    """Every mask that was found is stored once, exactly; any other frame is empty and was read."""
    nodes = _segmented(ds, findings)
    groups = ds.PerFrameFunctionalGroupsSequence
    if len(groups) != ds.NumberOfFrames:
        raise ObjectError("the segmentation does not describe each of its frames")
    missing: dict[tuple[int, str, int], list[SegFrame]] = {}
    for frame in frames_of(nodes, sources):
        missing.setdefault(_place(frame), []).append(frame)
    read = set(_read(findings, sources))
    for index, group in enumerate(groups):
        written = unpack(ds.PixelData, index, ds.Rows, ds.Columns)
        place = segment, uid, number = _described(group)
        masks = missing.get(place, [])
        found = [n for n, frame in enumerate(masks) if (written == paint(frame)).all()]
        if found:
            del masks[found[0]]
        elif written.any():
            raise ObjectError("a mask in the segmentation is not the mask that was found")
        elif segment > len(nodes) or (uid, number) not in read:
            raise ObjectError("the segmentation has a frame that was not read")
    if any(missing.values()):
        raise ObjectError("the segmentation lacks a mask that was found")


def _read(findings: StudyFindings, sources: Sequence[Source]) -> Iterator[tuple[str, int]]:
    """Yield image and frame, as references name them, of everything that was read."""
    names_frames = {source.sop_instance_uid: source.names_frames for source in sources}
    for image in findings.images:
        for number in image.frame_numbers if names_frames[image.sop_instance_uid] else (1,):
            yield image.sop_instance_uid, number


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
