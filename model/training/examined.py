"""Every file of a dataset read once: what its checks and its split need to know of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from model.errors import TrainingError
from model.preprocess import Box, prepare_grey
from model.training import duplicates
from model.training.config import Regions
from model.training.data import Progress, Readers, choose_region, spread
from model.training.index import Row


@dataclass(frozen=True)
class Examined:
    """What reading one row's files gave."""

    thumbnail: NDArray[np.float32]  # (24, 32); zeros where the image cannot be read
    problem: tuple[str, str] | None = None  # check and words, of an error
    region: Box | None = None  # declared by index or file
    empty: bool = False  # annotated, without a node
    outside: float = 0.0  # share of the mask outside of the tissue region


def examine(
    rows: Sequence[Row], readers: Readers, workers: int = 0, progress: Progress | None = None
) -> tuple[list[Row], list[Examined]]:
    """Read every file once; returns the rows with their declared regions, and what was seen."""
    seen = list(spread(partial(_examine, readers=readers), rows, workers, progress))
    return [replace(row, region=e.region) for row, e in zip(rows, seen, strict=True)], seen


def _examine(row: Row, readers: Readers) -> Examined:
    """Read the files of one row; what is wrong with them comes back as words."""
    nothing = np.zeros(duplicates.SHAPE, np.float32)
    for path in (row.image, row.mask):
        if path is not None and not path.is_file():
            return Examined(
                nothing,
                ("missing_file", f"{path.parent.name}/{path.name} is missing: add the file"),
            )
    try:
        region = readers.region_of(row)
        row = replace(row, region=region)
        frame = readers.image(row.image, row.frame)
        box = choose_region(row, frame, Regions(), np.random.default_rng(0))
        grey, placement = prepare_grey(frame, box)
        mask = readers.mask_of(row)
    except TrainingError as error:
        return Examined(nothing, ("unreadable_file", str(error)))
    except ValueError:
        problem = "the tissue box lies outside of the image: correct tissue_x0 to tissue_y1"
        return Examined(nothing, ("tissue_box", problem))
    small = duplicates.thumbnail(grey)
    if mask is None:
        return Examined(small, region=region)
    if mask.shape != frame.shape[:2]:
        return Examined(small, ("mask_size", _sizes(mask, frame)))
    return Examined(small, None, region, not mask.any(), _outside(mask, placement.source))


def _sizes(mask: NDArray[np.bool_], frame: NDArray[np.uint8]) -> str:
    sizes = " and ".join(f"{a.shape[1]} x {a.shape[0]}" for a in (mask, frame))
    return f"mask and image differ in size ({sizes} pixels): draw the mask on this image"


def _outside(mask: NDArray[np.bool_], box: Box) -> float:
    """Share of the mask outside of a box."""
    x0, y0, x1, y1 = box
    total = int(mask.sum())
    return 1 - int(mask[y0:y1, x0:x1].sum()) / total if total else 0.0
