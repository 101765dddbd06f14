"""The numbers of an evaluation, ready for `metrics.json` and for a bundle's card."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.bundle_file import OperatingPoint
from model.training import calibration, intervals, metrics
from model.training.intervals import Area, Floats, Labels
from model.training.results import (
    ImageResult,
    PatientResult,
    arrays,
    patients,
    patients_by_true_mask,
)


def report(
    results: Sequence[ImageResult],
    points: Sequence[OperatingPoint] = (),
    aggregation: str = "max",
) -> dict[str, Any]:
    """Metrics of an evaluation; plain values of four digits, None where nothing can be told."""
    everyone = patients(results, aggregation)
    whole = {
        "n_images": len(results),
        "n_patients": len({r.patient for r in results}),
        "n_not_evaluable": sum(r.refused is not None for r in results),
        "not_evaluable": dict(Counter(r.refused for r in results if r.refused)),
        "segmentation": segmentation(results),
        "classification": {
            **classification(everyone),
            "with_node": _with_node(results, aggregation),
            "true_mask": _with_true_mask(results, aggregation),
            "abstain": _abstain(points, everyone),
        },
        "operating_points": {p.name: at(p.threshold, everyone) for p in points},
        "seconds_per_image": float(np.median([r.seconds for r in results])) if results else None,
    }
    return dict(plain(whole))


def segmentation(results: Sequence[ImageResult]) -> dict[str, Any]:
    """Overlap, distance and detection, in source pixels.

    Overlap is over images that hold a node; the others are counted, for Dice says little there.
    """
    with_node = [r for r in results if r.true_nodes]
    without = [r for r in results if r.true_nodes == 0]
    missed = sum(r.found_nodes == 0 for r in with_node)
    empty = sum(r.found_nodes == 0 for r in without)
    return {
        **_flat("dice", spread([(r.dice, r.patient) for r in with_node])),
        **_flat("iou", spread([(r.iou, r.patient) for r in with_node])),
        "hd95_mm": _distances([r for r in with_node if r.calibrated]),
        "hd95_px": _distances([r for r in with_node if not r.calibrated]),
        "n_with_node": len(with_node),
        "missed": missed,
        "missed_share_ci95": metrics.wilson(missed, len(with_node)),
        "n_without_node": len(without),
        "without_node_left_empty": empty,
        "left_empty_share_ci95": metrics.wilson(empty, len(without)),
        "node_count_exact": sum(r.found_nodes == r.true_nodes for r in with_node + without),
    }


def classification(everyone: Sequence[PatientResult]) -> dict[str, Any]:
    """Discrimination and calibration over all labelled patients."""
    scores, labels = arrays(everyone)
    positive = int((labels == 1).sum())
    return {
        "n_labelled": len(everyone),
        "n_positive": positive,
        "prevalence": positive / len(everyone) if everyone else None,
        "n_without_segmented_node": sum(not p.segmented for p in everyone),
        "auroc": {
            **auroc(scores, labels),
            "ci95_bootstrap": intervals.stratified_bootstrap(metrics.auroc, scores, labels),
        },
        "auprc": _auprc(scores, labels),
        "brier": calibration.brier(scores, labels) if everyone else None,
        "calibration": _calibration(everyone),
    }


def auroc(scores: Floats, labels: Labels) -> dict[str, Any]:
    """Area under the ROC curve with DeLong's interval, or the reason why there is none."""
    area = intervals.delong(scores, labels)
    if area is None:
        return {"value": None, "ci95": None, "reason": _one_class(labels)}
    return {
        "value": area.value,
        "ci95": area.ci95,
        "standard_error": area.standard_error,
        **_caution(area),
    }


def _caution(area: Area) -> dict[str, str]:
    """Say where an interval is missing or empty."""
    if area.ci95 is None:
        return {"caution": "an interval needs two patients of each class"}
    if not area.standard_error:
        return {"caution": "no pair of patients speaks against the others: the intervals are empty"}
    return {}


def at(threshold: float, everyone: Sequence[PatientResult]) -> dict[str, Any]:
    """Confusion counts and rates at a threshold that was chosen elsewhere."""
    scores, labels = arrays(everyone)
    above = scores >= threshold
    tp, fn = int((above & (labels == 1)).sum()), int((~above & (labels == 1)).sum())
    fp, tn = int((above & (labels == 0)).sum()), int((~above & (labels == 0)).sum())
    said: dict[str, Any] = {"threshold": threshold, "tp": tp, "fn": fn, "fp": fp, "tn": tn}
    for name, hits, total in (
        ("sensitivity", tp, tp + fn),
        ("specificity", tn, tn + fp),
        ("ppv", tp, tp + fp),
        ("npv", tn, tn + fn),
        ("accuracy", tp + tn, len(labels)),
    ):
        said[name] = hits / total if total else None
        said[f"{name}_ci95"] = metrics.wilson(hits, total)
    return said


