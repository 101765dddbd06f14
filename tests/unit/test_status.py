"""What the rows say of the node's state."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import status
from daemon.spool import Spool
from daemon.status import Page
from daemon.store import add_refusal
from tests import builders
from tests.builders import Rows
from tests.fakes import NOON_US


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with builders.database(tmp_path) as opened:
        yield Rows(opened)


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


def test_a_study_at_rest_waits_for_nobody(rows: Rows) -> None:
    rows.queued()
    rows.finish(rows.claimed())
    with rows.database.read() as connection:
        assert status.oldest_waiting_s(connection, rows.clock()) is None


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
        found = status.refusals(connection, most=2)
    assert [item["calling_ae"] for item in found] == ["A4", "A3"]
    json.dumps(found)


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
