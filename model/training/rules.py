"""Which components count as nodes: chosen on the validation part, like the operating points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from model.nodes import Rules, components
from model.preprocess import prepare
from model.runtime import Predictor
from model.training.data import Readers
from model.training.evaluation import declared_or_found
from model.training.index import Row

_FRACTIONS = (0.001, 0.002, 0.003, 0.005)  # a node of 5 mm is about 0.008
_PEAKS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


def choose(predictor: Predictor, rows: Sequence[Row], readers: Readers) -> Rules:
    """Return the rules with the greatest mean Dice over the annotated images.

    An image without a node counts 1 where it is left empty and else 0, as in `validation`. Ties go
    to the rules that drop less. Without an annotated image the bundle's stay.
    """
    rules = predictor.bundle.card.nodes
    seen = [_seen(predictor, row, readers) for row in rows if row.mask is not None]
    best = (-1.0, rules)
    for fraction, peak in product(_FRACTIONS, _PEAKS):
        mean = float(np.mean([_dice(image, fraction, peak) for image in seen])) if seen else 0.0
        if mean > best[0] + 1e-9:
            best = (mean, replace(rules, min_fraction=fraction, min_peak=peak))
    return best[1] if seen else rules


@dataclass(frozen=True)
class _Seen:
    """What is above the threshold on one image, whatever becomes of it; areas in source pixels."""

    true: int  # area of the true mask
    found: tuple[tuple[float, float, int, int], ...]  # share of the crop, peak, area, area shared


def _dice(image: _Seen, fraction: float, peak: float) -> float:
    """Dice under these rules."""
    kept = [part for part in image.found if part[0] >= fraction and part[1] >= peak]
    total = image.true + sum(area for _, _, area, _ in kept)
    return 2 * sum(shared for *_, shared in kept) / total if total else 1.0


def _seen(predictor: Predictor, row: Row, readers: Readers) -> _Seen:
    """Read one image at the loosest rules."""
    mask = readers.mask_of(row)
    if mask is None:
        return _Seen(0, ())
    frame = readers.image(row.image, row.frame)
    card = predictor.bundle.card
    prepared = prepare(frame, declared_or_found(row, frame), card.input)
    on_crop = predictor.probability(prepared)
    x0, y0, _, _ = prepared.placement.source
    loose = replace(card.nodes, min_fraction=0.0, min_peak=0.0)
    parts = []
    for part in components(on_crop, (y0, x0), loose):
        height, width = part.mask.shape
        here = mask[part.row : part.row + height, part.column : part.column + width]
        shared = int((part.mask & here).sum())
        parts.append((part.area_px / on_crop.size, part.peak, part.area_px, shared))
    return _Seen(int(mask.sum()), tuple(parts))
