"""Intervals, curves, distances and calibration against brute force, scipy and published figures."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from model.training import calibration, intervals, metrics
from tests.builders_net import ellipse

# Hanley and McNeil 1982, Table I: 109 CT images by rating; 58 normal, 51 abnormal
NORMAL, ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
CASES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=2, max_size=25)


def hanley() -> tuple[np.ndarray, np.ndarray]:
    ratings = np.concatenate([np.repeat(range(1, 6), part) for part in (NORMAL, ABNORMAL)])
    return ratings.astype(float), np.repeat([0, 1], [58, 51]).astype(np.int8)


def cases(pairs) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = zip(*pairs, strict=True)
    return np.array(scores, float), np.array(labels, np.int8)


def simulated(count: int, seed: int = 0, tilt: float = 1.0, shift: float = 0.0):
    """Patients whose logit is `tilt` times the true one, and `shift` too high."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=count) * 1.5 - 0.5
    labels = (rng.random(count) < 1 / (1 + np.exp(-true))).astype(np.int8)
    return 1 / (1 + np.exp(-(true * tilt + shift))), labels


# area under the ROC curve


def test_delong_of_a_published_example() -> None:
    """Stata's manual, [R] roctab, gives these four figures for the data of Hanley and McNeil."""
    area = intervals.delong(*hanley())
    assert (round(area.value, 4), round(area.standard_error, 4)) == (0.8932, 0.0307)
    assert [round(v, 4) for v in area.ci95] == [0.8330, 0.9534]


def test_delong_agrees_with_hanley_and_mcneil_s_own_error() -> None:
    """Their formula rests on an assumed distribution: 0.032 here, near and not the same."""
    area = intervals.delong(*hanley()).value
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + 50 * (q1 - area**2) + 57 * (q2 - area**2)
    theirs = math.sqrt(spread / (51 * 58))
    assert intervals.delong(*hanley()).standard_error == pytest.approx(theirs, rel=0.1)


@given(CASES)
def test_delong_is_the_variance_of_placement_values(pairs) -> None:
    """By brute force over all pairs: DeLong 1988, equations 3 to 6."""
    scores, labels = cases(pairs)
    positive, negative = scores[labels == 1], scores[labels == 0]
    assume(len(positive) > 1 and len(negative) > 1)
    wins = [[1.0 if p > n else 0.5 if p == n else 0.0 for n in negative] for p in positive]
    rows, columns = np.mean(wins, axis=1), np.mean(wins, axis=0)
    variance = np.var(rows, ddof=1) / len(rows) + np.var(columns, ddof=1) / len(columns)
    area = intervals.delong(scores, labels)
    assert area.value == pytest.approx(np.mean(wins))
    assert area.value == pytest.approx(metrics.auroc(scores, labels))
    assert area.standard_error == pytest.approx(math.sqrt(variance), abs=1e-9)


def test_delong_of_one_class_and_of_a_single_patient() -> None:
    assert intervals.delong(*cases([(0.1, 1), (0.2, 1)])) is None
    lone = intervals.delong(*cases([(0.9, 1), (0.2, 0), (0.1, 0)]))
    assert (lone.value, lone.ci95) == (1.0, None)


