"""The images on which the outline is worst, as pictures: the quickest way to what goes wrong."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from model.runtime import Predictor
from model.training.data import Readers
from model.training.evaluation import Looker, draw
from model.training.index import Row
from model.training.results import ImageResult

_COUNT = 8
_WIDTH = 480  # pixels; a report of many large pictures is not mailed
TRUE, FOUND = (60, 220, 90), (255, 120, 30)  # green as drawn, orange as found


def choose(results: Sequence[ImageResult]) -> list[int]:
    """Return the places of the images with the lowest Dice, worst first."""
    judged = [(r.dice, number) for number, r in enumerate(results) if r.dice is not None]
    return [number for dice, number in sorted(judged)[:_COUNT] if dice < 1]


def picture(predictor: Predictor, row: Row, readers: Readers, look: Looker) -> NDArray[np.uint8]:
    """Return the frame (H, W, 3) with the drawn outline in green and the found one in orange."""
    frame = readers.image(row.image, row.frame)
    found = draw(look(predictor, row, frame).nodes, (frame.shape[0], frame.shape[1]))
    drawn = frame.copy()
    true = readers.mask_of(row)
    if true is not None:
        drawn[outline(true)] = TRUE
    drawn[outline(found)] = FOUND
    return drawn


def save(path: Path, frame: NDArray[np.uint8]) -> None:
    """Write a picture as PNG, no wider than the report needs."""
    image = Image.fromarray(frame)
    image.thumbnail((_WIDTH, _WIDTH), Image.Resampling.LANCZOS)
    image.save(path)


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Two pixels along the inside of the border."""
    inside: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask, iterations=2)
    return inside
