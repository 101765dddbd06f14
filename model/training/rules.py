"""Which components count as nodes: chosen on the validation part, like the operating points."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from scipy import ndimage

from model.nodes import Rules, components
from model.preprocess import prepare
from model.runtime import Predictor
from model.training.data import Readers
from model.training.evaluation import declared_or_found
from model.training.index import Row

_FRACTIONS = (0.001, 0.002, 0.003, 0.005)  # a node of 5 mm is about 0.008
_PEAKS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


def choose(predictor: Predictor, rows: Sequence[Row], readers: Readers) -> Rules:
    """Return the rules under which most annotated images have the right number of nodes.

    Ties go to the rules that drop less. Without an annotated image the bundle's stay.
    """
    rules = predictor.bundle.card.nodes
    seen = [_components(predictor, row, readers) for row in rows if row.mask is not None]
    best = (-1, rules)
    for fraction, peak in product(_FRACTIONS, _PEAKS):
        exact = sum(
            true == sum(size >= fraction and high >= peak for size, high in found)
            for true, found in seen
        )
        if exact > best[0]:
            best = (exact, replace(rules, min_fraction=fraction, min_peak=peak))
    return best[1] if seen else rules


def _components(
    predictor: Predictor, row: Row, readers: Readers
) -> tuple[int, list[tuple[float, float]]]:
    """Count the true nodes; share of the crop and peak of everything above the threshold."""
    mask = readers.mask_of(row)
    if mask is None:
        return 0, []
    frame = readers.image(row.image, row.frame)
    card = predictor.bundle.card
    prepared = prepare(frame, declared_or_found(row, frame), card.input)
    on_crop = predictor.probability(prepared)
    loose = replace(card.nodes, min_fraction=0.0, min_peak=0.0)
    found = [(c.area_px / on_crop.size, c.peak) for c in components(on_crop, rules=loose)]
    true = ndimage.label(mask, np.ones((3, 3)))[1]
    return int(true), found
