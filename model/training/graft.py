"""Draws synthetic nodes into real pictures: the texture of a scanner, the outline of a drawing.

A phantom's tissue is invented; a picture of a breast or an axilla is not. Where a dataset has
pictures with room beside what its masks outline, a node can be drawn there: the cortex out of
speckle as strong as the picture's own or of tissue from elsewhere in it, the hilum out of such
tissue or of what was there, and the layers around give way. The drawing is the phantoms'
(`phantom_node`), in millimetres.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.training.phantom_features import PRESETS, draw
from model.training.phantom_node import Node, draw_node, inner, moved, plainer
from model.training.phantom_records import Features, Field, Mask
from model.training.phantom_shapes import inside
from model.training.phantom_texture import lookup
from model.training.phantom_visible import TRIES, detectability

_PROBE_MM = (34.0, 50.0)  # width of what linear probes show
_RANGE_DB = (56.0, 90.0)  # between black and white
_LEAST_GREY = 0.12  # darker places are shadows: nobody would see a node there
_NODES, _PLACES = 4, 12  # nodes, and places of each, that are tried to find room
_PLAIN = 0.1  # share of nodes whose cortex is plain speckle
_GROWN = 0.6  # share of nodes whose fat is the tissue that was there, with a cortex round it
_FATTY = 0.75  # share of nodes with a hilum that it has all but replaced by fat
_WHITE = 0.85  # grey of letters and calipers, and more
_MARK = 0.35  # of the grey range, above the mean of its surroundings
_LEAST_MM = 3.0  # detectability; real nodes are fainter than what a phantom's network needs


@dataclass(frozen=True)
class Grafted:
    """One picture with nodes drawn into it."""

    grey: NDArray[np.uint8]  # (H, W)
    nodes: tuple[Mask, ...]  # (H, W) bool each; empty: no room was found


@dataclass(frozen=True)
class _Picture:
    """A picture of tissue while nodes are drawn into it; lengths in mm."""

    grey: Field  # (H, W) 0..1
    x: Field  # (1, W), 0 in the middle
    z: Field  # (H, 1), 0 at the top
    mm: float  # per pixel
    per_db: float  # grey


def features_of(
    seed: int, patient: int, preset: str, known: int | None = None
) -> tuple[int, Features]:
    """Return label (0 or 1) and features of the nodes of a patient; a known label is kept."""
    for attempt in count(1):
        label, features = draw(PRESETS[preset], np.random.default_rng((seed, patient, attempt)))
        if known in (None, label):
            return label, features
    raise AssertionError("count() does not end")


def graft(
    grey: NDArray[np.uint8], taken: Mask, features: Features, rng: np.random.Generator
) -> Grafted:
    """Draw one or two nodes into a picture of tissue.

    Parameters
    ----------
    grey
        (H, W) the picture, tissue from edge to edge.
    taken
        (H, W) bool, where no node may come to lie.
    features
        Of the nodes.
    rng
        Draws scale, place and looks.
    """
    height, width = grey.shape
    mm = float(rng.uniform(*_PROBE_MM)) / width
    picture = _Picture(
        grey.astype(np.float32) / np.float32(255),
        (np.arange(width, dtype=np.float32)[None, :] - width / 2) * np.float32(mm),
        np.arange(height, dtype=np.float32)[:, None] * np.float32(mm),
        mm,
        1 / float(rng.uniform(*_RANGE_DB)),
    )
    nodes: list[Mask] = []
    taken = taken.copy()
    for _ in range(1 + int(rng.random() < 0.25)):
        node = _find_room(picture, taken, features, rng)
        if node is None:
            break
        before = picture.grey[taken]
        _draw(picture, node, rng)
        picture.grey[taken] = before  # what lies there stays as its mask has it
        mask = node.outline.radius(picture.x, picture.z)[0] < 1
        nodes.append(mask)
        taken |= ndimage.binary_dilation(mask, iterations=max(round(1.5 / mm), 1))
    out = np.rint(np.clip(picture.grey, 0, 1) * 255).astype(np.uint8)
    return Grafted(out, tuple(nodes))


def _find_room(
    picture: _Picture, taken: Mask, features: Features, rng: np.random.Generator
) -> Node | None:
    height, width = picture.grey.shape
    extent = width * picture.mm, height * picture.mm
    smooth = ndimage.uniform_filter(picture.grey, max(round(3 / picture.mm), 3))
    for place in range(_NODES * _PLACES):
        if place % _PLACES == 0:
            drawn = draw_node(features, (0.8 * extent[0], 0.45 * extent[1]), rng, _FATTY)
        half_x, half_z = drawn.outline.reach
        free = extent[0] / 2 - half_x - 0.5
        top, bottom = 2.0 + half_z, 0.85 * extent[1] - 0.7 * half_z
        if free <= 0 or bottom <= top:
            continue
        node = moved(drawn, rng.uniform(-free, free), rng.uniform(top, bottom))
        near = node.outline.radius(picture.x, picture.z)[0] < 1.15
        if not near.any() or (near & taken).any() or smooth[near].mean() < _LEAST_GREY:
            continue
        return node
    return None


def _draw(picture: _Picture, node: Node, rng: np.random.Generator) -> None:
    """Draw a node over the tissue, in place, as plainly as it takes to be seen."""
    grey, mm = picture.grey, picture.mm
    x, z = np.broadcast_arrays(picture.x, picture.z)
    rho, u, v = node.outline.radius(picture.x, picture.z)
    distance = node.outline.distance(rho, u, v)
    ring = (rho > 1.05) & (rho < 1.6)
    around = np.float32(0.5 * np.median(grey[ring])) if ring.any() else np.float32(0.1)
    level = around + np.float32(0.5) * _smooth(grey, 4 / mm)
    outside = _given_way(picture, node, rho, float(rng.uniform(0, 0.7)))
    below = (picture.z > node.outline.z) & (rho > 1) & (np.abs(u) < node.outline.a)
    fade = np.exp(-np.maximum(distance, 0) / np.float32(6))
    thick = np.float32(2 * node.outline.b * node.enhancement_db * picture.per_db)
    outside += ndimage.gaussian_filter((below * fade * thick).astype(np.float32), 0.6 / mm)
    cortex, hilum, own = _stuff(picture, rng, unclear=node.features.unclear)
    weight = inside(distance, node.margin_mm)
    for tried in range(TRIES + 1):
        echo, mirror, fat = inner(node, x, z, u, v)
        filled = np.maximum(level + np.float32(picture.per_db) * (echo + 4 * mirror), 0.3 * level)
        grown = outside + np.float32(picture.per_db * node.hilum_db)
        filled += cortex + fat * (hilum - cortex + np.float32(own) * (grown - hilum - filled))
        grey[:] = outside + weight * (filled - outside)
        if tried == TRIES or detectability(grey, x, z, node) >= _LEAST_MM:
            break
        node = plainer(node)  # its outline stays
    rim = np.exp(-((distance / np.float32(0.16)) ** 2)) * node.outline.steepness(u, v) ** 3
    gap = np.clip(lookup("cloud", u, v, node.origin, stretch=(0.7, 0.7)) + 0.5, 0, 1.5)
    grey += np.float32(rng.uniform(0, 0.25) * node.capsule) * rim * gap


def _stuff(
    picture: _Picture, rng: np.random.Generator, *, unclear: bool
) -> tuple[Field, Field, float]:
    """Return the texture of the cortex, that of the hilum, and how much of the fat stays itself.

    Both are tissue from elsewhere in the picture, but for some cortices of plain speckle: what is
    drawn out of other grains than the scanner's is found by those and not by what it is.
    """
    grey, mm = picture.grey, picture.mm
    fine = _without_marks(grey, grey - _smooth(grey, 1.5 / mm))
    cortex, hilum = _elsewhere(fine, rng), _elsewhere(fine, rng)
    cortex *= np.float32(rng.uniform(0.4, 0.9))
    if rng.random() < _PLAIN:
        cortex = _speckle(grey, mm, rng)
    own = float(rng.uniform(0.4, 1.0)) if rng.random() < _GROWN and not unclear else 0.0
    return cortex, hilum * np.float32(rng.uniform(0.4, 1.1)), own


def _without_marks(grey: Field, fine: Field) -> Field:
    """Blank letters and calipers in a texture: they are no tissue, and would teach that they are.

    They are white, and stand out from what is around more than speckle and fascia do.
    """
    marks = ndimage.binary_dilation((grey > _WHITE) & (fine > _MARK), iterations=3)
    return np.where(marks, np.float32(0), fine)


def _speckle(grey: Field, mm: float, rng: np.random.Generator) -> Field:
    """Return log-compressed speckle as strong as that of a picture, with mean 0."""
    grain = rng.uniform(0.07, 0.14) / mm, rng.uniform(0.12, 0.28) / mm  # axial, lateral
    in_phase, quadrature = (
        ndimage.gaussian_filter(rng.standard_normal(grey.shape, np.float32), grain) for _ in "iq"
    )
    level = np.log(np.hypot(in_phase, quadrature) + np.float32(1e-3))
    level -= ndimage.uniform_filter(level, max(round(2 / mm), 3))
    fine = grey - ndimage.gaussian_filter(grey, 0.4 / mm)
    strength = np.median(np.abs(fine)) / np.median(np.abs(level))  # strands stick out of speckle
    speckle: Field = level * np.float32(strength * rng.uniform(0.35, 0.8))
    return np.clip(speckle, -0.12, 0.12)


def _smooth(grey: Field, sigma: float) -> Field:
    """Blur by about a Gaussian of `sigma` pixels: two boxes, which cost the same at any width."""
    width = round(np.sqrt(6) * sigma) | 1  # odd, or the picture would shift
    smooth: Field = ndimage.uniform_filter(ndimage.uniform_filter(grey, width), width)
    return smooth


def _elsewhere(texture: Field, rng: np.random.Generator) -> Field:
    """Return a texture from another place of the picture, mirrored at its edges."""
    rows, columns = (_there(size, int(rng.integers(2 * size))) for size in texture.shape)
    return texture[np.ix_(rows, columns)]


def _there(size: int, away: int) -> NDArray[np.intp]:
    """Places 0 to size - 1, gone there and back from `away`."""
    turn = (np.arange(size) + away) % (2 * size)
    return np.minimum(turn, 2 * size - 1 - turn)


def _given_way(picture: _Picture, node: Node, rho: Field, strength: float) -> Field:
    """Bend the layers round a node, as tissue gives way to it."""
    near = np.maximum(np.float32(0.4) + np.float32(1.6) * (rho - 1), np.float32(0.3))
    pull = np.where(rho < 2, near / np.maximum(rho, np.float32(0.3)) - 1, 0)
    depth = picture.z - np.float32(node.outline.z)
    rows = (picture.z + np.float32(strength) * np.clip(pull, -0.6, 0) * depth) / picture.mm
    columns = np.broadcast_to(np.arange(rho.shape[1], dtype=np.float32), rho.shape)
    bent: Field = ndimage.map_coordinates(picture.grey, [rows, columns], order=1, mode="nearest")
    return bent
