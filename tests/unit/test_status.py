"""What the rows say of the node's state."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, select, update

from daemon import schema, status
from daemon.errors import InputError
from daemon.lifecycle import DeliveryState, StudyState
from daemon.refused import refusals
from daemon.spool import Spool
from daemon.status import Page
from daemon.store import add_refusal
from tests import builders
from tests.builders import Rows
from tests.fakes import NOON_US

pytestmark = pytest.mark.engines


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with builders.database(tmp_path) as opened:
        yield Rows(opened)


def test_rows_lie_where_the_name_of_a_test_says(rows: Rows, request: pytest.FixtureRequest) -> None:
    """Of all that are marked `engines`, for this one stands for them."""
    with rows.database.read() as connection:
        assert connection.dialect.name == request.node.callspec.params["engine"]


def test_every_state_is_counted(rows: Rows) -> None:
    with rows.database.read() as connection:
        assert set(status.counts(connection).values()) == {0}
    rows.queued("1.1.1", "1.1")
    rows.receive("1.2.1", study="1.2")
    rows.receive("1.3.1", study="1.3")
    with rows.database.read() as connection:
        found = status.counts(connection)
    assert (found["queued"], found["receiving"], found["delivered"]) == (1, 2, 0)
    assert len(found) == 8


def test_the_oldest_waiting_study_tells_its_age(rows: Rows) -> None:
    with rows.database.read() as connection:
        assert status.oldest_waiting_s(connection, NOON_US) is None
    rows.queued("1.1.1", "1.1")
    rows.clock.advance(60)
    rows.receive("1.2.1", study="1.2")
    rows.clock.advance(10)
    with rows.database.read() as connection:
        assert status.oldest_waiting_s(connection, rows.clock()) == builders.QUIET_S + 70
        assert status.oldest_waiting_s(connection, NOON_US - 1) == 0.0


def test_a_study_waits_until_it_has_results(rows: Rows) -> None:
    def waited_s() -> float | None:
        with rows.database.read() as connection:
            return status.oldest_waiting_s(connection, rows.clock())

    rows.receive()
    assert waited_s() == 0
    rows.assemble()
    assert waited_s() == builders.QUIET_S
    job = rows.claimed()
    assert waited_s() == builders.QUIET_S
    rows.finish(job)
    assert waited_s() is None


def test_destinations_are_counted_each(rows: Rows, tmp_path: Path) -> None:
    rows.delivering(Spool(tmp_path / "objects"), ["pacs", "archive"], count=3)
    with rows.database.read() as connection:
        found = {item["name"]: item for item in status.destinations(connection, ["pacs", "unused"])}
    pacs, unused = found["pacs"], found["unused"]
    assert (pacs["pending"], pacs["delivered"], pacs["parked"]) == (3, 0, 0)
    assert (unused["pending"], unused["last_failure"]) == (0, "")
    assert found["archive"]["pending"] == 3  # no longer configured, and not forgotten


def test_refusals_come_latest_first(rows: Rows) -> None:
    for number in range(5):
        rows.database.write(
            lambda c, number=number: add_refusal(c, "10.0.0.1", f"A{number}", "x", "", "r", number)
        )
    with rows.database.read() as connection:
        found = refusals(connection, "AXNODE")
    # of one peer and one reason are one, so that a tool that offers everything hides nobody
    assert [item.calling_ae for item in found] == ["A4", "A3", "A2", "A1", "A0"]


def test_studies_are_listed_as_promised(rows: Rows) -> None:
    rows.receive("1.1.1", study="1.1")
    rows.receive("1.1.2", study="1.1")
    rows.clock.advance(1)
    rows.queued("1.2.1", "1.2")
    with rows.database.read() as connection:
        found = status.studies(connection)
        queued = status.studies(connection, Page(state="queued"))
    assert [item["study_uid"] for item in found] == ["1.2", "1.1"]
    assert {"study_uid", "state", "reason", "instances", "version"} <= set(found[0])
    assert (found[1]["instances"], found[1]["version"]) == (2, 1)
    assert [item["study_uid"] for item in queued] == ["1.2", "1.1"]
    json.dumps(found)


def page(rows: Rows, **wanted: Any) -> list[str]:
    """Return the study UIDs of a page."""
    with rows.database.read() as connection:
        return [item["study_uid"] for item in status.studies(connection, Page(**wanted))]


def test_pages_follow_each_other_and_miss_nothing(rows: Rows) -> None:
    """Also where several studies began at one moment, and one gets a late image meanwhile."""
    for number in range(7):
        rows.receive(f"1.{number}.1", study=f"1.{number}")
        rows.clock.advance(number % 2)
    with rows.database.read() as connection:
        first = status.studies(connection, Page(most=3))
    rows.receive("1.0.2", study="1.0")
    then = page(rows, most=3, after=tuple(first[-1]["key"]))
    assert [item["study_uid"] for item in first] == ["1.6", "1.5", "1.4"]
    assert then == ["1.3", "1.2", "1.1"]


def test_a_page_holds_what_is_asked_for(rows: Rows) -> None:
    start = rows.clock()
    rows.queued("1.1.1", "1.1")
    rows.clock.advance(10)
    rows.receive("1.2.1", study="1.2", source="US2")
    rows.receive("1.2.2", study="1.2", source="US3")  # the first counts
    later = rows.clock()
    assert page(rows, state="queued") == ["1.1"]
    assert page(rows, source_ae="US2") == ["1.2"]
    assert page(rows, source_ae="US3") == []
    assert page(rows, source_ae="US2", state="queued") == []
    assert page(rows, since_us=later) == ["1.2"]
    assert page(rows, until_us=later) == ["1.1"]
    assert page(rows, since_us=start, until_us=later + 1) == ["1.2", "1.1"]


def test_counts_follow_every_way_of_changing_rows(rows: Rows, tmp_path: Path) -> None:
    """By the state machine, and behind its back: inserted, moved together, deleted."""
    rows.delivering(Spool(tmp_path / "objects"), ["pacs"], count=3)
    rows.receive("1.8.1", study="1.8")
    assert counted(rows) == {"delivering": 1, "receiving": 1}
    studies, deliveries = schema.studies, schema.deliveries
    rows.database.write(
        lambda c: c.execute(update(studies).values(state=StudyState.PARKED, purged_us=5)) and None
    )
    rows.database.write(
        lambda c: c.execute(update(deliveries).values(state=DeliveryState.PARKED)) and None
    )
    assert counted(rows) == {"parked": 2}
    with rows.database.read() as connection:
        (pacs,) = status.destinations(connection, [])
        assert (pacs["name"], pacs["pending"], pacs["parked"]) == ("pacs", 0, 3)
        assert status.purged(connection) == {"studies": 2, "last_us": 5}
    rows.database.write(
        lambda c: (
            c.execute(update(studies).values(purged_us=None).where(studies.c.id == 1)) and None
        )
    )
    rows.database.write(lambda c: c.execute(delete(deliveries).where(deliveries.c.id < 3)) and None)
    with rows.database.read() as connection:
        assert status.purged(connection)["studies"] == 1
        assert status.destinations(connection, ["pacs"])[0]["parked"] == 1


def test_what_is_rolled_back_is_not_counted(rows: Rows) -> None:
    rows.receive("1.8.1", study="1.8")

    def fails(connection: Connection) -> None:
        connection.execute(update(schema.studies).values(state=StudyState.PARKED))
        raise InputError("no")

    with pytest.raises(InputError):
        rows.database.write(fails)
    assert counted(rows) == {"receiving": 1}


def counted(rows: Rows) -> dict[str, int]:
    """Return the counts that are not zero, once they are seen to be those of the rows."""
    with rows.database.read() as connection:
        found = {state: number for state, number in status.counts(connection).items() if number}
        state = schema.studies.c.state
        query = select(state, func.count()).group_by(state)
        assert found == dict(map(tuple, connection.execute(query)))
    return found
