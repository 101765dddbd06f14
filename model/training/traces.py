"""What must not decide the class: marks on the picture, and the place where a node was.

Training draws them into some images so that a network learns to pass them over; evaluation draws
them to see whether it has.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.training.augment import Batch
from model.training.config import Augmentation

Grey = NDArray[np.float32]  # (H, W), 0..1
Mask = NDArray[np.bool_]  # (H, W)
FILLS = ("around", "even", "elsewhere", "constant")


def disturb(batch: Batch, settings: Augmentation, rng: np.random.Generator) -> Batch:
    """Return a batch with calipers on some images and the nodes of some painted out."""
    if not settings.calipers_p and not settings.blank_p:
        return batch
    chances = rng.random((len(batch.image), 2))
    image, target = batch.image.numpy().copy(), batch.mask.numpy().copy()
    for index, (mark_draw, blank_draw) in enumerate(chances):
        mask = target[index, 0] > 0.5
        if blank_draw < settings.blank_p and batch.annotated[index] and mask.any():
            kind = str(rng.choice(FILLS))
            image[index, 0] = blanked(image[index, 0], mask, kind, rng)
            target[index] = 0
        if mark_draw < settings.calipers_p:
            image[index, 0] = marked(image[index, 0], mask, rng)
    changed = {"image": batch.image.new_tensor(image), "mask": batch.mask.new_tensor(target)}
    return Batch(**{**vars(batch), **changed})


def blanked(grey: Grey, mask: Mask, fill: str, rng: np.random.Generator) -> Grey:
    """Paint the nodes of a mask out.

    Parameters
    ----------
    grey, mask
        The picture, and what is to vanish from it.
    fill
        One of `FILLS`: what lies around, carried inwards; its mean; tissue from beside it in the
        same depth; or a constant grey.
    rng
        Draws the width of the border that vanishes too, and the rest.
    """
    hole = ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 6)))
    if rng.random() < 0.3:
        hole = _boxes(hole)
    if fill == "constant":
        patch: Grey = np.full_like(grey, rng.uniform(0, 0.6))
    elif fill == "elsewhere":
        patch = np.roll(grey, _aside(mask, hole, rng), axis=1)
    else:
        ring = ndimage.binary_dilation(hole, iterations=12) & ~hole
        mean = grey[ring].mean() if ring.any() else grey.mean()
        patch = np.full_like(grey, mean)
        if fill == "around":
            kept = ndimage.gaussian_filter(np.where(hole, 0, grey), 12) + np.float32(1e-3) * mean
            weight = ndimage.gaussian_filter((~hole).astype(np.float32), 12) + np.float32(1e-3)
            patch = kept / weight
        patch += rng.standard_normal(grey.shape, np.float32) * np.float32(rng.uniform(0, 0.05))
    return np.where(hole, np.clip(patch, 0, 1), grey).astype(np.float32)


def marked(grey: Grey, mask: Mask, rng: np.random.Generator) -> Grey:
    """Draw calipers as a sonographer does: across a node, or across any place.

    Where there is a node, seven times of ten its longest row and column are measured.
    """
    out = grey.copy()
    level = float(rng.uniform(0.7, 1.0))
    arm = max(2, round(grey.shape[1] / 320 * rng.uniform(2.5, 5)))
    dotted = rng.random() < 0.6
    for ends in _lines(grey.shape, mask, rng):
        for row, column in ends:
            _cross(out, round(float(row)), round(float(column)), arm, level)
        if dotted:
            count = max(2, int(np.hypot(*(ends[1] - ends[0])) / 4))
            for row, column in np.linspace(ends[0], ends[1], count):
                _dot(out, round(float(row)), round(float(column)), level)
    return out


def _lines(
    shape: tuple[int, ...], mask: Mask, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Draw the ends (2, 2) of one or two measured lines: row, column."""
    if mask.any() and rng.random() < 0.7:
        labels, count = ndimage.label(mask)
        rows, columns = np.nonzero(labels == rng.integers(1, count + 1))
        across = [(rows[i], columns[i]) for i in (columns.argmin(), columns.argmax())]
        down = [(rows[i], columns[i]) for i in (rows.argmin(), rows.argmax())]
        return [np.array(across, float), np.array(down, float)]
    centre = rng.uniform(0.2, 0.8, 2) * shape
    half = rng.uniform(0.04, 0.2, 2) * shape
    across = [(centre[0], centre[1] - half[1]), (centre[0], centre[1] + half[1])]
    down = [(centre[0] - half[0], centre[1]), (centre[0] + half[0], centre[1])]
    return [np.array(line, float) for line in (across, down)[: int(rng.integers(1, 3))]]


def _cross(grey: Grey, row: int, column: int, arm: int, level: float) -> None:
    height, width = grey.shape
    if 0 <= row < height and 0 <= column < width:
        grey[row, max(column - arm, 0) : column + arm + 1] = level
        grey[max(row - arm, 0) : row + arm + 1, column] = level


def _dot(grey: Grey, row: int, column: int, level: float) -> None:
    if 0 <= row < grey.shape[0] and 0 <= column < grey.shape[1]:
        grey[row, column] = level


def _aside(mask: Mask, hole: Mask, rng: np.random.Generator) -> int:
    """Draw how far tissue moves along its row so that no node comes to lie in the hole.

    Where a node is too wide for that, the shift that brings least of it there is taken.
    """
    shifts = rng.permutation(np.arange(1, mask.shape[1]))[:24]
    left = [int((np.roll(mask, shift, axis=1) & hole).sum()) for shift in shifts]
    return int(shifts[int(np.argmin(left))])


def _boxes(mask: Mask) -> Mask:
    """Return the boxes round the parts of a mask."""
    out = np.zeros_like(mask)
    for part in ndimage.find_objects(ndimage.label(mask)[0]):
        out[part] = True
    return out
