"""Measure a bundle on images of a dataset, by the very path that the daemon takes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.errors import TrainingError
from model.nodes import PredictedNode
from model.preprocess import Box, prepare
from model.runtime import Predictor
from model.training import metrics, true_mask
from model.training.config import Regions
from model.training.data import PICTURES, Progress, Readers, choose_region, with_regions
from model.training.index import Row
from model.training.results import ImageResult, arrays, combine, patients
from model.training.summary import report

__all__ = [
    "ImageResult",
    "Look",
    "Looker",
    "arrays",
    "as_seen",
    "declared_or_found",
    "draw",
    "evaluate",
    "look_at_picture",
    "patients",
    "report",
]

_EIGHT = np.ones((3, 3), np.bool_)


@dataclass(frozen=True)
class Look:
    """What the model saw on one frame."""

    nodes: Sequence[PredictedNode]
    boxes: Sequence[Box | None]  # the crops it was given; None: the whole frame
    spacing: tuple[float, float] | None = None  # mm between rows, between columns
    refused: str | None = None  # why the frame was not read; None: it was


Looker = Callable[[Predictor, Row, NDArray[np.uint8]], Look]


def evaluate(
    predictor: Predictor,
    rows: Sequence[Row],
    readers: Readers = PICTURES,
    progress: Progress | None = None,
    look: Looker | None = None,
) -> list[ImageResult]:
    """Read every image of the rows.

    Parameters
    ----------
    look
        How a frame is shown to the model; None: in its declared region, else in the one found in
        its pixels.

    Raises
    ------
    TrainingError
        A file cannot be read, or a mask is not of its image's size.
    """
    if look is None:
        look, rows = look_at_picture, with_regions(rows, readers)
    results = []
    for number, row in enumerate(rows):
        results.append(_read(predictor, row, readers, look))
        if progress and (number + 1) % 50 == 0:
            progress(number + 1, len(rows))
    return results


def declared_or_found(row: Row, frame: NDArray[np.uint8]) -> Box | None:
    """Return the crop that the daemon would take."""
    return choose_region(row, frame, Regions(), np.random.default_rng(0))


def look_at_picture(predictor: Predictor, row: Row, frame: NDArray[np.uint8]) -> Look:
    """Show one crop of a frame (H, W, 3) to the model."""
    box = declared_or_found(row, frame)
    try:
        prepared = prepare(frame, box, predictor.bundle.card.input)
    except ValueError as error:
        raise TrainingError(f"index.csv:{row.line}: {error}: correct the tissue box") from error
    return Look(predictor.predict([prepared])[0], [box])


def _read(predictor: Predictor, row: Row, readers: Readers, look: Looker) -> ImageResult:
    """Run the model on one image and compare in source pixels."""
    frame = readers.image(row.image, row.frame)
    started = time.perf_counter()
    seen = look(predictor, row, frame)
    seconds = time.perf_counter() - started
    result = as_seen(row, seen, predictor.bundle.card.aggregation, seconds)
    true = readers.mask_of(row)
    if true is None:
        return result
    if true.shape != frame.shape[:2]:
        raise TrainingError(
            f"index.csv:{row.line}: mask and image differ in size: take the mask of this image"
        )
    return _compared(result, predictor, seen, frame, true)


def as_seen(
    of: Row | ImageResult, seen: Look, aggregation: str, seconds: float = 0.0
) -> ImageResult:
    """Return what the model saw on an image, or on what was made of it, without its mask."""
    return ImageResult(
        patient=of.patient,
        label=of.label,
        score=combine([node.score for node in seen.nodes], aggregation),
        dice=None,
        iou=None,
        true_nodes=None,
        found_nodes=len(seen.nodes),
        seconds=seconds,
        spacing=seen.spacing,
        refused=seen.refused,
    )


def _compared(
    result: ImageResult,
    predictor: Predictor,
    seen: Look,
    frame: NDArray[np.uint8],
    true: NDArray[np.bool_],
) -> ImageResult:
    """Add what the true mask (H, W) tells."""
    found = draw(seen.nodes, (frame.shape[0], frame.shape[1]))
    with_true = [s for box in seen.boxes for s in true_mask.scores(predictor, frame, box, true)]
    return replace(
        result,
        dice=metrics.dice(found, true),
        iou=metrics.iou(found, true),
        true_nodes=int(ndimage.label(true, _EIGHT)[1]),
        distance=metrics.hausdorff95(found, true, seen.spacing or (1.0, 1.0))
        if found.any() and true.any()
        else None,
        calibrated=seen.spacing is not None,
        true_mask_score=combine(with_true, predictor.bundle.card.aggregation),
        true_mask_nodes=len(with_true),
    )


def draw(nodes: Sequence[PredictedNode], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Unite the nodes' masks in a frame of `shape` (H, W)."""
    mask = np.zeros(shape, np.bool_)
    for node in nodes:
        height, width = node.mask.shape
        mask[node.row : node.row + height, node.column : node.column + width] |= node.mask
    return mask
