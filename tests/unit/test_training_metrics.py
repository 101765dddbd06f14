import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.training import metrics
from model.training.evaluation import ImageResult, patients, report


def test_dice_and_iou_by_hand() -> None:
    a, b = np.array([1, 1, 1, 0], bool), np.array([0, 1, 1, 1], bool)
    assert (metrics.dice(a, b), metrics.iou(a, b)) == (4 / 6, 0.5)
    assert (metrics.dice(a & False, b & False), metrics.iou(a & False, b & False)) == (1, 1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=2, max_size=30))
def test_auroc_is_the_share_of_pairs_in_the_right_order(pairs) -> None:
    scores, labels = (
        np.array([p[0] for p in pairs], float),
        np.array([p[1] for p in pairs], np.int8),
    )
    positive, negative = scores[labels == 1], scores[labels == 0]
    if not len(positive) or not len(negative):
        assert math.isnan(metrics.auroc(scores, labels))
        return
    gaps = positive[:, None] - negative[None]
    expected = ((gaps > 0) + 0.5 * (gaps == 0)).mean()
    assert metrics.auroc(scores, labels) == pytest.approx(expected)


def test_wilson_of_the_paper_s_sensitivity() -> None:
    """4 of 7."""
    low, high = metrics.wilson(4, 7)
    assert (round(low, 3), round(high, 3)) == (0.250, 0.842)
    assert metrics.wilson(0, 0) is None


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_recovered(temperature) -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(size=20000) * 2
    labels = (rng.random(20000) < 1 / (1 + np.exp(-true))).astype(np.int8)
    assert metrics.fit_temperature(true * temperature, labels) == pytest.approx(
        temperature, rel=0.1
    )


def test_temperature_of_one_class_is_one() -> None:
    assert metrics.fit_temperature(np.array([1.0, 2.0]), np.array([1, 1], np.int8)) == 1.0


def _result(patient: str, label: int | None, score: float | None) -> ImageResult:
    return ImageResult(patient, label, score, None, None, None, int(score is not None), 0.1)


def test_a_patient_s_score_is_the_greatest_and_zero_without_a_node() -> None:
    results = [
        _result("a", 1, 0.2),
        _result("a", 1, 0.7),
        _result("b", 0, None),
        _result("c", None, 0.9),
    ]
    assert [(p.label, p.score, p.segmented) for p in patients(results)] == [
        (1, 0.7, True),
        (0, 0.0, False),
    ]


def test_report_counts_images_with_and_without_a_node_apart() -> None:
    results = [
        ImageResult("a", 1, 0.9, 0.8, 0.7, 1, 1, 0.1),
        ImageResult("b", 0, None, 0.0, 0.0, 1, 0, 0.1),
        ImageResult("c", None, None, 1.0, 1.0, 0, 0, 0.1),
        ImageResult("d", None, 0.4, 0.0, 0.0, 0, 1, 0.1),
    ]
    said = report(results)["segmentation"]
    assert said["dice_mean"] == 0.4
    assert (
        said["n_with_node"], said["missed"], said["n_without_node"],
        said["without_node_left_empty"], said["node_count_exact"],
    ) == (2, 1, 2, 1, 2)  # fmt: skip
