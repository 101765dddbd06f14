"""Numbers that say how good a model is, small enough to be checked by hand."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def dice(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = int(predicted.sum()) + int(true.sum())
    return 2.0 * int((predicted & true).sum()) / total if total else 1.0


def iou(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = int((predicted | true).sum())
    return int((predicted & true).sum()) / union if union else 1.0


def auroc(scores: Floats, labels: NDArray[np.int8]) -> float:
    """Area under the ROC curve (Mann-Whitney, ties count half); nan without both classes."""
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return math.nan
    ranks = rankdata(scores)[labels == 1].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(scores: Floats, labels: NDArray[np.int8]) -> float:
    """Area under the precision-recall curve by steps, without interpolation; nan without both.

    Chance is the prevalence, not one half.
    """
    positives = int((labels == 1).sum())
    if not positives or positives == len(labels):
        return math.nan
    recall, precision = precision_recall(scores, labels)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def precision_recall(scores: Floats, labels: NDArray[np.int8]) -> tuple[Floats, Floats]:
    """Recall and precision at every distinct score, from the highest on; needs a positive."""
    true, false = _passed(scores, labels)
    return true / true[-1], true / (true + false)


def roc(scores: Floats, labels: NDArray[np.int8]) -> tuple[Floats, Floats]:
    """Return false and true positive rates at every distinct score, from (0, 0) to (1, 1)."""
    true, false = _passed(scores, labels)
    return np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1])


def _passed(scores: Floats, labels: NDArray[np.int8]) -> tuple[Floats, Floats]:
    """Count the positives and negatives at or above every distinct score, highest first."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # ties pass together
    true = np.cumsum(labels[order] == 1)[last]
    return true.astype(float), (np.flatnonzero(last) + 1 - true).astype(float)


def hausdorff95(
    one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: tuple[float, float] = (1.0, 1.0)
) -> float:
    """95 % Hausdorff distance of two masks' borders: the greater of both directions.

    Parameters
    ----------
    one, other
        (H, W) bool, neither empty.
    spacing
        Between rows and between columns, in mm; left out: the answer is in pixels.
    """
    place = ndimage.find_objects((one | other).astype(np.int8))[0]
    borders = [mask[place] & ~ndimage.binary_erosion(mask[place]) for mask in (one, other)]
    away = [ndimage.distance_transform_edt(~border, sampling=spacing) for border in borders]
    return max(
        float(np.percentile(away[1][borders[0]], 95)), float(np.percentile(away[0][borders[1]], 95))
    )


def wilson(hits: int, total: int) -> tuple[float, float] | None:
    """95 % Wilson interval of a proportion; None without a case."""
    if not total:
        return None
    z, p = 1.959964, hits / total
    centre = p + z * z / (2 * total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return (max((centre - half) / scale, 0.0), min((centre + half) / scale, 1.0))


def fit_temperature(logits: Floats, labels: NDArray[np.int8]) -> float:
    """Temperature that makes sigmoid(logit / T) most likely; 1 where it cannot be told."""
    if len(set(labels.tolist())) < 2:
        return 1.0

    def surprise(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - labels * scaled))

    found = minimize_scalar(surprise, bounds=(-3.0, 3.0), method="bounded")
    return float(math.exp(found.x))


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean, median and lowest tenth of some values."""
    if not values:
        return {"n": 0}
    array = np.asarray(values, float)
    return {
        "n": len(values),
        "mean": round(float(array.mean()), 4),
        "median": round(float(np.median(array)), 4),
        "p10": round(float(np.percentile(array, 10)), 4),
    }
