"""Operating points by declared rules."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import TrainingError
from model.training.config import Points
from model.training.selection import Rule, choose, operating_points, parse

RNG = np.random.default_rng(2)
LABELS = np.repeat([0, 1], [300, 100]).astype(np.int8)
SCORES = 1 / (1 + np.exp(-(RNG.normal(size=400) + 1.5 * LABELS - 0.75)))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("max_accuracy", Rule("max_accuracy")),
        ("youden", Rule("youden")),
        ("specificity>=0.95", Rule("specificity", 0.95)),
        ("sensitivity >= 1", Rule("sensitivity", 1.0)),
        ("sensitivity>=.9", Rule("sensitivity", 0.9)),
    ],
)
def test_a_rule_is_read(text, rule) -> None:
    assert parse(text) == rule


@pytest.mark.parametrize(
    "text", ["", "best", "specificity", "specificity>0.9", "sensitivity>=95", "sensitivity>=1.1"]
)
def test_another_rule_is_refused(text) -> None:
    with pytest.raises(TrainingError, match="is no rule: write max_accuracy"):
        parse(text)


def test_points_are_named_by_their_rule_and_declared_ones_by_their_use() -> None:
    declared = Points(rule_in="specificity>=0.95", rule_out="sensitivity>=0.95")
    points = operating_points(SCORES, LABELS, declared)
    assert [point.name for point in points] == [
        "max_accuracy", "youden", "specificity>=0.95", "sensitivity>=0.90", "rule_in", "rule_out",
    ]  # fmt: skip
    by_name = {point.name: point for point in points}
    assert by_name["rule_in"].specificity >= 0.95
    assert by_name["rule_out"].sensitivity >= 0.95
    assert by_name["rule_out"].threshold < by_name["rule_in"].threshold
    assert {point.prevalence for point in points} == {0.25}


def test_nothing_is_ruled_in_or_out_unless_somebody_declares_it() -> None:
    """On a small validation part a limit that looks safe is none."""
    points = operating_points(SCORES, LABELS, Points(("youden",)))
    assert [point.name for point in points] == ["youden"]


def test_a_wrong_declared_rule_is_refused() -> None:
    wrong = dataclasses.replace(Points(), rule_in="specificity")
    with pytest.raises(TrainingError, match="'specificity' is no rule"):
        operating_points(SCORES, LABELS, wrong)
    with pytest.raises(TrainingError, match="at least one rule"):
        operating_points(SCORES, LABELS, Points(named=()))


def test_greatest_accuracy_is_the_greatest() -> None:
    best = max(((t <= SCORES) == LABELS).mean() for t in np.linspace(0, 1, 2001))
    at = choose(Rule("max_accuracy"), SCORES, LABELS).threshold
    assert ((at <= SCORES) == LABELS).mean() >= best


def test_ties_go_to_the_higher_specificity() -> None:
    """0.3 and 0.7 are right equally often; the higher threshold is the more specific one."""
    scores, labels = np.array([0.2, 0.4, 0.5, 0.9]), np.array([0, 1, 0, 1], np.int8)
    found = choose(Rule("max_accuracy"), scores, labels)
    assert (found.threshold, found.specificity) == (pytest.approx(0.7), 1.0)


pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1)), min_size=1, max_size=40)


@given(pairs, st.sampled_from(["specificity", "sensitivity"]), st.floats(0, 1))
def test_a_floor_is_kept_and_no_threshold_does_better(drawn, what, least) -> None:
    """Against every threshold tried one by one."""
    scores = np.array([score / 10 for score, _ in drawn])
    labels = np.array([label for _, label in drawn], np.int8)
    found = choose(Rule(what, least), scores, labels)
    tried = []
    for threshold in np.arange(-0.05, 1.05, 0.1).clip(0, 1):
        above = scores >= threshold
        rates = {
            "sensitivity": (above & (labels == 1)).sum() / max((labels == 1).sum(), 1),
            "specificity": (~above & (labels == 0)).sum() / max((labels == 0).sum(), 1),
        }
        other = "sensitivity" if what == "specificity" else "specificity"
        if rates[what] >= least:
            tried.append((rates[other], rates["specificity"]))
    got = (found.sensitivity or 0.0, found.specificity or 0.0)
    best = max(tried, default=None)
    if best is not None:
        expected = best[0] if what == "specificity" else best[1]
        assert (got[0] if what == "specificity" else got[1]) == pytest.approx(expected, abs=1e-4)