def _auprc(scores: Floats, labels: Labels) -> dict[str, Any]:
    """Area under the precision-recall curve, beside what chance gives."""
    value = metrics.average_precision(scores, labels)
    if math.isnan(value):
        return {"value": None, "ci95": None, "reason": _one_class(labels)}
    interval = intervals.stratified_bootstrap(metrics.average_precision, scores, labels)
    return {"value": value, "ci95": interval, "prevalence": float(labels.mean())}


def _calibration(everyone: Sequence[PatientResult]) -> dict[str, Any]:
    """Intercept and slope; a patient without a segmented node has no logit to judge."""
    segmented = [p for p in everyone if p.segmented]
    scores, labels = arrays(segmented)
    fitted = {
        "intercept": calibration.intercept(scores, labels),
        "slope": calibration.slope(scores, labels),
    }
    said: dict[str, Any] = {"n": len(segmented)}
    for name, estimate in fitted.items():
        said[name] = {"value": estimate.value, "ci95": estimate.ci95} if estimate else None
    if None in fitted.values():
        said["reason"] = "one class only, one score only, or classes that do not overlap"
    return said


def _with_node(results: Sequence[ImageResult], aggregation: str) -> dict[str, Any]:
    """AUROC of the patients with a labelled picture in which a node is drawn.

    In a dataset of breast lesions these are malignant against benign, without the normal pictures.
    """
    having = {r.patient for r in results if r.true_nodes and r.label is not None}
    scores, labels = arrays(patients([r for r in results if r.patient in having], aggregation))
    positive = int((labels == 1).sum())
    return {"n_labelled": len(labels), "n_positive": positive, "auroc": auroc(scores, labels)}


def _with_true_mask(results: Sequence[ImageResult], aggregation: str) -> dict[str, Any]:
    """AUROC of the same patients by the drawn and by the found mask."""
    by_true = patients_by_true_mask(results, aggregation)
    drawn = {r.patient for r in results if r.label is not None and r.true_nodes is None}
    by_found = patients([r for r in results if r.patient not in drawn], aggregation)
    return {
        "n_labelled": len(by_true),
        "auroc": auroc(*arrays(by_true)),
        "auroc_predicted_mask": auroc(*arrays(by_found)),
    }


def _abstain(
    points: Sequence[OperatingPoint], everyone: Sequence[PatientResult]
) -> dict[str, Any] | None:
    """Count who falls between the declared `rule_out` and `rule_in`; None without both."""
    limits = {p.name: p.threshold for p in points}
    if "rule_in" not in limits or "rule_out" not in limits or not everyone:
        return None
    scores, _ = arrays(everyone)
    between = int(((scores >= limits["rule_out"]) & (scores < limits["rule_in"])).sum())
    return {
        "rule_out": limits["rule_out"],
        "rule_in": limits["rule_in"],
        "n": between,
        "share": between / len(everyone),
        "share_ci95": metrics.wilson(between, len(everyone)),
    }


def spread(pairs: Sequence[tuple[float | None, str]]) -> dict[str, Any]:
    """Mean and median of values, with intervals over patients."""
    known = [(value, patient) for value, patient in pairs if value is not None]
    values = [value for value, _ in known]
    around = intervals.mean_and_median(values, [patient for _, patient in known])
    return {
        **metrics.summary(values),
        **({"mean_ci95": around[0], "median_ci95": around[1]} if around else {}),
    }


def _distances(results: Sequence[ImageResult]) -> dict[str, Any]:
    """Distances of the borders, where both masks hold something."""
    known = spread([(r.distance, r.patient) for r in results])
    return {key: value for key, value in known.items() if key != "p10"}


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("mean", "mean_ci95", "median", "median_ci95", "p10")
    return {f"{prefix}_{key}": values.get(key) for key in keys}


def _one_class(labels: Labels) -> str:
    if not len(labels):
        return "no patient is labelled"
    return f"all {len(labels)} labelled patients are {'positive' if labels[0] else 'negative'}"


def plain(value: Any) -> Any:
    """Make values fit for JSON: four digits, lists for tuples, None for what is not a number."""
    if isinstance(value, Mapping):
        # a threshold stays the one that the bundle declares
        return {k: item if k == "threshold" else plain(item) for k, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