def test_delong_covers_the_true_area_about_as_often_as_it_says() -> None:
    """Two normals one apart: the true area is 0.7602. 400 draws: 95 % within 3 standard errors."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], 40).astype(np.int8)
    areas = [intervals.delong(rng.normal(size=80) + labels, labels) for _ in range(400)]
    held = np.mean([a.ci95[0] <= 0.7602 <= a.ci95[1] for a in areas])
    assert 0.91 < held < 0.99


def test_the_stratified_bootstrap_is_near_delong_and_repeats() -> None:
    scores, labels = simulated(200)
    found = intervals.stratified_bootstrap(metrics.auroc, scores, labels)
    assert found == pytest.approx(intervals.delong(scores, labels).ci95, abs=0.02)
    assert found == intervals.stratified_bootstrap(metrics.auroc, scores, labels)
    assert intervals.stratified_bootstrap(metrics.auroc, scores, labels * 0) is None


# curves


@given(CASES)
def test_curves_and_average_precision_by_brute_force(pairs) -> None:
    scores, labels = cases(pairs)
    assume(0 < labels.sum() < len(labels))
    cuts = sorted(set(scores), reverse=True)
    positive, negative = labels == 1, labels == 0
    recall = [(scores[positive] >= cut).mean() for cut in cuts]
    precision = [positive[scores >= cut].mean() for cut in cuts]
    alarms = [(scores[negative] >= cut).mean() for cut in cuts]
    area = sum(p * (r - b) for p, r, b in zip(precision, recall, [0, *recall], strict=False))
    assert metrics.average_precision(scores, labels) == pytest.approx(area)
    got = metrics.precision_recall(scores, labels)
    assert [list(part) for part in got] == [pytest.approx(recall), pytest.approx(precision)]
    false, true = metrics.roc(scores, labels)
    assert (list(false), list(true)) == (pytest.approx([0, *alarms]), pytest.approx([0, *recall]))
    assert np.trapezoid(true, false) == pytest.approx(metrics.auroc(scores, labels))


def test_average_precision_needs_both_classes() -> None:
    assert math.isnan(metrics.average_precision(*cases([(0.1, 1), (0.2, 1)])))
    assert math.isnan(metrics.average_precision(*cases([(0.1, 0), (0.2, 0)])))


def test_areas_agree_with_scikit_learn() -> None:
    for seed in range(5):
        scores, labels = simulated(150, seed)
        scores = np.round(scores, 1)  # many ties
        ours = metrics.auroc(scores, labels), metrics.average_precision(scores, labels)
        theirs = (
            roc_auc_score(labels, scores),
            average_precision_score(labels, scores),
        )
        assert ours == pytest.approx(theirs, abs=1e-12)
        assert calibration.brier(scores, labels) == pytest.approx(
            brier_score_loss(labels, scores), abs=1e-12
        )


# proportions and means


@given(st.integers(1, 400), st.data())
def test_wilson_is_scipy_s(total, data) -> None:
    hits = data.draw(st.integers(0, total))
    theirs = binomtest(hits, total).proportion_ci(method="wilson")
    assert metrics.wilson(hits, total) == pytest.approx(tuple(theirs), abs=1e-6)


def test_images_of_one_patient_are_drawn_together() -> None:
    """Ten like images of a patient say as much as one, so that the interval does not shrink."""
    rng = np.random.default_rng(0)
    values, names = rng.random(20).tolist(), [f"p{n}" for n in range(20)]
    single = intervals.mean_and_median(values, names)
    tenfold = intervals.mean_and_median(values * 10, names * 10)
    assert tenfold[0] == pytest.approx(single[0])
    loose = intervals.mean_and_median(values * 10, [f"p{n}" for n in range(200)])
    assert loose[0][1] - loose[0][0] < 0.5 * (single[0][1] - single[0][0])


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(size=300)
    mean, median = intervals.mean_and_median(values.tolist(), [str(n) for n in range(300)])
    half = 1.96 * values.std() / math.sqrt(300)
    assert mean == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert median[0] < np.median(values) < median[1]
    assert intervals.mean_and_median([0.5, 0.6], ["one", "one"]) is None


# distances


def test_hausdorff_of_a_shifted_square_and_its_unit() -> None:
    one, other = np.zeros((2, 40, 40), bool)
    one[10:20, 10:20] = other[10:20, 16:26] = True
    assert metrics.hausdorff95(one, other) == 6.0
    assert metrics.hausdorff95(one, other, (0.5, 0.25)) == 1.5  # six columns of 0.25 mm
    assert metrics.hausdorff95(one, one) == 0.0


def test_hausdorff_is_the_greater_direction_by_brute_force() -> None:
    one = ellipse((60, 70), (30, 28), (30, 20))
    other = ellipse((60, 70), (38, 30), (44, 16), 20)
    rims = [np.argwhere(m & ~_eroded(m)) * (0.3, 0.2) for m in (one, other)]
    gaps = np.linalg.norm(rims[0][:, None] - rims[1][None], axis=2)
    expected = max(np.percentile(gaps.min(1), 95), np.percentile(gaps.min(0), 95))
    assert metrics.hausdorff95(one, other, (0.3, 0.2)) == pytest.approx(expected)
    assert metrics.hausdorff95(other, one, (0.3, 0.2)) == pytest.approx(expected)


def _eroded(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    return (
        mask & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    )  # fmt: skip


# calibration


def test_a_calibrated_score_has_intercept_0_and_slope_1() -> None:
    scores, labels = simulated(4000)
    intercept, slope = calibration.intercept(scores, labels), calibration.slope(scores, labels)
    assert intercept.ci95[0] < 0 < intercept.ci95[1]
    assert slope.ci95[0] < 1 < slope.ci95[1]


def test_a_bold_score_has_a_slope_below_1_and_a_high_one_an_intercept_below_0() -> None:
    assert calibration.slope(*simulated(4000, tilt=2.0)).value == pytest.approx(0.5, abs=0.05)
    high = calibration.intercept(*simulated(4000, shift=0.8))
    assert high.value == pytest.approx(-0.8, abs=0.1)


def test_the_fit_is_the_greatest_likelihood() -> None:
    """The score equations of logistic regression: residuals are orthogonal to the design."""
    scores, labels = simulated(300, tilt=1.4)
    logits = np.log(scores / (1 - scores))
    best = calibration.slope(scores, labels).value
    grid = [best - 0.02, best, best + 0.02]

    def surprise(slope: float) -> float:
        shifts = np.linspace(-2, 2, 4001)[:, None]
        whole = shifts + slope * logits
        return float((np.logaddexp(0, whole) - labels * whole).sum(1).min())

    assert int(np.argmin([surprise(value) for value in grid])) == 1


@pytest.mark.parametrize(
    "pairs",
    [
        [(0.1, 0), (0.2, 0), (0.8, 1), (0.9, 1)],  # separated
        [(0.1, 1), (0.2, 1)],  # one class
        [(0.5, 0), (0.5, 1), (0.5, 1)],  # one score
    ],
)
def test_where_no_slope_can_be_told_none_is(pairs) -> None:
    assert calibration.slope(*cases(pairs)) is None


def test_reliability_groups_hold_everybody_once() -> None:
    scores, labels = simulated(205)
    bins = calibration.reliability(scores, labels)
    assert (len(bins), sum(group.count for group in bins)) == (10, 205)
    assert [group.score for group in bins] == sorted(group.score for group in bins)
    assert sum(g.observed * g.count for g in bins) == pytest.approx(labels.sum())
    assert all(g.ci95[0] <= g.observed <= g.ci95[1] for g in bins)


def test_net_benefit_by_hand() -> None:
    """At 0.25 a false alarm costs a third of a hit: (2 - 1 / 3) / 5."""
    scores, labels = cases([(0.9, 1), (0.3, 1), (0.1, 1), (0.4, 0), (0.2, 0)])
    assert calibration.net_benefit(scores, labels, 0.25) == pytest.approx((2 - 1 / 3) / 5)
