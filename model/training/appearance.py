"""Texture, shape and edge of a node as numbers that have a name.

They are what a reader can weigh beside a score: none of them is given to the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops

from model import measure as size
from model.errors import TrainingError
from model.tissue import grey_without_overlay
from model.training import appearance_edge as edge
from model.training import appearance_texture as texture

MIN_PIXELS = 20  # a smaller mask has neither texture nor shape
_EIGHT = np.ones((3, 3), np.bool_)
_BESIDE = 12  # pixels kept around ring and node, so that no filter sees the patch's own border


@dataclass(frozen=True)
class Feature:
    """What a number is."""

    name: str  # key of `measure` and of `metrics.json`
    group: str  # texture, shape or edge
    words: str  # with its range or unit, as the report says it


FEATURES = (
    Feature("glcm_contrast", "texture", "GLCM contrast, squared levels of 16"),
    Feature("glcm_correlation", "texture", "GLCM correlation, -1 to 1"),
    Feature("glcm_energy", "texture", "GLCM energy, 0 to 1"),
    Feature("glcm_homogeneity", "texture", "GLCM homogeneity, 0 to 1"),
    Feature("glcm_entropy", "texture", "GLCM entropy, nats"),
    Feature("grey_against_ring", "texture", "Mean grey less that of a ring around, -1 to 1"),
    Feature("axis_ratio", "shape", "Short axis by long axis, 0 to 1"),
    Feature("solidity", "shape", "Solidity: share of the convex hull, 0 to 1"),
    Feature("circularity", "shape", "Circularity, 0 to 1"),
    Feature("extent", "shape", "Extent: share of the upright box, 0 to 1"),
    Feature("area_mm2", "shape", "Area, mm2"),
    Feature("edge_gradient", "edge", "Grey gained outwards across the outline, a pixel"),
    Feature("roughness", "edge", "Roughness of the outline, share of the radius"),
    Feature("margin_sharpness", "edge", "Sharpness of the margin: grey step, 0 to 1"),
)


def measure(
    frame: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    spacing: tuple[float, float] | None = None,
) -> dict[str, float] | None:
    """Measure one node; of several components of the mask the largest.

    Parameters
    ----------
    frame
        (H, W, 3) uint8 RGB; crop it and the mask to the tissue, or the ring sees text and black.
    mask
        (H, W) bool. Holes are filled, as in the nodes that the service finds.
    spacing
        Between rows and between columns, in mm; None: pixels count as square.

    Returns
    -------
    dict or None
        Finite values by the names of `FEATURES`. What cannot be told is left out: `area_mm2`
        without spacing, `glcm_correlation` of even grey, `grey_against_ring` without room around
        the node, `edge_gradient` and `margin_sharpness` where all of the outline lies along the
        frame's border, `roughness` of an outline too short for it. None for fewer than
        `MIN_PIXELS` pixels.

    Raises
    ------
    TrainingError
        Frame and mask differ in size.
    """
    nodes = of_image(frame, mask, spacing)
    return nodes[0] if nodes else None


def of_image(
    frame: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    spacing: tuple[float, float] | None = None,
) -> list[dict[str, float]]:
    """Measure every node of an image as `measure` does, largest first; the small ones are left out.

    Raises
    ------
    TrainingError
        Frame and mask differ in size.
    """
    if mask.shape != frame.shape[:2]:
        raise TrainingError("mask and image differ in size: take the mask of this image")
    labels, count = ndimage.label(mask, structure=_EIGHT)
    pixels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    chosen = [n for n in np.argsort(-pixels, kind="stable") + 1 if pixels[n - 1] >= MIN_PIXELS]
    if not chosen:
        return []
    grey = grey_without_overlay(np.ascontiguousarray(frame))
    return [_node(grey, labels == n, mask, spacing) for n in chosen]


def _node(
    grey: NDArray[np.uint8],
    node: NDArray[np.bool_],
    nodes: NDArray[np.bool_],
    spacing: tuple[float, float] | None,
) -> dict[str, float]:
    """Measure one component (H, W) of all the `nodes` (H, W)."""
    place = _around(node, _BESIDE + texture.RING_GAP + texture.ring_width(int(node.sum())))
    grey, node, nodes = grey[place], ndimage.binary_fill_holes(node[place]), nodes[place]
    shape = size.measure(node, 0, 0, grey, spacing)
    outline = size.outline_of(node)
    gained = edge.gradient(grey, node, outline)
    told: Mapping[str, float | None] = {
        **texture.co_occurring(grey, node),
        "grey_against_ring": texture.against_ring(grey, node, nodes),
        "axis_ratio": shape.short_axis / shape.long_axis,
        **_filling(node),
        "circularity": shape.circularity,
        "area_mm2": shape.area if spacing else None,
        "edge_gradient": gained,
        "roughness": edge.roughness(node, outline),
        "margin_sharpness": None if gained is None else shape.margin_sharpness,
    }
    return {f.name: float(value) for f in FEATURES if (value := told[f.name]) is not None}


def _around(node: NDArray[np.bool_], beside: int) -> tuple[slice, slice]:
    """Return the place of a node and what lies beside it, within the frame."""
    rows, columns = ndimage.find_objects(node.astype(np.int8))[0]
    return (
        slice(max(rows.start - beside, 0), rows.stop + beside),
        slice(max(columns.start - beside, 0), columns.stop + beside),
    )


def _filling(node: NDArray[np.bool_]) -> dict[str, float]:
    """Tell how much of its convex hull and of its upright box a node (h, w) fills."""
    region = regionprops(node.astype(np.uint8))[0]
    return {"solidity": float(region.solidity), "extent": float(region.extent)}
