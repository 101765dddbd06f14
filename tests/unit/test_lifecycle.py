"""The tables of the state machines."""

from collections.abc import Mapping
from enum import StrEnum

import pytest

from daemon.errors import IllegalTransition
from daemon.lifecycle import (
    ANALYSIS,
    DELIVERY,
    STUDY,
    AnalysisState,
    DeliveryState,
    StudyState,
    check_move,
    diagram,
)

Machine = Mapping[StrEnum, frozenset[StrEnum]]
MACHINES = [
    pytest.param(STUDY, StudyState, StudyState.RECEIVING, id="study"),
    pytest.param(ANALYSIS, AnalysisState, AnalysisState.QUEUED, id="analysis"),
    pytest.param(DELIVERY, DeliveryState, DeliveryState.PENDING, id="delivery"),
]


def reached(table: Machine, start: StrEnum) -> set[StrEnum]:
    found, edge = {start}, [start]
    while edge:
        new = table[edge.pop()] - found
        found |= new
        edge += new
    return found


@pytest.mark.parametrize(("table", "states", "first"), MACHINES)
def test_every_state_has_a_row_and_is_reached(
    table: Machine, states: type[StrEnum], first: StrEnum
) -> None:
    assert set(table) == set(states)
    assert reached(table, first) == set(states)


@pytest.mark.parametrize(("table", "states", "first"), MACHINES)
def test_a_move_is_legal_exactly_where_the_table_says(
    table: Machine, states: type[StrEnum], first: StrEnum
) -> None:
    for old in states:
        for new in states:
            if new in table[old]:
                check_move(table, old, new)
            else:
                with pytest.raises(IllegalTransition, match=f"from {old} to {new}"):
                    check_move(table, old, new)


@pytest.mark.parametrize("old", list(StudyState))
def test_from_every_state_a_study_can_come_to_be_delivered(old: StudyState) -> None:
    assert StudyState.DELIVERED in reached(STUDY, old)


@pytest.mark.parametrize(
    "state",
    [StudyState.DELIVERED, StudyState.NOT_EVALUABLE, StudyState.IGNORED, StudyState.PARKED],
)
def test_a_late_instance_reopens_a_study_at_rest(state: StudyState) -> None:
    assert StudyState.RECEIVING in STUDY[state]


def test_what_is_done_stays_done() -> None:
    assert ANALYSIS[AnalysisState.DONE] == frozenset()
    # but for a person, who has it sent again (`daemon.by_hand`)
    assert DELIVERY[DeliveryState.DELIVERED] == {DeliveryState.PENDING}
    assert DELIVERY[DeliveryState.DROPPED] == {DeliveryState.PENDING}


def test_only_a_person_gives_a_delivery_up() -> None:
    """What waits for its turn is never dropped: it parks first, and a person sees it."""
    ways = {old for old, news in DELIVERY.items() if DeliveryState.DROPPED in news}
    assert ways == {DeliveryState.PARKED, DeliveryState.REPLACED}


def test_nobody_jumps_over_the_analysis() -> None:
    ways = {old for old, news in STUDY.items() if StudyState.ANALYSING in news}
    assert ways == {StudyState.QUEUED}


def test_the_diagram_shows_every_move() -> None:
    lines = diagram(DELIVERY).splitlines()
    assert lines == [
        "stateDiagram-v2",
        "    pending --> delivered",
        "    pending --> parked",
        "    pending --> replaced",
        "    pending --> stored",
        "    stored --> delivered",
        "    stored --> parked",
        "    stored --> pending",
        "    delivered --> pending",
        "    parked --> dropped",
        "    parked --> pending",
        "    replaced --> dropped",
        "    replaced --> pending",
        "    dropped --> pending",
    ]
