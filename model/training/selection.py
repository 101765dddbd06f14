"""Operating points by rules that are declared before training and met on the validation part."""

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.bundle_file import OperatingPoint
from model.errors import TrainingError
from model.training.config import Points
from model.training.metrics import Floats, wilson

Labels = NDArray[np.int8]
_RULE = re.compile(r"(?P<what>specificity|sensitivity)\s*>=\s*(?P<least>[01](\.\d+)?|\.\d+)")


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen."""

    what: Literal["max_accuracy", "youden", "specificity", "sensitivity"]
    least: float = 0.0  # 0..1, what specificity or sensitivity must reach


def parse(text: str) -> Rule:
    """Read a rule: `max_accuracy`, `youden`, `specificity>=x` or `sensitivity>=x`.

    Raises
    ------
    TrainingError
        It is none of these.
    """
    if text == "max_accuracy":
        return Rule("max_accuracy")
    if text == "youden":
        return Rule("youden")
    found = _RULE.fullmatch(text)
    if found is None or float(found["least"]) > 1:
        raise TrainingError(
            f"points: {text!r} is no rule: write max_accuracy, youden, specificity>=x or"
            " sensitivity>=x, with x from 0 to 1"
        )
    return Rule(
        "specificity" if found["what"] == "specificity" else "sensitivity", float(found["least"])
    )


def rules_of(points: Points) -> dict[str, Rule]:
    """Return the rule of every operating point by its name, the bundle's default first.

    Raises
    ------
    TrainingError
        A rule cannot be read, or no operating point is named.
    """
    if not points.named:
        raise TrainingError("points: named must hold at least one rule, such as max_accuracy")
    declared = {"rule_in": points.rule_in, "rule_out": points.rule_out}
    rules = {name: parse(name) for name in points.named}
    return rules | {name: parse(text) for name, text in declared.items() if text}


def operating_points(scores: Floats, labels: Labels, points: Points) -> tuple[OperatingPoint, ...]:
    """Choose the thresholds on validation patients.

    Parameters
    ----------
    scores
        (n,) float, 0..1, calibrated.
    labels
        (n,) int8, 0 or 1.
    """
    return tuple(
        replace(choose(rule, scores, labels), name=name) for name, rule in rules_of(points).items()
    )


def choose(rule: Rule, scores: Floats, labels: Labels) -> OperatingPoint:
    """Choose one threshold; of equally good ones the highest, which is the most specific."""
    thresholds = _thresholds(scores)
    above = scores[None] >= thresholds[:, None]
    hits, quiet = (above & (labels == 1)).sum(1), (~above & (labels == 0)).sum(1)
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    sensitivity, specificity = hits / max(positives, 1), quiet / max(negatives, 1)
    worth = {
        "max_accuracy": (hits + quiet) / max(len(labels), 1),
        "youden": sensitivity + specificity,
        # the most sensitive threshold of enough specificity, and the other way round
        "specificity": np.where(specificity >= rule.least, sensitivity, -1.0),
        "sensitivity": np.where(sensitivity >= rule.least, specificity, -1.0),
    }[rule.what]
    at = int(np.flatnonzero(worth >= worth.max() - 1e-12)[-1])
    return OperatingPoint(
        name=rule.what,
        threshold=round(float(thresholds[at]), 6),
        sensitivity=_share(hits[at], positives),
        specificity=_share(quiet[at], negatives),
        sensitivity_ci95=_interval(hits[at], positives),
        specificity_ci95=_interval(quiet[at], negatives),
        prevalence=_share(positives, len(labels)),
    )


def _thresholds(scores: Floats) -> Floats:
    """Every threshold that separates two scores, in rising order, and both ends."""
    distinct = np.unique(scores)
    return np.concatenate([[0.0], (distinct[:-1] + distinct[1:]) / 2, [1.0]])


def _share(part: int, whole: int) -> float | None:
    return round(float(part) / whole, 4) if whole else None


def _interval(part: int, whole: int) -> tuple[float, float] | None:
    interval = wilson(int(part), whole)
    return (round(interval[0], 4), round(interval[1], 4)) if interval else None
