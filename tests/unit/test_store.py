"""Rows of reception."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from daemon import schema
from daemon.lifecycle import StudyState
from daemon.store import add_conflict, add_refusal, is_result, is_spooled
from tests import builders
from tests.builders import Rows

pytestmark = pytest.mark.engines


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with builders.database(tmp_path) as opened:
        yield Rows(opened)


def test_the_first_instance_opens_its_study(rows: Rows) -> None:
    assert rows.receive() is None
    study = rows.study()
    assert (study.state, study.version, study.unassembled) == (StudyState.RECEIVING, 0, True)
    assert study.received_us == study.last_instance_us == rows.clock()
    assert rows.story() == ["receiving"]


def test_further_instances_join_it(rows: Rows) -> None:
    rows.receive("1.1")
    rows.clock.advance(5)
    rows.receive("1.2")
    study = rows.study()
    assert study.last_instance_us - study.received_us == 5_000_000
    assert [row.study_id for row in rows.all(schema.instances)] == [study.id, study.id]
    assert rows.story() == ["receiving"]


def test_a_known_uid_changes_nothing_and_is_returned(rows: Rows) -> None:
    rows.receive("1.1")
    rows.assemble()
    before = rows.all(schema.studies), rows.all(schema.instances), rows.all(schema.events)
    known = rows.receive("1.1", content="other", patient="q")
    assert known is not None
    assert known.instance_hash == rows.all(schema.instances)[0].instance_hash
    assert (known.instance_id, known.study_id) == (1, 1)
    after = rows.all(schema.studies), rows.all(schema.instances), rows.all(schema.events)
    assert after == before


@pytest.mark.parametrize(
    "state",
    [StudyState.DELIVERED, StudyState.NOT_EVALUABLE, StudyState.IGNORED, StudyState.PARKED],
)
def test_a_late_instance_reopens_a_study_at_rest(rows: Rows, state: StudyState) -> None:
    rows.receive("1.1")
    rows.database.write(lambda c: c.execute(schema.studies.update().values(state=state)))
    rows.receive("1.2")
    assert (rows.study().state, rows.study().reason) == ("receiving", "a late instance came")


@pytest.mark.parametrize("state", [StudyState.QUEUED, StudyState.ANALYSING, StudyState.DELIVERING])
def test_a_study_under_way_keeps_its_state(rows: Rows, state: StudyState) -> None:
    rows.receive("1.1")
    rows.database.write(
        lambda c: c.execute(schema.studies.update().values(state=state, unassembled=False))
    )
    rows.receive("1.2")
    assert (rows.study().state, rows.study().unassembled) == (state, True)


def test_a_conflict_is_told_in_the_timeline(rows: Rows) -> None:
    rows.receive("1.1")
    known = rows.receive("1.1", content="other")
    assert known is not None
    rows.database.write(lambda c: add_conflict(c, known, "US9", rows.clock()))
    event = rows.all(schema.events)[-1]
    assert (event.entity, event.action, event.study_id) == ("instance", "conflict", 1)
    assert "US9" in event.detail
    assert "the first was kept" in event.detail


def test_refusals_are_counted_not_piled_up(rows: Rows) -> None:
    for number in range(5):
        for calling in ("A", "B"):
            rows.database.write(
                lambda c, calling=calling, number=number: add_refusal(
                    c, "10.0.0.1", calling, "x" * 200, "", f"reason {number}", number
                )
            )
    found = [(r.calling_ae, r.count, r.reason, r.last_us) for r in rows.all(schema.refusals)]
    assert found == [("A", 5, "reason 4", 4), ("B", 5, "reason 4", 4)]


def test_own_results_are_known(rows: Rows) -> None:
    rows.queued()
    built = [builders.stored(0)]
    rows.finish(rows.claimed(), built)
    with rows.database.read() as connection:
        assert is_result(connection, built[0].sop_instance_uid)
        assert not is_result(connection, "1.2.3.1")


def test_nothing_rests_on_a_file_that_is_given_up(rows: Rows) -> None:
    rows.receive("1.1")
    digest = rows.all(schema.instances)[0].instance_hash
    for state, rests in (("kept", True), ("doomed", False), ("gone", False)):
        rows.database.write(
            lambda c, state=state: c.execute(update(schema.instances).values(file=state))
        )
        with rows.database.read() as connection:
            assert is_spooled(connection, digest) is rests
