"""Where a study comes to rest."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from daemon import schema
from daemon.lifecycle import StudyState
from daemon.rest import resting_state
from tests import builders
from tests.builders import Rows

pytestmark = pytest.mark.engines


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with builders.database(tmp_path) as opened:
        yield Rows(opened)


def at_rest(rows: Rows, *states: str, not_evaluable: bool = False) -> tuple[StudyState, str]:
    """Finish a study whose objects' deliveries are in these states; return where it rests."""
    rows.queued()
    why = ("no_b_mode", "no B-mode tissue region on the image") if not_evaluable else None
    built = [builders.stored(n) for n in range(len(states))]
    rows.finish(rows.claimed(), built, ["pacs"], why)
    for number, state in enumerate(states, 1):
        rows.database.write(
            lambda c, number=number, state=state: c.execute(
                update(schema.deliveries)
                .where(schema.deliveries.c.id == number)
                .values(state=state)
            )
        )
    with rows.database.read() as connection:
        return resting_state(connection, rows.study().id)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("pending", "delivered"), (StudyState.DELIVERING, "1 delivery to go")),
        (
            ("stored", "delivered"),
            (StudyState.DELIVERING, "1 delivery waits for storage commitment"),
        ),
        (("stored", "pending"), (StudyState.DELIVERING, "1 delivery to go")),
        (("delivered", "delivered"), (StudyState.DELIVERED, "2 deliveries confirmed")),
        (
            ("parked", "pending", "delivered"),
            (StudyState.PARKED, "1 delivery needs a person: see axnode status"),
        ),
        (("dropped", "pending"), (StudyState.DELIVERING, "1 delivery to go")),
        (("dropped", "delivered"), (StudyState.DELIVERED, "1 delivery confirmed")),
        (
            ("replaced", "delivered"),
            (
                StudyState.DELIVERED,
                "1 delivery confirmed, pictures in place of what was refused "
                "(axnode retry sends it again)",
            ),
        ),
        (("dropped", "dropped"), (StudyState.DELIVERED, "deliveries were given up by hand")),
    ],
)
def test_deliveries_decide(
    rows: Rows, states: tuple[str, ...], expected: tuple[StudyState, str]
) -> None:
    assert at_rest(rows, *states) == expected


def test_without_a_destination_it_is_delivered_and_says_so(rows: Rows) -> None:
    rows.queued()
    rows.finish(rows.claimed(), [builders.stored(0)])
    study = rows.study()
    assert (study.state, study.reason) == ("delivered", "no destination is configured")


def test_where_no_object_was_made_it_says_so(rows: Rows) -> None:
    assert at_rest(rows) == (
        StudyState.DELIVERED,
        "no object was made: no node was segmented and results.sr is off",
    )


def test_what_is_not_evaluable_and_reported_nowhere_keeps_its_reason(rows: Rows) -> None:
    state, reason = at_rest(rows, not_evaluable=True)
    assert state is StudyState.NOT_EVALUABLE
    assert reason.startswith("no B-mode tissue region on the image; no object was made")


def test_what_is_not_evaluable_says_why_after_its_report_was_delivered(rows: Rows) -> None:
    state, reason = at_rest(rows, "delivered", not_evaluable=True)
    assert state is StudyState.NOT_EVALUABLE
    assert reason == "no B-mode tissue region on the image; 1 delivery confirmed"


def test_what_is_not_evaluable_is_delivering_until_its_report_is_there(rows: Rows) -> None:
    assert at_rest(rows, "pending", not_evaluable=True)[0] is StudyState.DELIVERING


def test_a_parked_analysis_parks_the_study_with_its_reason(rows: Rows) -> None:
    rows.queued()
    for _ in range(3):
        rows.fail(rows.claimed(), "cannot read it")
        rows.clock.advance(60)
    with rows.database.read() as connection:
        found = resting_state(connection, rows.study().id)
    assert found == (StudyState.PARKED, "cannot read it (3 attempts)")


def test_an_earlier_versions_open_deliveries_count_too(rows: Rows) -> None:
    """Nothing that the PACS has not got is forgotten because something newer came."""
    rows.queued()
    rows.finish(rows.claimed(), [builders.stored(0)], ["pacs"])
    rows.receive("1.2.3.2")
    rows.assemble()
    rows.clock.advance(builders.INTERVAL_S)
    rows.finish(rows.claimed(), [builders.stored(1)], [])
    assert (rows.study().state, rows.study().version) == ("delivering", 2)
