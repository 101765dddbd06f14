"""Size and shape of a node from its mask, in millimetres where the spacing is known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from skimage import measure as skmeasure

MAX_CONTOUR_POINTS = 200  # a POLYLINE of more points draws no better and bloats the report
_STATIONS = 128  # places along the long axis where the width is taken
_MARGIN_OFFSETS_PX = (2.0, 3.0, 4.0)  # how far inside and outside the margin grey is read


@dataclass(frozen=True)
class Shape:
    """The numbers of one node on one frame; lengths in mm, or in pixels if not `calibrated`."""

    long_axis: float  # greatest distance between two points of the margin (Feret)
    short_axis: float  # greatest width perpendicular to the long axis
    area: float  # mm2 or pixels
    circularity: float  # 4 pi area / perimeter^2, 0..1
    margin_sharpness: float  # mean grey step across the margin, 0..1 of the grey range
    calibrated: bool  # True: millimetres
    contour: NDArray[np.float64]  # (N, 2) columns, rows; closed; first pixel's centre is 0.5, 0.5


def measure(
    mask: NDArray[np.bool_],
    row: int,
    column: int,
    grey: NDArray[np.uint8],
    spacing: tuple[float, float] | None = None,
) -> Shape:
    """Measure a node.

    Parameters
    ----------
    mask
        (h, w) bool, one connected component, at least one pixel, cropped anywhere around it.
    row, column
        Place of the mask's first pixel in the source frame.
    grey
        (H, W) uint8, the whole source frame in grey.
    spacing
        Distance between rows and between columns in mm; None: everything stays in pixels.
    """
    row_mm, column_mm = spacing or (1.0, 1.0)
    outline = outline_of(mask)
    physical = outline * np.array([column_mm, row_mm])
    long_axis, short_axis = _axes(physical)
    area = float(mask.sum()) * row_mm * column_mm
    perimeter = _length(_smooth(physical))
    in_frame = outline + np.array([column, row])
    return Shape(
        long_axis=long_axis,
        short_axis=short_axis,
        area=area,
        circularity=min(4 * np.pi * area / perimeter**2, 1.0) if perimeter else 1.0,
        margin_sharpness=_margin_step(in_frame, grey),
        calibrated=spacing is not None,
        contour=simplify(in_frame),
    )


def simplify(outline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thin a closed outline (N, 2) to at most MAX_CONTOUR_POINTS, moving it as little as needed."""
    tolerance = 0.25  # pixels
    thinned = outline
    while len(thinned) > MAX_CONTOUR_POINTS or tolerance == 0.25:
        thinned = skmeasure.approximate_polygon(outline, tolerance)
        tolerance *= 1.5
    return np.asarray(thinned if len(thinned) >= 4 else outline, np.float64)


def outline_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Find the closed outer contour (N, 2): columns, rows; continuous, the mask's edge is 0."""
    padded = np.pad(mask, 1).astype(np.float64)
    contours = skmeasure.find_contours(padded, 0.5, fully_connected="high")
    longest = max(contours, key=len)
    # find_contours counts from pixel centres, PS3.3 C.18.6 from the edge: +0.5, and -1 of padding
    return np.asarray(longest[:, ::-1] - 0.5, np.float64)


def _axes(points: NDArray[np.float64]) -> tuple[float, float]:
    """Long axis and the greatest chord perpendicular to it of a closed contour (N, 2)."""
    hull = _hull(points)
    gaps = np.linalg.norm(hull[:, None] - hull[None], axis=2)
    first, second = np.unravel_index(int(gaps.argmax()), gaps.shape)
    long_axis = float(gaps[first, second])
    along = (hull[second] - hull[first]) / long_axis
    across = np.array([-along[1], along[0]])
    rotated = (points - hull[first]) @ np.stack([along, across], axis=1)
    return long_axis, min(_greatest_width(rotated), long_axis)


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corner points of the convex hull; all points where they lie on one line."""
    try:
        return np.asarray(points[ConvexHull(points).vertices], np.float64)
    except QhullError:
        return points


def _greatest_width(points: NDArray[np.float64]) -> float:
    """Greatest extent in y of a closed contour over lines of constant x."""
    x, y = points[:, 0], points[:, 1]
    stations = np.linspace(x.min(), x.max(), _STATIONS + 2)[1:-1, None]
    start, step = x[:-1], np.diff(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = (stations - start) / step
    crossing = (part >= 0) & (part <= 1)
    heights = y[:-1] + np.where(crossing, part, 0) * np.diff(y)
    upper = np.where(crossing, heights, -np.inf).max(axis=1)
    lower = np.where(crossing, heights, np.inf).min(axis=1)
    return float(np.max(upper - lower))


def _smooth(points: NDArray[np.float64], sigma: float = 1.5) -> NDArray[np.float64]:
    """Take the pixel staircase off a closed contour; it would lengthen the perimeter."""
    if len(points) < 12:
        return points
    smooth = ndimage.gaussian_filter1d(points[:-1], sigma, axis=0, mode="wrap")
    return np.concatenate([smooth, smooth[:1]])


def _length(points: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _margin_step(outline: NDArray[np.float64], grey: NDArray[np.uint8]) -> float:
    """Mean absolute grey step from just inside to just outside of the outline, 0..1."""
    reach = int(max(_MARGIN_OFFSETS_PX)) + 4
    x0, y0 = np.maximum(np.floor(outline.min(axis=0)).astype(int) - reach, 0)
    x1, y1 = np.ceil(outline.max(axis=0)).astype(int) + reach
    # a little smoothing, or speckle would count as a step
    patch = ndimage.gaussian_filter(grey[y0:y1, x0:x1].astype(np.float64), 1.0)
    smooth = _smooth(outline)[:-1] - np.array([x0, y0]) - 0.5
    tangent = np.roll(smooth, -1, axis=0) - np.roll(smooth, 1, axis=0)
    norm = np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) / norm
    sides = [
        np.mean(
            [_sample(patch, smooth + sign * far * normal) for far in _MARGIN_OFFSETS_PX], axis=0
        )
        for sign in (-1.0, 1.0)
    ]
    return float(np.mean(np.abs(sides[1] - sides[0])) / 255.0)


def _sample(patch: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear values of the patch at points (N, 2) x, y counted from pixel centres."""
    values = ndimage.map_coordinates(patch, (points[:, 1], points[:, 0]), order=1, mode="nearest")
    return np.asarray(values, np.float64)
