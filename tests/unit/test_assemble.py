"""When a study is ready, and what becomes of it."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from daemon import identity, schema
from daemon.assemble import POLL_S
from daemon.clock import seconds
from daemon.decision import Decision, Latest, Member, decide, ready
from daemon.lifecycle import StudyState
from daemon.spool import Spool
from tests import builders
from tests.builders import INTERVAL_S, QUIET_S, Rows
from tests.fakes import NOON_US

pytestmark = pytest.mark.engines

DAY_S = 86_400
QUIET_US = seconds(QUIET_S)
MEMBER = Member(1, "1.2.3.1", "aa", "patient", "US1", assumed=False)
LATEST = Latest("input", "bundle", "recipe")


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with builders.database(tmp_path) as opened:
        yield Rows(opened)


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (0, False),
        (QUIET_S - 1, False),
        (QUIET_S, True),
        (10 * 365 * DAY_S, True),  # set forward ten years
        (-1, False),  # set back a little: the study waits a little longer
        (-QUIET_S, False),
        (-QUIET_S - 1, True),
        (-DAY_S, True),  # set back a day: not a day's wait
    ],
)
def test_ready(age_s: float, expected: bool) -> None:
    assert ready(NOON_US, NOON_US + seconds(age_s), QUIET_US) is expected


def test_without_a_quiet_period_a_study_is_ready_at_once() -> None:
    assert ready(NOON_US, NOON_US, 0)


def test_decide_analyses_what_is_new() -> None:
    assert decide([MEMBER], LATEST, None, eligible=True) is Decision.ANALYSE
    for field in ("input_hash", "bundle_digest", "recipe_digest"):
        changed = replace(LATEST, **{field: "other"})
        assert decide([MEMBER], changed, LATEST, eligible=True) is Decision.ANALYSE


def test_decide_knows_what_was_analysed() -> None:
    assert decide([MEMBER], LATEST, LATEST, eligible=True) is Decision.SAME_INPUT


def test_the_next_sweep_is_when_the_next_study_is_ready(rows: Rows) -> None:
    assembler = rows.assembler()
    rows.receive("1.2.3.1")
    assembler.sweep()
    assert assembler.pause_s == POLL_S
    rows.clock.advance(QUIET_S - POLL_S / 4)
    assembler.sweep()
    assert assembler.pause_s == pytest.approx(POLL_S / 4)
    rows.clock.advance(-3600)  # a clock that was set: later than a poll is never
    assembler.sweep()
    assert assembler.pause_s == POLL_S


def test_whoever_works_the_queue_is_told(rows: Rows) -> None:
    told: list[str] = []
    rows.receive("1.2.3.1")
    rows.clock.advance(QUIET_S)
    rows.assembler(queued=lambda: told.append(rows.study().state)).sweep()
    assert told == ["queued"]


def test_decide_leaves_alone_what_is_not_for_us() -> None:
    assert decide([MEMBER], LATEST, None, eligible=False) is Decision.NOT_ELIGIBLE


@pytest.mark.parametrize("eligible", [True, False])
def test_two_patients_come_before_all_else(eligible: bool) -> None:
    members = [MEMBER, replace(MEMBER, patient_key="other")]
    assert decide(members, LATEST, LATEST, eligible=eligible) is Decision.TWO_PATIENTS


def test_a_study_waits_for_its_quiet_period(rows: Rows) -> None:
    assembler = rows.assembler()
    rows.receive("1.2.3.1")
    rows.clock.advance(QUIET_S - 1)
    assert assembler.sweep() == 0
    rows.receive("1.2.3.2")
    rows.clock.advance(QUIET_S - 1)
    assert assembler.sweep() == 0
    rows.clock.advance(1)
    assert assembler.sweep() == 1
    assert assembler.sweep() == 0
    study = rows.study()
    assert (study.state, study.version, study.reason) == ("queued", 1, "version 1: 2 instances")


def test_a_queued_analysis_names_its_input(rows: Rows) -> None:
    rows.receive("1.2.3.2")
    rows.receive("1.2.3.1")
    rows.assemble()
    (analysis,) = rows.all(schema.analyses)
    instances = rows.all(schema.instances)
    pairs = [(row.sop_instance_uid, row.instance_hash) for row in instances]
    assert analysis.input_hash == identity.input_hash(pairs)
    assert (analysis.bundle_digest, analysis.recipe_digest) == ("bundle", "recipe")
    assert (analysis.state, analysis.due_us) == ("queued", rows.clock())
    assert rows.claimed().uids == ("1.2.3.2", "1.2.3.1")


def test_nothing_is_analysed_twice(rows: Rows) -> None:
    """Reopened and unchanged, it goes back to where it was."""
    rows.queued()
    rows.finish(rows.claimed())
    before = rows.study()
    rows.database.write(
        lambda c: c.execute(
            schema.studies.update().values(unassembled=True, state=StudyState.RECEIVING)
        )
    )
    rows.assemble()
    assert rows.study() == before
    assert len(rows.all(schema.analyses)) == 1


def test_another_bundle_makes_another_version(rows: Rows) -> None:
    rows.queued()
    rows.finish(rows.claimed())
    rows.database.write(lambda c: c.execute(schema.studies.update().values(unassembled=True)))
    rows.clock.advance(QUIET_S)
    rows.assembler(bundle="another").sweep()
    assert rows.study().version == 2


def test_a_late_instance_makes_a_version_after_the_interval(rows: Rows) -> None:
    rows.queued()
    first = rows.claimed()
    rows.finish(first, [builders.stored(0)])
    rows.receive("1.2.3.2")
    rows.assemble()
    assert (rows.study().state, rows.study().version) == ("queued", 2)
    one, two = rows.all(schema.analyses)
    assert two.due_us == one.created_us + seconds(INTERVAL_S)
    assert rows.claim() is None
    rows.clock.advance(INTERVAL_S)
    job = rows.claimed()
    assert (job.version, job.uids) == (2, ("1.2.3.1", "1.2.3.2"))
    report = builders.stored(0)
    assert job.predecessors == ((builders.SR, report.sop_instance_uid, report.series_instance_uid),)


def test_long_after_the_interval_a_version_waits_no_more(rows: Rows) -> None:
    rows.queued()
    rows.finish(rows.claimed())
    rows.clock.advance(10 * INTERVAL_S)
    rows.receive("1.2.3.2")
    rows.assemble()
    assert rows.claimed().version == 2


def test_a_clock_set_back_between_versions_holds_for_one_interval_at_most(rows: Rows) -> None:
    rows.queued()
    rows.finish(rows.claimed())
    rows.clock.advance(-DAY_S)
    rows.receive("1.2.3.2")
    rows.assemble()
    assert rows.all(schema.analyses)[1].due_us <= rows.clock() + seconds(INTERVAL_S)
    rows.clock.advance(INTERVAL_S)
    assert rows.claimed().version == 2


@pytest.mark.parametrize("jump_s", [-DAY_S, DAY_S, 10 * 365 * DAY_S])
def test_a_clock_that_jumps_loses_no_study_and_makes_no_storm(rows: Rows, jump_s: float) -> None:
    for number in range(3):
        rows.receive(f"1.2.{number}.1", study=f"1.2.{number}")
    rows.clock.advance(jump_s)
    assembler = rows.assembler()
    assert assembler.sweep() == 3
    assert assembler.sweep() == 0
    assert [row.state for row in rows.all(schema.studies)] == ["queued"] * 3
    assert len(rows.all(schema.analyses)) == 3


def test_two_patients_park_the_study(rows: Rows) -> None:
    rows.receive("1.2.3.1", patient="p")
    rows.receive("1.2.3.2", patient="q")
    rows.assemble()
    study = rows.study()
    assert study.state == "parked"
    assert "different patients" in study.reason
    assert rows.all(schema.analyses) == []


def test_a_second_patient_parks_a_study_that_was_delivered(rows: Rows) -> None:
    rows.queued()
    rows.finish(rows.claimed())
    rows.receive("1.2.3.2", patient="q")
    rows.assemble()
    assert (rows.study().state, rows.study().version) == ("parked", 1)


def test_what_is_not_for_us_is_ignored_with_its_reason(rows: Rows) -> None:
    rows.receive()
    rows.clock.advance(QUIET_S)
    rows.assembler(eligible=lambda hashes: None).sweep()
    assert rows.study().state == "ignored"
    assert "neither axilla nor breast" in rows.study().reason
    assert "assume_axilla" in rows.study().reason


def test_a_late_instance_can_make_an_ignored_study_ours(rows: Rows) -> None:
    def named_by_the_second(hashes: Sequence[str]) -> str | None:
        return "axilla" if len(hashes) > 1 else None

    assembler = rows.assembler(eligible=named_by_the_second)
    rows.receive("1.2.3.1")
    rows.clock.advance(QUIET_S)
    assembler.sweep()
    rows.receive("1.2.3.2")
    rows.clock.advance(QUIET_S)
    assembler.sweep()
    assert (rows.study().state, rows.study().version) == ("queued", 1)


@pytest.mark.parametrize(("assumed", "state"), [(True, "queued"), (False, "ignored")])
def test_a_source_may_push_nothing_else(rows: Rows, assumed: bool, state: str) -> None:
    rows.receive(assumed=assumed)
    rows.clock.advance(QUIET_S)
    rows.assembler(eligible=lambda hashes: None).sweep()
    assert rows.study().state == state


def test_the_eligibility_rule_is_recorded(rows: Rows) -> None:
    rows.queued()
    event = next(row for row in rows.all(schema.events) if row.action == "eligible")
    assert event.detail == "it is"


def test_an_instance_that_comes_meanwhile_is_not_overlooked(rows: Rows) -> None:
    def and_another_comes(hashes: Sequence[str]) -> str:
        if len(hashes) == 1:
            rows.clock.advance(1)
            rows.receive("1.2.3.2")
        return "it is"

    assembler = rows.assembler(eligible=and_another_comes)
    rows.receive("1.2.3.1")
    rows.clock.advance(QUIET_S)
    assembler.sweep()
    assert (rows.study().state, rows.all(schema.analyses)) == ("receiving", [])
    rows.clock.advance(QUIET_S)
    assembler.sweep()
    assert rows.study().reason == "version 1: 2 instances"


def test_a_late_instance_waits_while_the_study_is_analysed(rows: Rows) -> None:
    rows.queued()
    job = rows.claimed()
    rows.receive("1.2.3.2")
    rows.assemble()
    assert (rows.study().state, rows.study().version) == ("analysing", 1)
    rows.finish(job)
    rows.assemble()
    assert (rows.study().state, rows.study().version) == ("queued", 2)


def test_a_late_instance_makes_a_version_of_a_study_that_delivers(
    rows: Rows, tmp_path: Path
) -> None:
    rows.delivering(Spool(tmp_path / "objects"))
    rows.receive("1.2.3.2")
    rows.assemble()
    assert (rows.study().state, rows.study().version) == ("queued", 2)


def test_a_study_that_is_no_longer_eligible_while_it_delivers_stops_nothing(
    rows: Rows, tmp_path: Path
) -> None:
    rows.delivering(Spool(tmp_path / "objects"))
    rows.receive("1.2.3.2")
    rows.receive("1.2.4.1", study="1.2.4")
    rows.clock.advance(QUIET_S)
    assembler = rows.assembler(eligible=lambda hashes: None)
    assert assembler.sweep() == 2
    assert rows.study("1.2.4").state == "ignored"
    assert assembler.sweep() == 0


def test_a_study_that_fails_does_not_hold_up_the_others(rows: Rows) -> None:
    rows.receive("1.2.3.1")
    (poison,) = [row.instance_hash for row in rows.all(schema.instances)]
    rows.receive("1.2.4.1", study="1.2.4")

    def breaks(hashes: Sequence[str]) -> str:
        if poison in hashes:
            raise ValueError("a header nobody foresaw")
        return "it is"

    rows.clock.advance(QUIET_S)
    assembler = rows.assembler(eligible=breaks)
    with contextlib.suppress(ValueError):  # if it comes out, the thread's guard logs it
        assembler.sweep()
    assert rows.study("1.2.4").state == "queued"
