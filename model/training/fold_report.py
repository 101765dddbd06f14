"""The numbers of a cross-validation: each fold, over the folds, and all test patients pooled."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import t as student

from model.bundle_file import Bundle
from model.training.config import TrainConfig
from model.training.folds import Fold
from model.training.index import Row
from model.training.results import ImageResult, PatientResult, patients
from model.training.summary import at, plain, report

# where a report has what is averaged over the folds
_FIGURES = {
    "dice_mean": ("segmentation", "dice_mean"),
    "dice_median": ("segmentation", "dice_median"),
    "iou_mean": ("segmentation", "iou_mean"),
    "auroc": ("classification", "auroc", "value"),
    "auroc_with_node": ("classification", "with_node", "auroc", "value"),
}


@dataclass(frozen=True)
class Outcome:
    """A fold that is trained and tested."""

    fold: Fold
    bundle: Bundle  # of this fold's network
    test: tuple[ImageResult, ...]  # it on each image of its test part, which it never saw


def document(outcomes: Sequence[Outcome], config: TrainConfig) -> dict[str, Any]:
    """Return what `folds.json` says; plain values of four digits."""
    entries = [_entry(outcome) for outcome in outcomes]
    repeats = sorted({outcome.fold.repeat for outcome in outcomes})
    whole = {
        "count": config.folds.count,
        "repeats": config.folds.repeats,
        "seed": config.seed,
        "over_folds": _over_folds(outcomes, [entry["test"] for entry in entries]),
        "pooled": [
            {"repeat": repeat, **_pooled([o for o in outcomes if o.fold.repeat == repeat])}
            for repeat in repeats
        ],
        "folds": entries,
    }
    return dict(plain(whole))


def line(outcome: Outcome) -> str:
    """One line for people about a fold."""
    test = report(outcome.test)
    figures, seen = _figures(test), test["segmentation"]
    tested = len({result.patient for result in outcome.test})
    return (
        f"{tested} test patients: Dice {_number(figures['dice_mean'])}, AUROC"
        f" {_number(figures['auroc'])}, node found in {seen['n_with_node'] - seen['missed']} of"
        f" {seen['n_with_node']} images"
    )


def lines(document: Mapping[str, Any]) -> list[str]:
    """Lines for people about all folds."""
    said = []
    for name in ("dice_mean", "auroc", "auroc_with_node"):
        figure = document["over_folds"][name]
        interval = f" (95 % CI {_span(figure['ci95'])})" if figure["ci95"] else ""
        said.append(f"{name} over {figure['n']} folds {_number(figure['mean'])}{interval}")
    for pooled in document["pooled"]:
        area = pooled["classification"]["auroc"]
        interval = f" (95 % CI {_span(area['ci95'])})" if area["ci95"] else ""
        said.append(
            f"all test patients of repeat {pooled['repeat']} pooled: Dice"
            f" {_number(pooled['segmentation']['dice_mean'])}, AUROC"
            f" {_number(area['value'])}{interval}"
        )
    return said


def _entry(outcome: Outcome) -> dict[str, Any]:
    """One fold: whom it trained and tested on, and its figures."""
    fold = outcome.fold
    return {
        "fold": fold.number,
        "repeat": fold.repeat,
        "folder": fold.folder,
        "bundle": outcome.bundle.digest,
        "patients": {name: _names(rows) for name, rows in vars(fold.split).items()},
        "test": _figures(report(outcome.test)),
    }


def _figures(test: Mapping[str, Any]) -> dict[str, float | None]:
    """Take the figures out of a report; None for what it cannot tell."""
    found: dict[str, float | None] = {}
    for name, path in _FIGURES.items():
        value: Any = test
        for key in path:
            value = value[key]
        found[name] = value
    seen = test["segmentation"]
    with_node, without = seen["n_with_node"], seen["n_without_node"]
    found["detection"] = 1 - seen["missed"] / with_node if with_node else None
    found["left_empty"] = seen["without_node_left_empty"] / without if without else None
    return found


def _over_folds(
    outcomes: Sequence[Outcome], figures: Sequence[Mapping[str, float | None]]
) -> dict[str, Any]:
    """Mean of each figure over the folds that have it, with intervals."""
    # how much of a fold is test: the more, the less alike its training part and another's
    share = float(np.mean([_tested_to_trained(outcome) for outcome in outcomes]))
    return {
        name: mean_over([f[name] for f in figures if f[name] is not None], share)
        for name in figures[0]
    }


def mean_over(values: Sequence[float | None], share: float) -> dict[str, Any]:
    """Mean of a figure over folds.

    `ci95` is Student's t interval, which takes the folds for independent. They share most of their
    training patients, so `ci95_corrected` adds `share`, test patients per training patient, to the
    variance, as Nadeau and Bengio 2003 do (doi 10.1023/A:1024068626366). Both are cut to 0..1.
    """
    known = np.array(values, float)
    n = len(known)
    said: dict[str, Any] = {"n": n, "mean": float(known.mean()) if n else None}
    said |= {"ci95": None, "ci95_corrected": None, "values": known.tolist()}
    if n > 1:
        error = float(known.std(ddof=1)) * float(student.ppf(0.975, n - 1))
        for name, variance in (("ci95", 1 / n), ("ci95_corrected", 1 / n + share)):
            half = error * math.sqrt(variance)
            said[name] = (max(known.mean() - half, 0.0), min(known.mean() + half, 1.0))
    return said


def _tested_to_trained(outcome: Outcome) -> float:
    split = outcome.fold.split
    return len(_names(split.test)) / len(_names(split.train))


def _pooled(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All patients of one repeat, each by the bundle that never saw it."""
    whole = report([result for outcome in outcomes for result in outcome.test])
    named = [[p.name for p in outcome.bundle.operating_points] for outcome in outcomes]
    common = [name for name in named[0] if all(name in others for others in named)]
    return {**whole, "operating_points": {name: _judged(outcomes, name) for name in common}}


def _judged(outcomes: Sequence[Outcome], name: str) -> dict[str, Any]:
    """Confusion counts and rates of all patients, each at the threshold of its own fold."""
    thresholds: list[float] = []
    judged: list[PatientResult] = []
    for outcome in outcomes:
        (point,) = [p for p in outcome.bundle.operating_points if p.name == name]
        thresholds.append(point.threshold)
        judged += [
            replace(patient, score=float(patient.score >= point.threshold))
            for patient in patients(outcome.test)
        ]
    said = at(0.5, judged)
    del said["threshold"]
    return {"thresholds": thresholds, **said}


def _names(rows: Sequence[Row]) -> list[str]:
    return sorted({row.patient for row in rows})


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _span(interval: Sequence[float]) -> str:
    return f"{interval[0]:.3f}-{interval[1]:.3f}"
