"""The graphics of a presentation state: layers, contours and captions (PS3.3 C.10.5, C.10.7)."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.context import Source
from dicom_io.contour import closed
from dicom_io.findings import NodeFinding, NodeView
from dicom_io.node_colour import cielab
from dicom_io.seg_frames import reference

_WHITE = 0xFFFF  # P-Value, on a screen without colour


def layer(node: NodeFinding, order: int) -> Dataset:
    """Return the layer of one node: a viewer switches it, and colours it, as a whole.

    Parameters
    ----------
    order
        1-based; a higher one is drawn on top.
    """
    ds = Dataset()
    ds.GraphicLayer = node.label.upper()
    ds.GraphicLayerOrder = order
    ds.GraphicLayerRecommendedDisplayGrayscaleValue = _WHITE
    ds.GraphicLayerRecommendedDisplayCIELabValue = cielab(node.number)
    ds.GraphicLayerDescription = node.label
    return ds


def annotations(node: NodeFinding, source: Source, note: str) -> Iterator[Dataset]:
    """Yield what is drawn of a node, one item per frame.

    Parameters
    ----------
    note
        Words after every caption; may be empty.
    """
    for number, views in _by_frame(node).items():
        outlines = [closed(view.contour, source) for view in views]
        caption = _caption(node, views, note)
        ds = Dataset()
        ds.ReferencedImageSequence = [reference(source, number)]
        ds.GraphicLayer = node.label.upper()
        ds.TextObjectSequence = [_text(caption, np.vstack(outlines), source)]
        ds.GraphicObjectSequence = [_polyline(node, points) for points in outlines]
        yield ds


def _by_frame(node: NodeFinding) -> dict[int, list[NodeView]]:
    views: dict[int, list[NodeView]] = {}
    for view in sorted(node.views, key=lambda view: view.frame_number):
        if view.mask.any():
            views.setdefault(view.frame_number, []).append(view)
    return views


def _caption(node: NodeFinding, views: Iterable[NodeView], note: str) -> str:
    """Return the label, and the size on the frame where it was measured."""
    words = [node.label]
    if any(view is node.views[node.key_view] for view in views):
        size = node.measurements
        unit = "mm" if size.calibrated else "px"
        words.append(f"{size.long_axis:.1f} x {size.short_axis:.1f} {unit}")
    if note:
        words.append(note)
    return "  ".join(words)


def _polyline(node: NodeFinding, points: NDArray[np.float64]) -> Dataset:
    ds = Dataset()
    ds.GraphicAnnotationUnits = "PIXEL"
    ds.GraphicDimensions = 2
    ds.NumberOfGraphicPoints = len(points)
    ds.GraphicData = points.ravel().tolist()
    ds.GraphicType = "POLYLINE"
    ds.GraphicFilled = "N"
    ds.TrackingID = node.label
    ds.TrackingUID = node.tracking_uid
    return ds


def _text(caption: str, points: NDArray[np.float64], source: Source) -> Dataset:
    """Return a caption above the node, or below one that touches the top of the image."""
    height = min(max(12.0, source.rows / 32), source.rows)
    width = min(0.6 * height * len(caption), source.columns)
    (left, upper), lower = points.min(axis=0), points[:, 1].max()
    left = min(left, source.columns - width)
    top = upper - height if upper >= height else min(lower, source.rows - height)
    ds = Dataset()
    ds.BoundingBoxAnnotationUnits = "PIXEL"
    ds.UnformattedTextValue = caption
    ds.BoundingBoxTopLeftHandCorner = [float(left), float(top)]
    ds.BoundingBoxBottomRightHandCorner = [float(left + width), float(top + height)]
    ds.BoundingBoxTextHorizontalJustification = "LEFT"
    return ds
