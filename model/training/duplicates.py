"""Near-duplicate images: the same picture under two labels, or on both sides of a split.

A thumbnail keeps what two copies share (the scene) and loses what differs between them (scaling,
JPEG, calipers); two thumbnails are compared by their correlation, mirrored copies included.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

THRESHOLD = 0.80  # correlation from which two pictures count as one; docs/datasets.md says why
SHAPE = (24, 32)  # height, width of a thumbnail
_COARSE = 4.0  # thumbnail pixels: what is broader is the same in every ultrasound image
_BLOCK = 1024  # images compared at once: 1,024 x 50,000 correlations take 200 MB


@dataclass(frozen=True)
class Pair:
    """Two images that show the same."""

    first: int  # index of an image
    second: int  # index of another, greater
    correlation: float  # THRESHOLD to 1, of the pictures or of one and the other mirrored


def thumbnail(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Shrink a tissue crop (H, W) to (24, 32), of mean 0 and length 1.

    Brightness that fades with depth is common to all images and taken off. A crop without any
    structure gives zeros, which correlate with nothing.
    """
    small = Image.fromarray(grey).resize(SHAPE[::-1], Image.Resampling.BOX)
    values = np.asarray(small, np.float32)
    values = values - ndimage.gaussian_filter(values, _COARSE, mode="nearest")
    values -= values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length > 1.0 else np.zeros_like(values)


def pairs(
    thumbnails: NDArray[np.float32], groups: Sequence[NDArray[np.int64]], threshold: float
) -> Iterator[Pair]:
    """Yield the pairs of likeness that differ in one of the groups.

    Parameters
    ----------
    thumbnails
        (N, 24, 32), from `thumbnail`.
    groups
        Each (N,): label, part of the split; a pair counts if any tells its images apart, where
        both are known (>= 0).
    threshold
        Least correlation.
    """
    flat = thumbnails.reshape(len(thumbnails), -1)
    mirrored = thumbnails[:, :, ::-1].reshape(len(thumbnails), -1)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        best = np.maximum(block @ flat.T, block @ mirrored.T)
        for row, second in np.argwhere(best >= threshold):
            first = start + int(row)
            if first < second and _apart(groups, first, int(second)):
                yield Pair(first, int(second), float(best[row, second]))


def _apart(groups: Sequence[NDArray[np.int64]], first: int, second: int) -> bool:
    return any(
        group[first] >= 0 and group[second] >= 0 and group[first] != group[second]
        for group in groups
    )
