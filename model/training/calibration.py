"""Whether a score means what it says: calibration and net benefit; one row per patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from model.training.intervals import Z95, Interval
from model.training.metrics import Floats, wilson

Labels = NDArray[np.int8]  # 0 or 1

_STEPS = 50  # of Newton's method; it settles in ten or never
_SETTLED = 1e-9
_FARTHEST = 50.0  # a coefficient beyond it means that the classes are separated


@dataclass(frozen=True)
class Estimate:
    """One coefficient of a logistic regression."""

    value: float
    ci95: Interval  # Wald


@dataclass(frozen=True)
class Bin:
    """Patients of similar scores."""

    score: float  # mean, 0..1
    observed: float  # share of positive patients, 0..1
    ci95: Interval  # Wilson, of the share
    count: int


def brier(scores: Floats, labels: Labels) -> float:
    """Mean squared distance of score and label; 0 is perfect, 0.25 what a constant 0.5 gives."""
    return float(np.mean((scores - labels) ** 2))


def intercept(scores: Floats, labels: Labels) -> Estimate | None:
    """Calibration in the large: the shift of the logit that sets the mean right; 0 is ideal.

    None where it cannot be told. Van Calster 2019 (doi 10.1186/s12916-019-1466-7).
    """
    ones = np.ones((len(scores), 1))
    fitted = _logistic(ones, labels, _logits(scores))
    return fitted[0] if fitted else None


def slope(scores: Floats, labels: Labels) -> Estimate | None:
    """Calibration slope: the factor of the logit that fits best; 1 is ideal, less is too bold."""
    logits = _logits(scores)
    design = np.stack([np.ones(len(scores)), logits], axis=1)
    fitted = _logistic(design, labels, np.zeros(len(scores)))
    return fitted[1] if fitted else None


def reliability(scores: Floats, labels: Labels) -> list[Bin]:
    """Up to ten groups of equally many patients, about ten or more in each, by rising score."""
    count = int(np.clip(len(scores) // 10, 1, 10))
    bins = []
    for part in np.array_split(np.argsort(scores, kind="stable"), count):
        share = wilson(int(labels[part].sum()), len(part))
        if share:
            mean, observed = float(scores[part].mean()), float(labels[part].mean())
            bins.append(Bin(mean, observed, share, len(part)))
    return bins


def net_benefit(scores: Floats, labels: Labels, threshold: float) -> float:
    """Net benefit at a threshold probability: true positives less weighted false ones, a patient.

    Vickers and Elkin 2006 (doi 10.1177/0272989X06295361).
    """
    above = scores >= threshold
    hits, alarms = int((above & (labels == 1)).sum()), int((above & (labels == 0)).sum())
    return (hits - alarms * threshold / (1 - threshold)) / len(labels)


def _logits(scores: Floats) -> Floats:
    return np.asarray(logit(np.clip(scores, 1e-6, 1 - 1e-6)), float)


def _logistic(design: Floats, labels: Labels, offset: Floats) -> list[Estimate] | None:
    """Logistic regression by Newton's method, design (N, K); None where it does not settle."""
    if len(set(labels.tolist())) < 2 or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        expected = expit(design @ weights + offset)
        information = design.T @ (design * (expected * (1 - expected))[:, None])
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (labels - expected))
        weights = weights + step
        if np.abs(weights).max() > _FARTHEST:
            return None
        if np.abs(step).max() < _SETTLED:
            errors = np.sqrt(np.diag(np.linalg.inv(information)))
            return [_estimate(w, e) for w, e in zip(weights, errors, strict=True)]
    return None


def _estimate(value: float, error: float) -> Estimate:
    return Estimate(float(value), (float(value - Z95 * error), float(value + Z95 * error)))
