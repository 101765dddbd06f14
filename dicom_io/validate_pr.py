"""The check of a presentation state: its graphics are the contours that were found."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydicom.dataset import Dataset

from dicom_io.context import Source
from dicom_io.contour import closed
from dicom_io.errors import ObjectError
from dicom_io.findings import NodeFinding, StudyFindings


def check_graphics(ds: Dataset, findings: StudyFindings, sources: Sequence[Source]) -> None:
    """Every graphic is a contour that was found on its frame, and no node is drawn in part."""
    drawn = sorted(_graphics(ds))
    by_uid = {source.sop_instance_uid: source for source in sources}
    uids = {uid for uid, *_ in drawn}
    nodes = [node for node in findings.nodes if node.tracking_uid in uids]
    found = sorted(graphic for node in nodes for graphic in _contours(node, by_uid))
    if not drawn or drawn != found:
        raise ObjectError("a graphic is not the contour that was found")


def _graphics(ds: Dataset) -> Iterator[tuple[str, str, int, bytes]]:
    """Yield tracking UID, image, frame and points of every graphic."""
    layers = {layer.GraphicLayer for layer in ds.get("GraphicLayerSequence", ())}
    for item in ds.GraphicAnnotationSequence:
        if item.GraphicLayer not in layers:
            raise ObjectError("a graphic lies on a layer that does not exist")
        (image,) = item.ReferencedImageSequence
        number = int(image.get("ReferencedFrameNumber", 1))
        for graphic in item.GraphicObjectSequence:
            points = np.array(graphic.GraphicData, dtype="<f4").tobytes()
            if len(points) != graphic.NumberOfGraphicPoints * 8:
                raise ObjectError("a graphic has not as many points as it says")
            yield str(graphic.TrackingUID), str(image.ReferencedSOPInstanceUID), number, points


def _contours(
    node: NodeFinding, sources: Mapping[str, Source]
) -> Iterator[tuple[str, str, int, bytes]]:
    for view in node.views:
        if view.mask.any():
            source = sources[view.sop_instance_uid]
            points = closed(view.contour, source).astype("<f4").tobytes()
            yield node.tracking_uid, view.sop_instance_uid, view.frame_number, points
