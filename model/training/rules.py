"""Which components count as nodes: chosen on the validation part, like the operating points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from model.nodes import PredictedNode, Rules
from model.preprocess import prepare
from model.runtime import Predictor
from model.training.data import Readers
from model.training.evaluation import declared_or_found
from model.training.index import Row
from model.training.metrics import auroc
from model.training.results import combine
from model.training.validation import Validation

_FRACTIONS = (0.001, 0.002, 0.003, 0.005)  # a node of 5 mm is about 0.008
_PEAKS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


def choose(predictor: Predictor, rows: Sequence[Row], readers: Readers) -> Rules:
    """Return the rules of the greatest mean of Dice and AUROC, both as the service would have them.

    Dice is the mean over the annotated images; one without a node counts 1 where it is left empty
    and else 0. AUROC is that of the patients, who score 0 where nothing is left: a stricter rule
    costs it positive patients, a looser one gives scores to specks. Ties go to the smaller area,
    then to the lower peak. Without an annotated image the bundle's stay.

    Each component is scored once, beside all that the loosest rules leave.
    """
    card = predictor.bundle.card
    rules = card.nodes
    if not any(row.mask is not None for row in rows):
        return rules
    loosest = replace(rules, min_fraction=_FRACTIONS[0], min_peak=_PEAKS[0])
    seen = [_seen(predictor, row, readers, loosest) for row in rows]
    best = (-1.0, rules)
    for fraction, peak in product(_FRACTIONS, _PEAKS):
        kept = [[part for part in image.parts if part.passes(fraction, peak)] for image in seen]
        worth = Validation(_dice(seen, kept), _auroc(seen, kept, card.aggregation)).score
        if worth > best[0] + 1e-9:
            best = (worth, replace(rules, min_fraction=fraction, min_peak=peak))
    return best[1]


@dataclass(frozen=True)
class _Part:
    """One component on an image."""

    share: float  # of the crop
    peak: float
    area: int  # source pixels
    shared: int  # of them with the true mask
    score: float

    def passes(self, fraction: float, peak: float) -> bool:
        """Whether it counts as a node."""
        return self.share >= fraction and self.peak >= peak


@dataclass(frozen=True)
class _Seen:
    """What the loosest rules leave on one image."""

    patient: str
    label: int | None
    true: int | None  # area of the true mask, source pixels; None: not annotated
    parts: tuple[_Part, ...]


def _seen(predictor: Predictor, row: Row, readers: Readers, loosest: Rules) -> _Seen:
    """Read one image."""
    frame, mask = readers.image(row.image, row.frame), readers.mask_of(row)
    prepared = prepare(frame, declared_or_found(row, frame), predictor.bundle.card.input)
    x0, y0, x1, y1 = prepared.placement.source
    crop = (y1 - y0) * (x1 - x0)
    parts = []
    for node in predictor.predict([prepared], loosest)[0]:
        shared = 0 if mask is None else int((node.mask & _under(mask, node)).sum())
        parts.append(_Part(node.area_px / crop, node.peak, node.area_px, shared, node.score))
    true = None if mask is None else int(mask.sum())
    return _Seen(row.patient, row.label, true, tuple(parts))


def _under(mask: NDArray[np.bool_], node: PredictedNode) -> NDArray[np.bool_]:
    """Return the part of a frame's mask (H, W) that lies under a node's (h, w)."""
    height, width = node.mask.shape
    return mask[node.row : node.row + height, node.column : node.column + width]


def _dice(seen: Sequence[_Seen], kept: Sequence[Sequence[_Part]]) -> float:
    """Return the mean over annotated images."""
    values = []
    for image, parts in zip(seen, kept, strict=True):
        if image.true is not None:
            total = image.true + sum(part.area for part in parts)
            values.append(2 * sum(part.shared for part in parts) / total if total else 1.0)
    return float(np.mean(values))


def _auroc(seen: Sequence[_Seen], kept: Sequence[Sequence[_Part]], aggregation: str) -> float:
    """Return the AUROC of labelled patients; nan without both classes."""
    scores: dict[str, list[float]] = {}
    labels: dict[str, int] = {}
    for image, parts in zip(seen, kept, strict=True):
        if image.label is not None:
            labels[image.patient] = max(labels.get(image.patient, 0), image.label)
            scores.setdefault(image.patient, []).extend(part.score for part in parts)
    of_patients = [combine(scores[patient], aggregation) or 0.0 for patient in labels]
    return auroc(np.array(of_patients), np.array(list(labels.values()), np.int8))
