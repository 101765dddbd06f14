"""How the features of nodes go with label and score, by patient; association is no explanation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control, mannwhitneyu, spearmanr

from model.training.appearance import FEATURES
from model.training.intervals import Z95, Floats, Interval, Labels, delong

_FEWEST = 4  # patients of whom a rank correlation has an interval


@dataclass(frozen=True)
class Node:
    """One measured node."""

    patient: str
    label: int | None  # 0 or 1, of the patient; None: unknown
    score: float | None  # 0..1 by the bundle; None: it found no node there
    features: Mapping[str, float]  # as `appearance.measure` gives them
    drawn: bool = True  # whether the mask is the drawn one; False: the found one


@dataclass(frozen=True)
class Found:
    """How one feature goes with one other thing, over patients."""

    n: int  # patients of whom both are known
    value: float | None = None  # AUROC 0..1, or Spearman's rho -1..1
    ci95: Interval | None = None
    p: float | None = None  # two-sided
    p_adjusted: float | None = None  # over the features, Benjamini-Hochberg
    note: str | None = None  # why there is no value or no interval


@dataclass(frozen=True)
class Association:
    """What one feature goes with."""

    feature: str  # name out of `FEATURES`
    label: Found  # AUROC, above 0.5: greater with metastasis; p by Mann-Whitney
    score: Found  # Spearman's rho, above 0: greater with a higher score


@dataclass(frozen=True)
class _Patient:
    label: int | None
    score: float | None
    features: Mapping[str, float]


def associate(rows: Sequence[Node]) -> list[Association]:
    """Compare every feature, in the order of `FEATURES`, with label and score.

    The patient is the unit: features and score are means over the patient's nodes that have them;
    a patient with a positive node is positive.
    """
    everyone = _patients(rows)
    names = [feature.name for feature in FEATURES]
    labels = _adjusted([_with_label(_known(everyone, name, "label")) for name in names])
    scores = _adjusted([_with_score(_known(everyone, name, "score")) for name in names])
    return [Association(*each) for each in zip(names, labels, scores, strict=True)]


def report(rows: Sequence[Node]) -> dict[str, Any]:
    """Return what `metrics.json` says, by the features' names, with whose masks were measured."""
    return {
        "n_nodes": len(rows),
        "n_patients": len({row.patient for row in rows}),
        "masks": {
            "drawn": _count([row for row in rows if row.drawn]),
            "found": _count([row for row in rows if not row.drawn]),
        },
        "features": {
            one.feature: {"label": asdict(one.label), "score": asdict(one.score)}
            for one in associate(rows)
        },
    }


def _count(rows: Sequence[Node]) -> dict[str, Any]:
    """Count nodes, and their patients by label."""
    labels = list(_labels(rows).values())
    return {"n_nodes": len(rows), "negative_positive": [labels.count(0), labels.count(1)]}


def _patients(rows: Sequence[Node]) -> list[_Patient]:
    """Gather patients, in order of their names."""
    labels = _labels(rows)
    grouped: dict[str, list[Node]] = {}
    for row in rows:
        grouped.setdefault(row.patient, []).append(row)
    return [
        _Patient(
            labels[name],
            _mean([row.score for row in grouped[name]]),
            {
                feature.name: mean
                for feature in FEATURES
                if (mean := _mean([row.features.get(feature.name) for row in grouped[name]]))
                is not None
            },
        )
        for name in sorted(grouped)
    ]


def _labels(rows: Sequence[Node]) -> dict[str, int | None]:
    labels: dict[str, int | None] = {}
    for row in rows:
        known = [label for label in (row.label, labels.get(row.patient)) if label is not None]
        labels[row.patient] = max(known, default=None)
    return labels


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _known(everyone: Sequence[_Patient], feature: str, other: str) -> tuple[Floats, Floats]:
    """Return a feature and the label or score of the patients that have both."""
    pairs = [
        (patient.features[feature], getattr(patient, other))
        for patient in everyone
        if feature in patient.features and getattr(patient, other) is not None
    ]
    values = np.array(pairs, float).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def _with_label(pair: tuple[Floats, Floats]) -> Found:
    """AUROC with DeLong's interval, and Mann-Whitney's p."""
    values, labels = pair[0], pair[1].astype(np.int8)
    area = delong(values, labels)
    if area is None:
        return Found(len(values), note=_one_class(labels))
    p = float(mannwhitneyu(values[labels == 1], values[labels == 0]).pvalue)
    found = Found(len(values), area.value, area.ci95, p)
    if area.ci95 is None:
        return replace(found, note="an interval needs two patients of each class")
    if not area.standard_error:  # DeLong has then nothing to estimate it by
        return replace(found, ci95=None, note="the classes are parted wholly, or all are equal")
    return found


def _one_class(labels: Labels) -> str:
    if not len(labels):
        return "no labelled patient has it"
    return f"all {len(labels)} are {'positive' if labels[0] else 'negative'}"


def _with_score(pair: tuple[Floats, Floats]) -> Found:
    """Spearman's rho with Fisher's interval, its error by Bonett and Wright.

    Bonett and Wright 2000 (doi 10.1007/BF02294183).
    """
    values, scores = pair
    if len(values) < _FEWEST:
        return Found(len(values), note=f"fewer than {_FEWEST} patients have it and a score")
    if np.ptp(values) == 0 or np.ptp(scores) == 0:
        return Found(len(values), note="all are equal")
    tested = spearmanr(values, scores)
    rho = min(max(float(tested.statistic), -1.0), 1.0)
    found = Found(len(values), rho, p=float(tested.pvalue))
    if abs(rho) > 1 - 1e-9:
        return replace(found, note="the orders agree wholly")
    half = Z95 * math.sqrt((1 + rho**2 / 2) / (len(values) - 3))
    middle = math.atanh(rho)
    return replace(found, ci95=(math.tanh(middle - half), math.tanh(middle + half)))


def _adjusted(found: Sequence[Found]) -> list[Found]:
    """Add the p that hold the false discovery rate over all features that were tested."""
    tested = [one.p for one in found if one.p is not None]
    adjusted = iter(false_discovery_control(tested) if tested else ())
    return [
        one if one.p is None else replace(one, p_adjusted=float(next(adjusted))) for one in found
    ]
