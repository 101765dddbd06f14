"""The check of a segmentation: its frames are the masks that were found, to the pixel."""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from dicom_io.context import Source
from dicom_io.errors import ObjectError
from dicom_io.findings import NodeFinding, StudyFindings
from dicom_io.seg_frames import SegFrame, frames_of, paint, unpack


def check_masks(ds: Dataset, findings: StudyFindings, sources: Sequence[Source]) -> None:
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
