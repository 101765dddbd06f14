"""Features of a node given its pathology, and the best AUROC that they allow.

The conditional frequencies of `paper` are the counts of Table 1 of Wang et al. 2024 (199 patients
without and 67 with metastasis); the features are drawn independently given the label, so the
likelihood ratio of a combination is a product and the Bayes-optimal AUROC is a finite sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from model.training.phantom_records import Features

NAMES = ("large", "irregular", "unclear", "flow")
GREY = ("large", "irregular", "unclear")  # what a grey image can show


@dataclass(frozen=True)
class Preset:
    """A population of patients."""

    patients: int  # size of a cohort unless asked otherwise
    prevalence: float  # 0..1, share with metastasis
    negative: tuple[float, float, float, float]  # P(feature | no metastasis), order of NAMES
    positive: tuple[float, float, float, float]  # P(feature | metastasis)


PRESETS = {
    "paper": Preset(
        266,
        67 / 266,
        (157 / 199, 3 / 199, 27 / 199, 107 / 199),
        (51 / 67, 3 / 67, 22 / 67, 51 / 67),
    ),
    # Stronger than life, so that a network has something to learn. Size says nothing here: on a
    # picture without a ruler it cannot be seen, and the bound is meant to be reachable.
    "separable": Preset(266, 0.40, (0.80, 0.06, 0.07, 0.45), (0.80, 0.62, 0.86, 0.80)),
}


def draw(preset: Preset, rng: np.random.Generator) -> tuple[int, Features]:
    """Draw one patient: label (0 or 1) and features given the label."""
    label = int(rng.random() < preset.prevalence)
    chances = preset.positive if label else preset.negative
    return label, Features(*(bool(u < p) for u, p in zip(rng.random(4), chances, strict=True)))


def bayes_auroc(preset: str, visible: Sequence[str] = GREY) -> float:
    """Return the AUROC of the likelihood ratio over all combinations of the visible features.

    No classifier that sees only these features can do better in expectation.

    Parameters
    ----------
    preset
        Key of `PRESETS`.
    visible
        Names out of `NAMES`; by default those that a grey image shows.
    """
    population = PRESETS[preset]
    indices = [NAMES.index(name) for name in visible]
    negative = _combinations([population.negative[i] for i in indices])
    positive = _combinations([population.positive[i] for i in indices])
    ratio = positive / negative
    above = ratio[:, None] > ratio[None, :] * (1 + 1e-12)
    ties = np.isclose(ratio[:, None], ratio[None, :], rtol=1e-12)
    return float(positive @ (above + 0.5 * (ties & ~above)) @ negative)


def _combinations(chances: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the probability of every combination of independent yes-no features."""
    cells = [
        float(np.prod([p if yes else 1 - p for p, yes in zip(chances, combo, strict=True)]))
        for combo in product((False, True), repeat=len(chances))
    ]
    return np.array(cells, np.float64)
