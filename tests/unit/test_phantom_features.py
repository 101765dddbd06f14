"""Features given the label, and the bound that follows."""

import numpy as np
import pytest

from model.training.phantom import GREY, PRESETS, bayes_auroc, patient_of
from model.training.phantom_features import NAMES, Preset

ALL = NAMES


def test_the_bound_of_the_paper_is_the_one_of_table_1() -> None:
    assert bayes_auroc("paper", GREY) == pytest.approx(0.61, abs=0.005)
    assert bayes_auroc("paper", ALL) == pytest.approx(0.68, abs=0.005)


def test_the_separable_bound_is_at_least_090() -> None:
    assert bayes_auroc("separable") >= 0.90


def test_one_feature_has_a_bound_that_can_be_written_down() -> None:
    preset = PRESETS["paper"]
    index = NAMES.index("unclear")
    expected = 0.5 + abs(preset.positive[index] - preset.negative[index]) / 2

    assert expected == pytest.approx(bayes_auroc("paper", ["unclear"]))


def test_no_visible_feature_is_chance() -> None:
    assert bayes_auroc("separable", []) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["paper", "separable"])
def test_drawn_patients_follow_the_preset_and_reach_its_bound(name: str) -> None:
    preset = PRESETS[name]
    patients = [patient_of(3, number, name) for number in range(6000)]
    labels = np.array([label for label, _, _ in patients])
    shown = np.array([[getattr(f, n) for n in NAMES] for _, f, _ in patients])

    assert labels.mean() == pytest.approx(preset.prevalence, abs=0.02)
    assert shown[labels == 1].mean(0) == pytest.approx(preset.positive, abs=0.04)
    assert shown[labels == 0].mean(0) == pytest.approx(preset.negative, abs=0.04)
    assert _auroc(labels, _score(preset, shown)) == pytest.approx(bayes_auroc(name), abs=0.025)


def _score(preset: Preset, shown: np.ndarray) -> np.ndarray:
    visible = [NAMES.index(name) for name in GREY]
    positive, negative = (np.array(p)[visible] for p in (preset.positive, preset.negative))
    values = shown[:, visible]
    chances = [np.where(values, p, 1 - p) for p in (positive, negative)]
    return np.asarray(np.log(chances[0] / chances[1]).sum(1))


def _auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    positive, negative = scores[labels == 1], scores[labels == 0]
    above = (positive[:, None] > negative[None, :] + 1e-9).mean()
    return float(above + 0.5 * (np.abs(positive[:, None] - negative[None, :]) <= 1e-9).mean())


def test_features_are_named_in_the_words_of_the_paper() -> None:
    _, features, _ = patient_of(3, 1)

    assert set(features.row()) == {"size", "shape", "cmd", "flow"}
