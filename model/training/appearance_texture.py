"""Texture of a node: how grey levels stand beside each other, and against the surroundings."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops

LEVELS = 16  # of grey; more leave most of the matrix of a small node empty
RING_GAP = 2  # pixels between node and ring: the margin belongs to neither
_ANGLES = (0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4)
_KINDS = ("contrast", "energy", "homogeneity", "entropy")


def co_occurring(grey: NDArray[np.uint8], mask: NDArray[np.bool_]) -> dict[str, float | None]:
    """Describe the grey inside a mask by its co-occurrence (Haralick 1973), in four directions.

    Levels are those of the mask's own grey, so gain alone changes nothing; neighbours are one pixel
    apart, so magnification does.

    Parameters
    ----------
    grey
        (h, w) uint8.
    mask
        (h, w) bool, with at least two pixels that touch.
    """
    counts = co_occurrence(quantise(grey, mask), mask)
    matrix = counts[:, :, None, None]
    told: dict[str, float | None] = {
        f"glcm_{kind}": float(graycoprops(matrix, kind)[0, 0]) for kind in _KINDS
    }
    # one level alone correlates with nothing, and skimage would say 1
    even = np.count_nonzero(counts.sum(axis=0)) < 2
    told["glcm_correlation"] = None if even else float(graycoprops(matrix, "correlation")[0, 0])
    return told


def quantise(grey: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Divide grey (h, w) into levels 0 to 15 between the mask's 1st and 99th percentile.

    Not between its extremes: one caliper drawn into a node would press all else into a few levels.
    """
    low, high = np.percentile(grey[mask], [1, 99])
    if high <= low:
        return np.zeros(grey.shape, np.uint8)
    scaled = (grey - low) / (high - low) * LEVELS
    return np.asarray(np.clip(scaled, 0, LEVELS - 1), np.uint8)


def co_occurrence(
    levels: NDArray[np.uint8], mask: NDArray[np.bool_], count: int = LEVELS
) -> NDArray[np.uint32]:
    """Count the neighbours of which both lie inside a mask, all directions in one matrix.

    Parameters
    ----------
    levels
        (h, w) uint8, below `count`.
    mask
        (h, w) bool.

    Returns
    -------
    numpy.ndarray
        (count, count), symmetric: each pair counts from both of its ends.
    """
    # outside is a level of its own; whatever pairs with it is then dropped
    marked = np.where(mask, levels + 1, 0).astype(np.uint8)
    found = graycomatrix(marked, [1], _ANGLES, levels=count + 1, symmetric=True)
    return np.asarray(found[1:, 1:].sum(axis=(2, 3)), np.uint32)


def ring_width(pixels: int) -> int:
    """Return the width of the ring around a node of so many pixels: a quarter of its diameter."""
    return max(3, round(0.5 * math.sqrt(pixels / math.pi)))


def against_ring(
    grey: NDArray[np.uint8], node: NDArray[np.bool_], nodes: NDArray[np.bool_]
) -> float | None:
    """Mean grey of a node less that of a ring around it, -1 to 1; below 0: darker than around.

    Parameters
    ----------
    grey
        (h, w) uint8, the node and more than the ring's width beside it, or up to the frame's end.
    node
        (h, w) bool.
    nodes
        (h, w) bool, all nodes of the image: a neighbour is no surroundings.
    """
    away = ndimage.distance_transform_edt(~node)
    width = ring_width(int(node.sum()))
    ring = (away > RING_GAP) & (away <= RING_GAP + width) & ~nodes
    if not ring.any():
        return None
    return float(grey[node].mean() - grey[ring].mean()) / 255.0
