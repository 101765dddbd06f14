"""The figures of an evaluation, each an SVG picture by its name."""

from collections.abc import Mapping, Sequence

import numpy as np

from model.bundle_file import OperatingPoint
from model.training import calibration, metrics
from model.training.chart import BLUE, GREY, ORANGE, Chart, matrix
from model.training.intervals import Floats, Labels
from model.training.results import ImageResult, arrays, patients

_DICE_EDGES = np.linspace(0, 1, 21)
_THRESHOLDS = np.linspace(0.01, 0.99, 99)


def draw(
    results: Sequence[ImageResult], points: Sequence[OperatingPoint], aggregation: str
) -> Mapping[str, str]:
    """Draw what the results allow; curves need patients of both classes."""
    drawn = {}
    dice = [r.dice for r in results if r.true_nodes and r.dice is not None]
    if dice:
        drawn["dice"] = dice_histogram(dice)
    everyone = patients(results, aggregation)
    scores, labels = arrays(everyone)
    if len(set(labels.tolist())) == 2:
        segmented = np.array([p.segmented for p in everyone])
        drawn |= {
            "roc": roc(scores, labels, points),
            "precision-recall": precision_recall(scores, labels),
            "decision-curve": decision_curve(scores, labels),
        }
        for number, point in enumerate(points, start=1):
            drawn[f"confusion-{number}"] = confusion(scores, labels, point)
        if segmented.any():
            drawn["reliability"] = reliability(scores[segmented], labels[segmented])
    return drawn


def roc(scores: Floats, labels: Labels, points: Sequence[OperatingPoint]) -> str:
    """Draw the ROC curve with the bundle's operating points."""
    false, true = metrics.roc(scores, labels)
    chart = Chart("ROC", "1 - specificity", "sensitivity")
    chart.line([(0, 0), (1, 1)], GREY, dashed=True)
    chart.line(zip(false.tolist(), true.tolist(), strict=True))
    places: dict[tuple[float, float], list[str]] = {}  # points that coincide share a dot
    for number, point in enumerate(points, start=1):
        above = scores >= point.threshold
        at = (float(above[labels == 0].mean()), float(above[labels == 1].mean()))
        places.setdefault(at, []).append(str(number))
    for at, numbers in places.items():
        chart.dot(at, name=", ".join(numbers))
    return chart.svg()


def confusion(scores: Floats, labels: Labels, point: OperatingPoint) -> str:
    """Draw the confusion matrix at an operating point, with shares of the true classes."""
    above = scores >= point.threshold
    cells = [
        [int(((labels == label) & (above == said)).sum()) for said in (False, True)]
        for label in (0, 1)
    ]
    title = f"{point.name}, threshold {point.threshold:.3f}"
    return matrix(title, cells, ("below", "at or above"), ("negative", "positive"))


def precision_recall(scores: Floats, labels: Labels) -> str:
    """Draw precision against recall in steps, as its area is taken; dashed: the prevalence."""
    recall, precision = metrics.precision_recall(scores, labels)
    steps = []
    for before, now, height in zip(np.append(0.0, recall[:-1]), recall, precision, strict=True):
        steps += [(float(before), float(height)), (float(now), float(height))]
    prevalence = float(labels.mean())
    chart = Chart("Precision and recall", "recall (sensitivity)", "precision (PPV)")
    chart.line([(0, prevalence), (1, prevalence)], GREY, dashed=True)
    return chart.line(steps).svg()


def reliability(scores: Floats, labels: Labels) -> str:
    """Draw observed shares against mean scores, in groups of equally many patients."""
    chart = Chart("Reliability", "mean score of the group", "share of positive patients")
    chart.line([(0, 0), (1, 1)], GREY, dashed=True)
    bins = calibration.reliability(scores, labels)
    chart.line([(group.score, group.observed) for group in bins], BLUE)
    for group in bins:
        chart.dot((group.score, group.observed), BLUE, span=group.ci95)
    return chart.svg()


def decision_curve(scores: Floats, labels: Labels) -> str:
    """Draw the net benefit of the model, of treating everybody and of treating nobody."""
    prevalence = float(labels.mean())
    gains = [calibration.net_benefit(scores, labels, t) for t in _THRESHOLDS]
    everybody = [prevalence - (1 - prevalence) * t / (1 - t) for t in _THRESHOLDS]
    lowest = -0.25 * prevalence
    seen = [(t, gain) for t, gain in zip(_THRESHOLDS, everybody, strict=True) if gain >= lowest]
    chart = Chart(
        "Decision curve", "threshold probability", "net benefit", y=(lowest, prevalence or 1.0)
    )
    chart.line([(0, 0), (1, 0)], GREY, "nobody", dashed=True)
    chart.line(seen, ORANGE, "everybody")
    chart.line(zip(_THRESHOLDS, gains, strict=True), BLUE, "by the score")
    return chart.svg()


def dice_histogram(values: Sequence[float]) -> str:
    """Draw how Dice is spread over images that hold a node."""
    counts, _ = np.histogram(values, _DICE_EDGES)
    chart = Chart(
        "Dice, images with a node", "Dice", "images", y=(0.0, float(5 * -(-counts.max() // 5)))
    )
    return chart.bars(_DICE_EDGES.tolist(), counts.tolist()).svg()
