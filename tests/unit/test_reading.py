"""From what was seen to what is said: sides, operating points, identity."""

from dataclasses import replace
from typing import Any

import pytest

from daemon.analysis import Analysis
from daemon.reading import Reader, reader
from dicom_io.findings import Evaluation, Exclusion, ImageRead, NodeFinding, Reason
from model.bundle_file import OperatingPoint
from tests import builders
from tests.builders_objects import findings, node, source, uid, view

POINT = OperatingPoint("max_accuracy", 0.6, 0.8, 0.9, (0.7, 0.9), (0.8, 0.95), 0.3)
RULE_IN = OperatingPoint("rule_in", 0.7, 0.4, 0.97)
RULE_OUT = OperatingPoint("rule_out", 0.2)


def made(*points: OperatingPoint, demonstration: bool = False, **settings: Any) -> Reader:
    values: dict[str, Any] = {
        "aggregation": "max",
        "operating_point": None,
        "ae_title": "AXNODE",
        "node_id": "node",
        **settings,
    }
    bundle = builders.bundle(*(points or (POINT, RULE_IN, RULE_OUT)), demonstration=demonstration)
    return reader(bundle, **values)


def nodes(*scores: tuple[str | None, float]) -> tuple[NodeFinding, ...]:
    ds = source(uid("study", 0))
    return tuple(
        replace(node(number, view(ds), side=side), score=score)
        for number, (side, score) in enumerate(scores, 1)
    )


def analysis(*scores: tuple[str | None, float], sides: tuple[str | None, ...] = ()) -> Analysis:
    known = sides or tuple(dict.fromkeys(side for side, _ in scores))
    images = tuple(ImageRead(f"1.2.{n}", (1,), None, (), side) for n, side in enumerate(known))
    return Analysis(images, nodes(*scores), ())


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.7, Evaluation.SUSPECTED),
        (0.9, Evaluation.SUSPECTED),
        (0.69, Evaluation.INDETERMINATE),
        (0.6, Evaluation.INDETERMINATE),
        (0.2, Evaluation.INDETERMINATE),
        (0.19, Evaluation.NOT_SUSPECTED),
    ],
)
def test_a_score_is_read_against_both_thresholds(score: float, expected: Evaluation) -> None:
    """And not against the operating point, which may be anywhere."""
    found = made().findings("1.2.3", 1, analysis(("R", score)))
    (side,) = found.sides
    assert (side.score, side.evaluation) == (score, expected)
    assert found.rule_in
    assert found.rule_out
    assert (found.rule_in.threshold, found.rule_out.threshold) == (0.7, 0.2)


def test_without_a_rule_in_point_nothing_is_suspected() -> None:
    (side,) = made(POINT, RULE_OUT).findings("1.2.3", 1, analysis(("R", 1.0))).sides
    assert side.evaluation is Evaluation.INDETERMINATE


def test_without_a_rule_out_point_nothing_is_ruled_out() -> None:
    (side,) = made(POINT).findings("1.2.3", 1, analysis(("R", 0.0))).sides
    assert side.evaluation is Evaluation.INDETERMINATE


@pytest.mark.parametrize("score", [0.0, 0.4, 1.0])
def test_a_demonstration_says_nothing_clinical(score: float) -> None:
    found = made(demonstration=True).findings("1.2.3", 1, analysis(("R", score)))
    assert [(side.score, side.evaluation) for side in found.sides] == [(score, None)]
    assert found.algorithm.demonstration
    assert (found.rule_in, found.rule_out) == (None, None)


@pytest.mark.parametrize(("how", "right"), [("max", 0.8), ("mean", 0.5)])
def test_sides_are_scored_apart(how: str, right: float) -> None:
    seen = analysis(("L", 0.1), ("R", 0.2), ("R", 0.8), (None, 0.3))
    found = made(aggregation=how).findings("1.2.3", 1, seen).sides
    assert [(side.laterality, side.node_numbers) for side in found] == [
        ("R", (2, 3)),
        ("L", (1,)),
        (None, (4,)),
    ]
    assert [side.score for side in found] == pytest.approx([right, 0.1, 0.3])


