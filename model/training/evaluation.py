"""Measure a bundle on images of a dataset, by the very path that the daemon takes."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.bundle_file import OperatingPoint
from model.preprocess import Box, prepare
from model.runtime import PredictedNode, Predictor
from model.training import metrics
from model.training.config import Regions
from model.training.data import PICTURES, Progress, Readers, choose_region
from model.training.index import Row


@dataclass(frozen=True)
class ImageResult:
    """One image read by the model, beside its truth."""

    patient: str
    label: int | None
    score: float | None  # greatest of its nodes; None: no node segmented
    dice: float | None  # in source pixels; None: not annotated
    iou: float | None
    true_nodes: int | None  # connected components of the true mask
    found_nodes: int
    seconds: float  # prepare and predict


@dataclass(frozen=True)
class PatientResult:
    """One labelled patient: the greatest score over its images."""

    label: int
    score: float  # 0 where no node was segmented
    segmented: bool


def evaluate(
    predictor: Predictor,
    rows: Sequence[Row],
    readers: Readers = PICTURES,
    progress: Progress | None = None,
) -> list[ImageResult]:
    """Read every image of the rows in its declared region, else in the one found in its pixels."""
    results = []
    for number, row in enumerate(rows):
        results.append(_read(predictor, row, readers))
        if progress and (number + 1) % 50 == 0:
            progress(number + 1, len(rows))
    return results


def declared_or_found(row: Row, frame: NDArray[np.uint8]) -> Box | None:
    """Return the crop that the daemon would take."""
    return choose_region(row, frame, Regions(), np.random.default_rng(0))


def patients(results: Sequence[ImageResult]) -> list[PatientResult]:
    """Gather labelled patients, in order of their names."""
    grouped: dict[str, list[ImageResult]] = {}
    for result in results:
        if result.label is not None:
            grouped.setdefault(result.patient, []).append(result)
    gathered = []
    for name in sorted(grouped):
        scores = [r.score for r in grouped[name] if r.score is not None]
        label = max(r.label or 0 for r in grouped[name])
        gathered.append(PatientResult(label, max(scores, default=0.0), bool(scores)))
    return gathered


def report(results: Sequence[ImageResult], points: Sequence[OperatingPoint] = ()) -> dict[str, Any]:
    """Metrics of an evaluation, ready for `metrics.json`."""
    with_node = [r for r in results if r.true_nodes]
    without = [r for r in results if r.true_nodes == 0]
    annotated = with_node + without
    everyone = patients(results)
    dice = metrics.summary([r.dice for r in with_node if r.dice is not None])
    overlap = metrics.summary([r.iou for r in with_node if r.iou is not None])
    return {
        "n_images": len(results),
        "n_patients": len({r.patient for r in results}),
        "segmentation": {
            # over images that hold a node; the others are counted, for Dice says little there
            "dice_mean": dice.get("mean"),
            "dice_median": dice.get("median"),
            "dice_p10": dice.get("p10"),
            "iou_mean": overlap.get("mean"),
            "n_with_node": len(with_node),
            "missed": sum(r.found_nodes == 0 for r in with_node),
            "n_without_node": len(without),
            "without_node_left_empty": sum(r.found_nodes == 0 for r in without),
            "node_count_exact": sum(r.found_nodes == r.true_nodes for r in annotated),
        },
        "classification": _classification(everyone),
        "operating_points": {p.name: _at(p, everyone) for p in points},
        "seconds_per_image": round(float(np.median([r.seconds for r in results])), 4)
        if results
        else None,
    }


def arrays(everyone: Sequence[PatientResult]) -> tuple[metrics.Floats, NDArray[np.int8]]:
    """Scores and labels of patients as arrays."""
    scores = np.array([p.score for p in everyone], float)
    return scores, np.array([p.label for p in everyone], np.int8)


def _read(predictor: Predictor, row: Row, readers: Readers) -> ImageResult:
    """Run the model on one image and compare in source pixels."""
    frame = readers.image(row.image, row.frame)
    region = declared_or_found(row, frame)
    started = time.perf_counter()
    nodes = predictor.predict([prepare(frame, region, predictor.bundle.card.input)])[0]
    seconds = time.perf_counter() - started
    score = max((node.score for node in nodes), default=None)
    if row.mask is None:
        return ImageResult(row.patient, row.label, score, None, None, None, len(nodes), seconds)
    true = readers.mask(row.mask, row.frame)
    found = draw(nodes, (frame.shape[0], frame.shape[1]))
    return ImageResult(
        patient=row.patient,
        label=row.label,
        score=score,
        dice=metrics.dice(found, true),
        iou=metrics.iou(found, true),
        true_nodes=int(ndimage.label(true, np.ones((3, 3)))[1]),
        found_nodes=len(nodes),
        seconds=seconds,
    )


def draw(nodes: Sequence[PredictedNode], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Unite the nodes' masks in a frame of `shape` (H, W)."""
    mask = np.zeros(shape, np.bool_)
    for node in nodes:
        height, width = node.mask.shape
        mask[node.row : node.row + height, node.column : node.column + width] |= node.mask
    return mask


def _classification(everyone: Sequence[PatientResult]) -> dict[str, Any]:
    """AUROC over all labelled patients, and over those with a segmented node."""
    scores, labels = arrays(everyone)
    area = metrics.auroc(scores, labels)
    if math.isnan(area):
        return {"n_labelled": len(everyone)}
    return {
        "n_labelled": len(everyone),
        "n_positive": int((labels == 1).sum()),
        "n_without_segmented_node": sum(not p.segmented for p in everyone),
        "auroc": {
            "value": round(area, 4),
            "ci95": [round(v, 4) for v in metrics.auroc_ci95(scores, labels)],
        },
    }


def _at(point: OperatingPoint, everyone: Sequence[PatientResult]) -> dict[str, Any]:
    """Confusion counts at a threshold that was chosen elsewhere."""
    scores, labels = arrays(everyone)
    above = scores >= point.threshold
    counts: dict[str, Any] = {
        "threshold": point.threshold,
        "tp": int((above & (labels == 1)).sum()),
        "fn": int((~above & (labels == 1)).sum()),
        "fp": int((above & (labels == 0)).sum()),
        "tn": int((~above & (labels == 0)).sum()),
    }
    for name, hit, miss in (("sensitivity", "tp", "fn"), ("specificity", "tn", "fp")):
        total = int(counts[hit] + counts[miss])
        interval = metrics.wilson(int(counts[hit]), total)
        if interval:
            counts[name] = round(counts[hit] / total, 4)
            counts[f"{name}_ci95"] = [round(v, 4) for v in interval]
    return counts
