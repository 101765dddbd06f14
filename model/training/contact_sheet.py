"""A picture of what augmentation makes of images: to be looked at before hours are spent on it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from model.errors import TrainingError
from model.training.augment import Batch, augment
from model.training.config import Augmentation, TrainConfig
from model.training.data import Readers, prepare_row, with_regions
from model.training.index import Row

_IMAGES = 8
_TITLE = 18  # pixels above the columns
_OUTLINE = (255, 220, 0)
# what turns each of the nine on, always
_ALONE: Mapping[str, Mapping[str, Any]] = {
    "flip": {"flip": 1.0},
    "rotation": {"rotation_p": 1.0},
    "translation": {"translation_p": 1.0},
    "dropout": {"dropout_p": 1.0},
    "sharpen": {"sharpen_p": 1.0},
    "average blur": {"blur_p": 1.0},
    "Gaussian noise": {"noise_p": 1.0},
    "gamma": {"gamma_p": 1.0},
    "elastic": {"elastic_p": 1.0},
}


def write_sheet(path: Path, rows: Sequence[Row], config: TrainConfig, readers: Readers) -> None:
    """Write 8 images of a dataset as they are, under each augmentation alone, and under all.

    Raises
    ------
    TrainingError
        An image cannot be read, or the file cannot be written.
    """
    chosen = with_regions(_spread(rows), readers)
    prepared = [
        prepare_row((n, row), config.input, config.regions, config.seed, readers)
        for n, row in enumerate(chosen)
    ]
    batch = _batch(prepared)
    columns = [
        _column(title, augment(batch, settings, torch.Generator().manual_seed(config.seed)))
        for title, settings in columns_of(config.augmentation).items()
    ]
    try:
        Image.fromarray(np.hstack(columns)).save(path, "PNG")
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror}") from error


def columns_of(settings: Augmentation) -> dict[str, Augmentation]:
    """Return what each column shows: magnitudes as set, each augmentation on every image."""
    off: dict[str, Any] = dict.fromkeys((name for on in _ALONE.values() for name in on), 0.0)
    still = replace(settings, scale=0.0, **off)
    alone = {title: replace(still, **on) for title, on in _ALONE.items()}
    return {"as it is": still, **alone, "all, as in training": settings}


def _spread(rows: Sequence[Row]) -> list[Row]:
    """Take images evenly from the whole dataset, annotated ones if there are any."""
    rows = [row for row in rows if row.mask is not None] or rows
    places = np.linspace(0, len(rows) - 1, min(_IMAGES, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _batch(prepared: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]]) -> Batch:
    image = torch.from_numpy(np.stack([grey for grey, _ in prepared]))[:, None].float() / 255
    mask = torch.from_numpy(np.stack([mask for _, mask in prepared]))[:, None].float()
    yes = torch.ones(len(prepared), dtype=torch.bool)
    return Batch(image, mask, torch.ones_like(mask), yes, yes.float(), yes, ~yes)


def _column(title: str, batch: Batch) -> NDArray[np.uint8]:
    """Draw the images of a batch below each other, with their masks' outlines."""
    cells = [_cell(image[0], mask[0] > 0.5) for image, mask in zip(
        batch.image.numpy(), batch.mask.numpy(), strict=True)]  # fmt: skip
    head = Image.new("RGB", (cells[0].shape[1], _TITLE))
    ImageDraw.Draw(head).text((4, 3), title, fill="white")
    return np.vstack([np.asarray(head), *cells])


def _cell(grey: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    picture = np.repeat((grey * 255).round().astype(np.uint8)[..., None], 3, axis=2)
    picture[mask & ~ndimage.binary_erosion(mask)] = _OUTLINE
    return picture