@pytest.mark.parametrize(("of_the_bundle", "score"), [("max", 0.8), ("mean", 0.5)])
def test_left_out_the_aggregation_is_the_bundles(of_the_bundle: str, score: float) -> None:
    """Its thresholds were chosen, and its sensitivity measured, on that score."""
    bundle = builders.bundle(POINT)
    card = replace(bundle.card, aggregation=of_the_bundle)  # type: ignore[arg-type]
    made_by = reader(
        replace(bundle, card=card),
        aggregation=None,
        operating_point=None,
        ae_title="A",
        node_id="node",
    )
    (side,) = made_by.findings("1.2.3", 1, analysis(("R", 0.2), ("R", 0.8))).sides
    assert side.score == pytest.approx(score)


def test_a_side_without_a_node_has_no_score() -> None:
    found = made().findings("1.2.3", 1, analysis(("R", 0.9), sides=("R", "L"))).sides
    assert (found[1].laterality, found[1].node_numbers, found[1].score, found[1].evaluation) == (
        "L",
        (),
        None,
        None,
    )


def test_the_first_operating_point_is_the_default_and_any_can_be_named() -> None:
    assert made().operating_point.name == "max_accuracy"
    chosen = made(operating_point="rule_out").operating_point
    assert (chosen.name, chosen.threshold) == ("rule_out", 0.2)
    with pytest.raises(KeyError):
        made(operating_point="none of these")


def test_everything_the_bundle_measured_is_told() -> None:
    point = made().operating_point
    for field in (
        "name",
        "threshold",
        "sensitivity",
        "specificity",
        "sensitivity_ci95",
        "specificity_ci95",
        "prevalence",
    ):
        assert getattr(point, field) == getattr(POINT, field)


def test_the_device_changes_with_the_bundle_and_the_node() -> None:
    def device(digest: str, node_id: str) -> str:
        bundle = builders.bundle(POINT, digest=digest)
        made_by = reader(
            bundle, aggregation="max", operating_point=None, ae_title="A", node_id=node_id
        )
        return made_by.findings("1.2.3", 1, analysis(("R", 0.5))).device_uid

    assert device("a" * 64, "one") == device("a" * 64, "one")
    assert len({device("a" * 64, "one"), device("b" * 64, "one"), device("a" * 64, "two")}) == 3


def test_an_image_that_was_read_makes_the_study_evaluable() -> None:
    seen = replace(
        analysis(sides=("R",)), exclusions=(Exclusion("1.2.9", None, Reason.UNDECODABLE),)
    )
    before = ("class", "uid", "series")
    found = made().findings("1.2.3", 3, seen, [before], 1)
    assert found.not_evaluable is None
    assert (found.version, found.predecessors, found.replaces) == (3, (before,), 1)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ((), Reason.NO_IMAGE),
        ((Reason.UNDECODABLE,), Reason.UNDECODABLE),
        ((Reason.UNDECODABLE, Reason.NO_B_MODE, Reason.NO_B_MODE), Reason.NO_B_MODE),
        ((Reason.TOO_SMALL, Reason.NO_B_MODE), Reason.TOO_SMALL),
    ],
)
def test_a_study_without_a_readable_image_says_why(
    reasons: tuple[Reason, ...], expected: Reason
) -> None:
    left_out = tuple(Exclusion(f"1.2.{n}", None, reason) for n, reason in enumerate(reasons))
    found = made().findings("1.2.3", 1, Analysis((), (), left_out))
    assert (found.not_evaluable, found.sides) == (expected, ())


def test_the_objects_builders_agree_with_the_reader() -> None:
    """The findings that other tests build by hand have the shape that the reader makes."""
    ds = source(uid("study", 0))
    by_hand = findings([ds], [node(1, view(ds))])
    by_reader = made().findings("1.2.3", 1, analysis(("R", 0.6125)))
    assert type(by_hand.sides[0]) is type(by_reader.sides[0])
    assert by_hand.sides[0].node_numbers == by_reader.sides[0].node_numbers
