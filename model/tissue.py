"""Where the tissue is on a screen of ultrasound, found in its pixels.

Scanners put the picture in a frame of text, bars, rulers and traces. Tissue is told from these by
its texture: speckle differs from pixel to pixel nearly everywhere, while text is strokes on an even
ground and bars are even. The work is done on a coarse grid of cells, so that a frame of 800 × 600
takes some milliseconds.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .overlay import colour_fraction, colour_overlay, grey_without_overlay, luma

__all__ = [
    "colour_fraction",
    "colour_overlay",
    "grey_without_overlay",
    "luma",
    "tissue_boxes",
    "trim",
]

Box = tuple[int, int, int, int]  # x0, y0, x1, y1: half-open pixel box

_CELLS = 160  # cells along the longer side of the frame
_TEXTURED = 0.55  # share of a neighbourhood's pixels that must differ from a neighbour
_WINDOW = 5  # cells: the neighbourhood, and the least thickness of a picture
_DARK = 80  # of 255: the ground between the pictures is never brighter
_EVEN = 4  # of 255: differences from the ground that compression leaves
_WHITE = 150  # of 255: letters are brighter, smoothed ones included
_STROKES, _GAPS = 0.10, 0.30  # shares of a neighbourhood where both make it text
_MIN_PART = 0.004  # of the frame: smaller parts are letters and rulers
_STACKED = 0.6  # share of the narrower part's width for two parts to lie above one another
_SEAM_RANGE = (0.4, 0.6)  # of the width: panels of a dual view are equally wide
_SEAM = 4  # pixels from the seam at which the two sides are compared
_UNLIKE = 0.2  # correlation of two columns that do not belong to one picture
_MIN_AREA = 0.03  # of the frame: smaller pictures are logos, bars, body marks
_MIN_SIDE = 0.12  # of the frame's shorter side
_TRIMMED = 0.5  # of a region's width: with less tissue in sight nothing is cut off
_MARGIN = 0.015  # of a region's width, left beside the tissue


def tissue_boxes(frame: NDArray[np.uint8]) -> tuple[Box, ...]:
    """Find the pictures of tissue on a screen.

    Parameters
    ----------
    frame : NDArray[np.uint8]
        (H, W, 3) RGB.

    Returns
    -------
    tuple[Box, ...]
        Boxes around fans or rectangles of tissue, from left to right; two for a dual view; none
        where nothing looks like ultrasound.
    """
    grey = luma(frame)
    cell = max(3, -(-max(grey.shape) // _CELLS))
    boxes = [_pixels(box, cell, grey.shape) for box in _pictures(_tissue_density(grey, cell))]
    return tuple(sorted(panel for box in boxes for panel in _panels(grey, box)))


def trim(frame: NDArray[np.uint8], box: Box) -> Box:
    """Cut the text and bars beside the tissue off a declared region.

    Some machines declare the whole screen as the tissue region. Only the sides are cut: the depth
    of a picture is often black, and a declared depth is worth more than a visible one.

    Parameters
    ----------
    frame : NDArray[np.uint8]
        (H, W, 3) RGB.
    box : Box
        The region, within the frame.

    Returns
    -------
    Box
        `box`, or a narrower one where clearly most of it shows tissue.
    """
    x0, y0, x1, y1 = box
    found = tissue_boxes(frame[y0:y1, x0:x1])
    if not found:
        return box
    left, right = min(part[0] for part in found), max(part[2] for part in found)
    if right - left < _TRIMMED * (x1 - x0):
        return box
    margin = round(_MARGIN * (x1 - x0))
    return x0 + max(left - margin, 0), y0, x0 + min(right + margin, x1 - x0), y1


def _tissue_density(grey: NDArray[np.uint8], cell: int) -> NDArray[np.float32]:
    """Return the share of textured pixels around each cell (rows, columns); 0 where text stands."""
    textured = np.zeros(grey.shape, dtype=bool)
    textured[:, 1:] = grey[:, 1:] != grey[:, :-1]
    textured[1:] |= grey[1:] != grey[:-1]
    even = np.bincount(grey[~textured], minlength=256)
    ground = int(even[:_DARK].argmax()) if even.any() else 0
    on_ground = (np.abs(np.arange(256) - ground) <= _EVEN)[grey]
    density = _around(textured & ~on_ground, cell)
    # Letters put white strokes on the ground; in tissue, white and black are farther apart.
    text = (_around(grey > _WHITE, cell) > _STROKES) & (_around(on_ground, cell) > _GAPS)
    return np.where(text, np.float32(0), density)


def _around(mask: NDArray[np.bool_], cell: int) -> NDArray[np.float32]:
    # Share of set pixels in the neighbourhood of each cell, (rows, columns) of cells
    rows, columns = (np.arange(0, side, cell) for side in mask.shape)
    by_row = np.add.reduceat(mask.view(np.uint8), rows, axis=0, dtype=np.uint16)
    both = np.add.reduceat(by_row, columns, axis=1, dtype=np.uint32)
    heights, widths = (
        np.diff(np.append(e, s)) for e, s in zip((rows, columns), mask.shape, strict=True)
    )
    share = (both / np.outer(heights, widths)).astype(np.float32)
    around: NDArray[np.float32] = ndimage.uniform_filter(share, _WINDOW, mode="nearest")
    return around


def _pictures(density: NDArray[np.float32]) -> list[Box]:
    """Return the boxes of the pictures, in cells."""
    core = density > _TEXTURED
    core = ndimage.binary_opening(np.pad(core, _WINDOW, mode="edge"), np.ones((_WINDOW, _WINDOW)))
    labels, _ = ndimage.label(core[_WINDOW:-_WINDOW, _WINDOW:-_WINDOW])
    boxes = [
        (columns.start, rows.start, columns.stop, rows.stop)
        for rows, columns in ndimage.find_objects(labels)
    ]
    merged = _merged([box for box in boxes if _area(box) >= _MIN_PART * density.size])
    return [box for box in merged if _is_picture(box, density.shape)]


def _merged(boxes: list[Box]) -> list[Box]:
    # Parts above one another are one picture cut by something dark: a cyst, a shadow, a window
    # without echoes. Parts beside one another are two pictures.
    parts = sorted(boxes, key=_area, reverse=True)
    merged: list[Box] = []
    for part in parts:
        for index, whole in enumerate(merged):
            if _shared(whole, part, 0) >= _STACKED or _inside(whole, part):
                merged[index] = _union(whole, part)
                break
        else:
            merged.append(part)
    return merged if len(merged) == len(boxes) else _merged(merged)


def _shared(a: Box, b: Box, axis: int) -> float:
    # Share of the smaller extent along an axis (0: x, 1: y) that lies in the other
    common = min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis])
    return common / min(a[axis + 2] - a[axis], b[axis + 2] - b[axis])


def _inside(a: Box, b: Box) -> bool:
    return _shared(a, b, 0) > 0 and _shared(a, b, 1) > 0


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _is_picture(box: Box, shape: tuple[int, ...]) -> bool:
    width, height = box[2] - box[0], box[3] - box[1]
    return width * height >= _MIN_AREA * shape[0] * shape[1] and min(
        width, height
    ) >= _MIN_SIDE * min(shape)


def _panels(grey: NDArray[np.uint8], box: Box) -> list[Box]:
    """Split a picture whose halves are two views that touch, at the seam between them.

    Halves that continue each other, as when a long node is put together from two views, stay one.
    """
    x0, y0, x1, y1 = box
    width = x1 - x0
    first, last = x0 + int(_SEAM_RANGE[0] * width), x0 + int(_SEAM_RANGE[1] * width)
    if y1 - y0 < 64 or last - first < 24:
        return [box]
    band = grey[y0:y1, first - _SEAM : last + _SEAM].astype(np.float32)
    smooth = ndimage.uniform_filter(band, (9, 3), mode="nearest")
    smooth -= smooth.mean(axis=0)
    smooth /= np.sqrt((smooth**2).mean(axis=0)) + 1e-3
    likeness = (smooth[:, : -2 * _SEAM] * smooth[:, 2 * _SEAM :]).mean(axis=0)
    at = int(likeness.argmin())
    if likeness[at] > _UNLIKE or np.median(likeness) < 0.5 + _UNLIKE:
        return [box]
    return [(x0, y0, first + at, y1), (first + at, y0, x1, y1)]


def _pixels(box: Box, cell: int, shape: tuple[int, ...]) -> Box:
    x0, y0, x1, y1 = (cell * edge for edge in box)
    return x0, y0, min(x1, shape[1]), min(y1, shape[0])
