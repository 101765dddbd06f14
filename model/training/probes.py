"""Asks what a score goes with: features of the nodes, and what must not decide it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.preprocess import Box
from model.runtime import Predictor
from model.tissue import grey_without_overlay
from model.training import appearance_association, traces
from model.training.appearance import of_image
from model.training.appearance_association import Node
from model.training.data import Progress, Readers
from model.training.evaluation import Looker, as_seen, declared_or_found, draw, look_at_picture
from model.training.index import Row
from model.training.results import ImageResult, arrays, patients
from model.training.summary import auroc

_SEED = 20240719  # of what is drawn into the pictures: the same for every bundle
Frame = NDArray[np.uint8]  # (H, W, 3)
Mask = NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True)
class Probes:
    """What was asked of every image."""

    nodes: tuple[Node, ...]  # measured, of all images
    blanked: tuple[ImageResult, ...]  # as read with the drawn nodes painted out
    shifts: tuple[float, ...]  # of the score of each image with a node, calipers pasted in


def probe(
    predictor: Predictor,
    rows: Sequence[Row],
    results: Sequence[ImageResult],
    readers: Readers,
    look: Looker = look_at_picture,
    progress: Progress | None = None,
) -> Probes:
    """Measure the nodes of all images, and read those with drawn nodes twice more.

    Once the drawn nodes are painted out, once calipers are pasted in. A DICOM frame is read here in
    the greatest of its regions, as training reads it.
    """
    rng = np.random.default_rng(_SEED)
    nodes: list[Node] = []
    blanked: list[ImageResult] = []
    shifts: list[float] = []
    for number, (listed, result) in enumerate(zip(rows, results, strict=True), 1):
        row = replace(listed, region=readers.region_of(listed))
        if result.refused is not None:
            continue
        frame, true = readers.image(row.image, row.frame), readers.mask_of(row)
        box = declared_or_found(row, frame)
        seen = look(predictor, row, frame)
        mask = draw(seen.nodes, (frame.shape[0], frame.shape[1])) if true is None else true
        nodes += _measured(result, frame, mask, box, drawn=true is not None)
        if true is not None and true.any():
            aggregation = predictor.bundle.card.aggregation
            without = _painted(frame, traces.blanked(_grey(frame), true, "around", rng))
            blanked.append(as_seen(result, look(predictor, row, without), aggregation))
            with_marks = _painted(frame, traces.marked(_grey(frame), true, rng))
            after = as_seen(result, look(predictor, row, with_marks), aggregation).score
            before = as_seen(result, seen, aggregation).score
            shifts.append(abs((after or 0.0) - (before or 0.0)))
        if progress and number % 50 == 0:
            progress(number, len(rows))
    return Probes(tuple(nodes), tuple(blanked), tuple(shifts))


def report(probes: Probes, aggregation: str) -> dict[str, Any]:
    """Return what `metrics.json` says of the probes: `appearance` and `shortcuts`."""
    shifts = np.array(probes.shifts, float)
    return {
        "appearance": appearance_association.report(probes.nodes),
        "shortcuts": {
            "blanked": {
                "n_images": len(probes.blanked),
                "still_found": sum(result.found_nodes > 0 for result in probes.blanked),
                "auroc": auroc(*arrays(patients(probes.blanked, aggregation))),
            },
            "calipers": {
                "n_images": len(shifts),
                "median_shift": float(np.median(shifts)) if len(shifts) else None,
                "p95_shift": float(np.percentile(shifts, 95)) if len(shifts) else None,
            },
        },
    }


def _measured(
    result: ImageResult,
    frame: Frame,
    mask: Mask,
    box: Box | None,
    *,
    drawn: bool,
) -> list[Node]:
    """Measure the nodes of an image within its tissue, away from text and black."""
    x0, y0, x1, y1 = box or (0, 0, frame.shape[1], frame.shape[0])
    found = of_image(frame[y0:y1, x0:x1], mask[y0:y1, x0:x1], result.spacing)
    return [Node(result.patient, result.label, result.score, each, drawn) for each in found]


def _grey(frame: Frame) -> traces.Grey:
    return grey_without_overlay(np.ascontiguousarray(frame)).astype(np.float32) / np.float32(255)


def _painted(frame: Frame, grey: traces.Grey) -> Frame:
    """Put what was drawn on the grey picture back into the frame."""
    before = _grey(frame)
    out = frame.copy()
    changed = grey != before
    out[changed] = np.rint(grey[changed] * 255).astype(np.uint8)[:, None]
    return out
