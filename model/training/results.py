"""What an evaluation found, image by image and patient by patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from model.training.metrics import Floats


@dataclass(frozen=True)
class ImageResult:
    """One image read by the model, beside its truth."""

    patient: str
    label: int | None
    score: float | None  # of its nodes by the bundle's aggregation; None: no node segmented
    dice: float | None  # in source pixels; None: not annotated
    iou: float | None
    true_nodes: int | None  # connected components of the true mask
    found_nodes: int
    seconds: float  # prepare and predict
    distance: float | None = None  # 95 % Hausdorff; None: not annotated, or a mask is empty
    calibrated: bool = False  # True: `distance` in mm, else in source pixels
    spacing: tuple[float, float] | None = None  # mm between rows, between columns
    refused: str | None = None  # why the node would not read this image; None: it was read
    true_mask_score: float | None = None  # as `score`, with the true mask in place of the found
    true_mask_nodes: int = 0  # nodes of the true mask that were scored


@dataclass(frozen=True)
class PatientResult:
    """One labelled patient: the scores of its images put together."""

    label: int
    score: float  # 0 where no node was segmented
    segmented: bool


def combine(scores: Sequence[float], aggregation: str) -> float | None:
    """Put the scores of an image's nodes together by `max` or `mean`; None without a node."""
    if not scores:
        return None
    return max(scores) if aggregation == "max" else fmean(scores)


def patients(results: Sequence[ImageResult], aggregation: str = "max") -> list[PatientResult]:
    """Gather labelled patients, in order of their names; `max` or `mean` over their nodes."""
    return [
        _gather(images, [(r.score, r.found_nodes) for r in images], aggregation)
        for images in _by_patient(results)
    ]


def patients_by_true_mask(
    results: Sequence[ImageResult], aggregation: str = "max"
) -> list[PatientResult]:
    """Gather the labelled patients all of whose labelled images have a mask, scored by it."""
    return [
        _gather(images, [(r.true_mask_score, r.true_mask_nodes) for r in images], aggregation)
        for images in _by_patient(results)
        if all(r.true_nodes is not None for r in images)
    ]


def _by_patient(results: Sequence[ImageResult]) -> list[list[ImageResult]]:
    """Group the labelled images."""
    grouped: dict[str, list[ImageResult]] = {}
    for result in results:
        if result.label is not None:
            grouped.setdefault(result.patient, []).append(result)
    return [grouped[name] for name in sorted(grouped)]


def _gather(
    images: Sequence[ImageResult], scored: Sequence[tuple[float | None, int]], aggregation: str
) -> PatientResult:
    """Make one patient of its images; `scored` is a score and its number of nodes for each."""
    seen = [(score, count) for score, count in scored if score is not None]
    label = max(r.label or 0 for r in images)
    if not seen:
        return PatientResult(label, 0.0, False)
    if aggregation == "max":
        return PatientResult(label, max(score for score, _ in seen), True)
    # the mean over all nodes, not over the images' means
    total = sum(count for _, count in seen)
    return PatientResult(label, sum(score * count for score, count in seen) / total, True)


def arrays(everyone: Sequence[PatientResult]) -> tuple[Floats, NDArray[np.int8]]:
    """Scores and labels of patients as arrays."""
    scores = np.array([p.score for p in everyone], float)
    return scores, np.array([p.label for p in everyone], np.int8)
