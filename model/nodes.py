"""From a probability map to lymph nodes: connected components under the bundle's rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EIGHT = np.ones((3, 3), np.bool_)  # pixels that touch at a corner belong together


@dataclass(frozen=True)
class Rules:
    """What counts as a node; part of the bundle, for they decide what is reported."""

    threshold: float = 0.5  # probability from which a pixel belongs to a node
    min_fraction: float = 0.002  # of the crop's area; smaller components are specks
    min_peak: float = 0.7  # highest probability that a component must reach


@dataclass(frozen=True)
class Component:
    """One connected component, holes filled, cropped to its bounding box."""

    row: int  # top row, in pixels of the source frame
    column: int  # left column
    mask: NDArray[np.bool_]  # (h, w)
    peak: float  # highest probability in it

    @property
    def area_px(self) -> int:
        """Number of pixels."""
        return int(self.mask.sum())


@dataclass(frozen=True)
class PredictedNode:
    """One lymph node on one frame."""

    row: int  # top row of `mask` in the source frame
    column: int  # left column of `mask` in the source frame
    mask: NDArray[np.bool_]  # (h, w), cropped to the node
    score: float  # 0..1, calibrated probability of metastasis by the classifier
    area_px: int  # pixels of the mask
    peak: float  # highest probability in the mask, what `Rules.min_peak` is held against


def components(
    probability: NDArray[np.float32], origin: tuple[int, int] = (0, 0), rules: Rules | None = None
) -> list[Component]:
    """Find the nodes in a map, largest first.

    Parameters
    ----------
    probability
        (h, w) float, 0..1, in pixels of the source crop.
    origin
        Row and column of the crop's first pixel in the source frame.
    """
    from scipy import ndimage  # whoever reads a card, and no image, does not wait for it

    rules = rules or Rules()
    above = probability >= rules.threshold
    inside = _bounds(above)
    origin = (origin[0] + inside[0].start, origin[1] + inside[1].start)
    labels, _ = ndimage.label(above[inside], structure=_EIGHT)
    found: list[Component] = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        part = labels[place] == number
        peak = probability[inside][place][part].max()
        if peak < rules.min_peak:
            continue
        mask = ndimage.binary_fill_holes(part)
        if mask.sum() >= rules.min_fraction * probability.size:
            rows, columns = place
            place_in_frame = (origin[0] + rows.start, origin[1] + columns.start)
            found.append(Component(*place_in_frame, mask, float(peak)))
    return sorted(found, key=lambda node: (-node.area_px, node.row, node.column))


def territories(masks: Sequence[NDArray[np.bool_]], margin: float = 4.0) -> NDArray[np.bool_]:
    """Divide the image among components, so that each can be read with the others masked out.

    Parameters
    ----------
    masks
        n masks (H, W), one per component.
    margin
        Pixels around a component that are its own, where no other component is nearer: the soft
        mask reaches a little beyond the hard one.

    Returns
    -------
    numpy.ndarray
        (n, H, W) bool, disjoint.
    """
    from scipy import ndimage

    owner = np.zeros(masks[0].shape, np.int32)
    for number, mask in enumerate(masks, start=1):
        owner[mask & (owner == 0)] = number
    divided = np.zeros((len(masks), *owner.shape), np.bool_)
    inside = _bounds(owner > 0, math.ceil(margin))
    owner = owner[inside]
    if owner.any():
        distance, nearest = ndimage.distance_transform_edt(owner == 0, return_indices=True)
        spread = np.where(distance <= margin, owner[tuple(nearest)], 0)
        for number in range(1, len(masks) + 1):
            divided[number - 1][inside] = spread == number
    return divided


def _bounds(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, slice]:
    """Return rows and columns around what is set, of which a node is a small part; never none."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 1), slice(0, 1)
    return _reach(rows, margin), _reach(columns, margin)


def _reach(places: NDArray[np.intp], margin: int) -> slice:
    return slice(max(int(places[0]) - margin, 0), int(places[-1]) + 1 + margin)
