"""How sure a number is: intervals by DeLong and by bootstrap; the patient is the unit."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]  # 0 or 1
Interval = tuple[float, float]

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
DRAWS = 1000  # of a bootstrap: its end points are then stable to about 0.005


@dataclass(frozen=True)
class Area:
    """The area under the ROC curve."""

    value: float  # 0..1
    standard_error: float  # nan with fewer than two patients of a class
    ci95: Interval | None  # cut to 0..1; None where the error cannot be told


def delong(scores: Floats, labels: Labels) -> Area | None:
    """Area under the ROC curve with DeLong's interval; None without both classes.

    DeLong, DeLong and Clarke-Pearson 1988 (doi 10.2307/2531595), by the midranks of Sun and Xu 2014
    (doi 10.1109/LSP.2014.2337313).

    Parameters
    ----------
    scores
        (N,) one score per patient.
    labels
        (N,) 0 or 1.
    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    m, n = len(positive), len(negative)
    if not m or not n:
        return None
    among_all = rankdata(np.concatenate([positive, negative]))
    # the share of the other class that each patient stands on the right side of
    of_positive = (among_all[:m] - rankdata(positive)) / n
    of_negative = 1 - (among_all[m:] - rankdata(negative)) / m
    value = float(of_positive.mean())
    if m < 2 or n < 2:
        return Area(value, math.nan, None)
    error = math.sqrt(of_positive.var(ddof=1) / m + of_negative.var(ddof=1) / n)
    return Area(value, error, (max(value - Z95 * error, 0.0), min(value + Z95 * error, 1.0)))


def stratified_bootstrap(
    statistic: Callable[[Floats, Labels], float],
    scores: Floats,
    labels: Labels,
    draws: int = DRAWS,
) -> Interval | None:
    """Percentile interval of a statistic; positives and negatives are drawn apart.

    None without both classes. The same numbers give the same interval.
    """
    rng = np.random.default_rng(0)
    groups = [scores[labels == value] for value in (0, 1)]
    if not all(len(group) for group in groups):
        return None
    truth = np.repeat(np.array([0, 1], np.int8), [len(group) for group in groups])
    return _percentiles(
        [
            statistic(np.concatenate([rng.choice(g, len(g)) for g in groups]), truth)
            for _ in range(draws)
        ]
    )


def mean_and_median(
    values: Sequence[float], patients: Sequence[str], draws: int = DRAWS
) -> tuple[Interval, Interval] | None:
    """Percentile intervals of the mean and the median over images, drawing whole patients.

    Parameters
    ----------
    values
        N values, one per image.
    patients
        N names: images of one patient are drawn together, for they are alike.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        return None
    order = np.argsort(values, kind="stable")
    ordered, owner = np.asarray(values, float)[order], owner[order]
    rng = np.random.default_rng(0)
    means, medians = [], []
    for _ in range(draws):
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)))
        sample = np.repeat(ordered, drawn[owner])
        means.append(float(sample.mean()))
        # the sample is in order already
        medians.append(float(sample[(len(sample) - 1) // 2] + sample[len(sample) // 2]) / 2)
    return _percentiles(means), _percentiles(medians)


def _percentiles(values: Sequence[float]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return (float(low), float(high))
