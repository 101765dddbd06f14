"""Size and shape of a node from its mask, in millimetres where the spacing is known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from skimage import measure as skmeasure

MAX_CONTOUR_POINTS = 200  # a POLYLINE of more points draws no better and bloats the report
_TOLERANCE_PX = 0.25  # that thinning begins with
_STATIONS = 128  # places along the long axis where the width is taken
_MARGIN_OFFSETS_PX = (2.0, 3.0, 4.0)  # how far inside and outside the margin grey is read
MARGIN_REACH_PX = int(max(_MARGIN_OFFSETS_PX)) + 4  # grey beyond a node's box that is looked at


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
    tolerance = _TOLERANCE_PX
    spread = significance(outline, tolerance)
    while np.count_nonzero(spread > tolerance) > MAX_CONTOUR_POINTS:
        tolerance *= 1.5
    thinned = outline[spread > tolerance]
    return np.asarray(thinned if len(thinned) >= 4 else outline, np.float64)


def significance(chain: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Return, per point of a chain (N, 2), the greatest tolerance at which thinning keeps it.

    Thinning is that of Douglas and Peucker: a stretch is split at its farthest point if that lies
    farther than the tolerance from the straight line. Where it is split does not depend on the
    tolerance, so one pass serves every tolerance from `least` on. All stretches of one depth are
    split together.

    Returns
    -------
    numpy.ndarray
        (N,) in units of the points, infinite for both ends; 0: not kept at `least` either.
    """
    kept = np.zeros(len(chain))
    kept[[0, -1]] = np.inf
    limit = np.full(len(chain), np.inf)  # of the stretch that a point lies in
    ends = np.array([0, len(chain) - 1])  # of the stretches that are still split, in pairs
    while len(ends):
        starts, stops = ends[::2], ends[1::2]
        lengths = stops - starts - 1
        starts, stops, lengths = (v[lengths > 0] for v in (starts, stops, lengths))
        if not len(starts):
            break
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        stretch = np.repeat(np.arange(len(starts)), lengths)
        inner = np.arange(lengths.sum()) - first[stretch] + starts[stretch] + 1
        distance = _from_chord(chain[inner], chain[starts][stretch], chain[stops][stretch])
        farthest = np.maximum.reduceat(distance, first)
        at = np.flatnonzero(distance == farthest[stretch])
        _, once = np.unique(stretch[at], return_index=True)  # the first of equals
        middle = inner[at[once]]
        split = farthest > least
        kept[middle[split]] = np.minimum(farthest, limit[middle])[split]
        limit[inner] = np.minimum(limit[inner], farthest[stretch])
        starts, middle, stops = starts[split], middle[split], stops[split]
        ends = np.stack([starts, middle, middle, stops], axis=1).ravel()
    return kept


def _from_chord(
    points: NDArray[np.float64], start: NDArray[np.float64], stop: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of points (N, 2) from the straight line between two others, all (N, 2)."""
    along = stop - start
    angle = -np.arctan2(along[:, 0], along[:, 1])
    sine, cosine = np.sin(angle), np.cos(angle)
    offset = start[:, 1] * sine + start[:, 0] * cosine
    line = np.abs(points[:, 0] * cosine + points[:, 1] * sine - offset)
    from_start, from_stop = points - start, points - stop
    beside = ((from_start * along).sum(axis=1) > 0) & (-(from_stop * along).sum(axis=1) > 0)
    corner = np.minimum(
        np.sqrt(from_start[:, 1] ** 2 + from_start[:, 0] ** 2),
        np.sqrt(from_stop[:, 1] ** 2 + from_stop[:, 0] ** 2),
    )
    return np.where(beside, line, corner)


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
    x0, y0 = np.maximum(np.floor(outline.min(axis=0)).astype(int) - MARGIN_REACH_PX, 0)
    x1, y1 = np.ceil(outline.max(axis=0)).astype(int) + MARGIN_REACH_PX
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
