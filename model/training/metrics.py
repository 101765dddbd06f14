"""Numbers that say how good a model is; numpy only, so that they can be checked by hand."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

from model.bundle_file import OperatingPoint

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


def auroc_ci95(
    scores: Floats, labels: NDArray[np.int8], seed: int = 0, draws: int = 1000
) -> tuple[float, float]:
    """Percentile interval of a bootstrap that is stratified by label; one row per patient."""
    rng = np.random.default_rng(seed)
    groups = [scores[labels == value] for value in (0, 1)]
    truth = np.repeat(np.array([0, 1], np.int8), [len(g) for g in groups])
    values = [
        auroc(np.concatenate([rng.choice(g, len(g)) for g in groups]), truth)
        for _ in range(draws if all(len(g) for g in groups) else 0)
    ]
    if not values:
        return (math.nan, math.nan)
    low, high = np.percentile(values, [2.5, 97.5])
    return (float(low), float(high))


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


def operating_points(scores: Floats, labels: NDArray[np.int8]) -> tuple[OperatingPoint, ...]:
    """Choose the named thresholds on validation patients; `max_accuracy`, the paper's, first.

    Ties go to the higher specificity, which is the higher threshold.
    """
    cut = _Cuts(scores, labels)
    accuracy = (cut.true_positive + cut.true_negative) / len(labels)
    wanted = {
        "max_accuracy": accuracy,
        "youden": cut.sensitivity + cut.specificity,
        # the most sensitive threshold of enough specificity, and the other way round
        "specificity>=0.95": np.where(cut.specificity >= 0.95, cut.sensitivity, -1.0),
        "sensitivity>=0.90": np.where(cut.sensitivity >= 0.90, cut.specificity, -1.0),
    }
    return tuple(cut.point(name, cut.last_best(values)) for name, values in wanted.items())


class _Cuts:
    """Counts at every threshold that separates two scores, in rising order."""

    def __init__(self, scores: Floats, labels: NDArray[np.int8]) -> None:
        distinct = np.unique(scores)
        middles = (distinct[:-1] + distinct[1:]) / 2
        self.thresholds = np.concatenate([[0.0], middles, [1.0]])
        self.positives = int((labels == 1).sum())
        self.negatives = len(labels) - self.positives
        above = scores[None] >= self.thresholds[:, None]
        self.true_positive = (above & (labels == 1)).sum(1)
        self.true_negative = (~above & (labels == 0)).sum(1)
        self.sensitivity = self.true_positive / max(self.positives, 1)
        self.specificity = self.true_negative / max(self.negatives, 1)

    def last_best(self, values: Floats) -> int:
        return int(np.flatnonzero(values >= values.max() - 1e-12)[-1])

    def point(self, name: str, index: int) -> OperatingPoint:
        hits, quiet = int(self.true_positive[index]), int(self.true_negative[index])
        total = self.positives + self.negatives
        return OperatingPoint(
            name=name,
            threshold=round(float(self.thresholds[index]), 6),
            sensitivity=round(float(self.sensitivity[index]), 4) if self.positives else None,
            specificity=round(float(self.specificity[index]), 4) if self.negatives else None,
            sensitivity_ci95=_rounded(wilson(hits, self.positives)),
            specificity_ci95=_rounded(wilson(quiet, self.negatives)),
            prevalence=round(self.positives / total, 4) if total else None,
        )


def _rounded(pair: tuple[float, float] | None) -> tuple[float, float] | None:
    return (round(pair[0], 4), round(pair[1], 4)) if pair else None


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
