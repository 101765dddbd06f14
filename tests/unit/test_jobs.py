"""The queue: claim, lease, fence, attempts."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from daemon import claims, jobs, schema
from daemon.clock import seconds
from daemon.errors import LostLease
from daemon.jobs import LEASE_US, MAX_ATTEMPTS, Job
from tests import builders
from tests.builders import Rows

pytestmark = pytest.mark.engines

DAY_S = 86_400
LEASE_S = LEASE_US // seconds(1)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with builders.database(tmp_path) as opened:
        yield Rows(opened)


def renew(rows: Rows, job: Job) -> None:
    rows.database.write(lambda c: jobs.renew(c, job, rows.clock()))


def test_an_empty_queue_gives_nothing(rows: Rows) -> None:
    assert rows.claim() is None


def test_a_claim_takes_the_job_for_one(rows: Rows) -> None:
    rows.queued()
    job = rows.claimed()
    assert (job.study_uid, job.version, job.fence, job.attempt) == ("1.2.3", 1, 1, 1)
    assert rows.claim() is None
    assert (rows.study().state, rows.states(schema.analyses)) == ("analysing", ["running"])


def test_the_oldest_due_comes_first(rows: Rows) -> None:
    for study in ("1.1", "1.2", "1.3"):
        rows.queued(f"{study}.1", study)
    assert [rows.claimed().study_uid for _ in range(3)] == ["1.1", "1.2", "1.3"]


def test_the_images_come_in_order_of_arrival(rows: Rows) -> None:
    for sop in ("1.2.3.9", "1.2.3.1", "1.2.3.5"):
        rows.receive(sop)
    rows.assemble()
    job = rows.claimed()
    assert job.uids == ("1.2.3.9", "1.2.3.1", "1.2.3.5")
    arrived = {row.sop_instance_uid: row.instance_hash for row in rows.all(schema.instances)}
    assert list(job.instance_hashes) == [arrived[uid] for uid in job.uids]


def test_a_node_that_starts_again_waits_for_no_lease_of_its_own(rows: Rows) -> None:
    rows.queued("1.1.1", "1.1")
    rows.queued("1.2.1", "1.2")
    claim = partial(claims.claim, now_us=rows.clock(), longest_wait_us=1)
    (mine,), (other,) = (
        rows.database.write(partial(claim, holder=holder)) for holder in ("this node", "another")
    )
    assert (mine.study_uid, other.study_uid) == ("1.1", "1.2")
    assert rows.claim() is None
    assert rows.database.write(lambda c: claims.release(c, "this node")) == 1
    again = rows.claimed()
    assert (again.study_uid, again.attempt, again.fence) == ("1.1", 2, 2)
    assert rows.claim() is None
    with pytest.raises(LostLease):  # the one that was taken for gone comes too late
        rows.finish(mine)


def test_a_renewed_lease_holds(rows: Rows) -> None:
    rows.queued()
    job = rows.claimed()
    for _ in range(10):
        rows.clock.advance(LEASE_S - 1)
        renew(rows, job)
    assert rows.claim() is None
    rows.finish(job)
    assert rows.study().state == "delivered"


def test_a_lapsed_lease_gives_the_job_to_another_and_fences_the_first(rows: Rows) -> None:
    rows.queued()
    first = rows.claimed()
    rows.clock.advance(LEASE_S + 1)
    second = rows.claimed()
    assert (second.analysis_id, second.fence, second.attempt) == (first.analysis_id, 2, 2)
    with pytest.raises(LostLease):
        renew(rows, first)
    with pytest.raises(LostLease):
        rows.finish(first, [builders.stored(0)])
    with pytest.raises(LostLease):
        rows.fail(first)
    assert rows.all(schema.objects) == []
    rows.finish(second, [builders.stored(1)])
    assert len(rows.all(schema.objects)) == 1
    with pytest.raises(LostLease):
        rows.finish(second)


def test_a_lapsed_lease_that_nobody_took_is_still_good(rows: Rows) -> None:
    rows.queued()
    job = rows.claimed()
    rows.clock.advance(10 * LEASE_S)
    rows.finish(job)
    assert rows.study().state == "delivered"


def test_three_lost_workers_park_the_study_and_the_others_proceed(rows: Rows) -> None:
    rows.queued("1.1.1", "1.1")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert rows.claimed().attempt == attempt
        rows.clock.advance(LEASE_S + 1)
    rows.queued("1.2.1", "1.2")
    taken = [rows.claim(), rows.claim()]
    assert [job.study_uid for job in taken if job] == ["1.2"]
    assert rows.study("1.1").state == "parked"
    assert "three times" in rows.study("1.1").reason
    assert rows.claim() is None


def test_a_failed_attempt_waits_and_is_tried_again(rows: Rows) -> None:
    rows.queued()
    waits = []
    for _ in range(MAX_ATTEMPTS - 1):
        rows.fail(rows.claimed(), "out of memory")
        assert (rows.study().state, rows.study().reason) == ("queued", "out of memory")
        assert rows.claim() is None
        waits.append((rows.all(schema.analyses)[0].due_us - rows.clock()) // seconds(1))
        rows.clock.advance(waits[-1])
    assert waits == [15, 30]
    rows.fail(rows.claimed(), "out of memory")
    assert (rows.study().state, rows.states(schema.analyses)) == ("parked", ["parked"])
    assert rows.study().reason == "out of memory (3 attempts)"
    rows.clock.advance(DAY_S)
    assert rows.claim() is None


def test_a_final_failure_parks_at_once(rows: Rows) -> None:
    rows.queued()
    job = rows.claimed()
    rows.database.write(lambda c: jobs.fail(c, job, "hopeless", rows.clock(), final=True))
    assert (rows.study().state, rows.study().reason) == ("parked", "hopeless")


def test_what_is_the_nodes_fault_counts_no_attempt(rows: Rows) -> None:
    """A disk that is full for an hour parks no study."""
    rows.queued()
    for _ in range(2 * MAX_ATTEMPTS):
        job = rows.claimed()
        assert job.attempt == 1
        rows.database.write(lambda c, job=job: jobs.give_back(c, job, "disk full", rows.clock()))
        assert (rows.study().state, rows.study().reason) == ("queued", "disk full")
        assert rows.claim() is None
        rows.clock.advance(60)
    assert rows.claimed().fence == 2 * MAX_ATTEMPTS + 1


@pytest.mark.parametrize("jump_s", [-DAY_S, -3600, DAY_S, 10 * 365 * DAY_S])
def test_a_clock_that_jumps_holds_no_job(rows: Rows, jump_s: float) -> None:
    """A due time farther off than its own longest wait counts as due."""
    rows.queued()
    rows.clock.advance(1)
    rows.clock.advance(jump_s)
    assert rows.claimed().attempt == 1
    assert rows.claim() is None


@pytest.mark.parametrize("jump_s", [-DAY_S, -3600, DAY_S])
def test_a_clock_that_jumps_holds_no_job_that_failed(rows: Rows, jump_s: float) -> None:
    rows.queued()
    rows.fail(rows.claimed())
    rows.clock.advance(jump_s)
    assert rows.claimed().attempt == 2


@pytest.mark.parametrize("jump_s", [-DAY_S, 10 * 365 * DAY_S])
def test_a_clock_that_jumps_holds_no_lost_job(rows: Rows, jump_s: float) -> None:
    rows.queued()
    rows.claimed()
    rows.clock.advance(jump_s)
    assert rows.claimed().attempt == 2
    assert rows.claim() is None


def test_a_worker_that_lives_keeps_its_job_when_the_clock_is_set_back(rows: Rows) -> None:
    rows.queued()
    job = rows.claimed()
    rows.clock.advance(-DAY_S)
    renew(rows, job)
    assert rows.claim() is None


def test_results_and_deliveries_come_with_the_end_of_the_job(rows: Rows) -> None:
    rows.queued()
    built = [builders.stored(0), builders.stored(1)]
    rows.finish(rows.claimed(), built, ["pacs", "archive"])
    deliveries = rows.all(schema.deliveries)
    pairs = {(row.object_id, row.destination) for row in deliveries}
    assert pairs == {(1, "pacs"), (1, "archive"), (2, "pacs"), (2, "archive")}
    assert {(row.state, row.due_us) for row in deliveries} == {("pending", rows.clock())}
    assert (rows.study().state, rows.study().reason) == ("delivering", "4 deliveries to go")
    analysis = rows.all(schema.analyses)[0]
    assert (analysis.state, analysis.summary) == ("done", '{"nodes": []}')
    assert analysis.finished_us == rows.clock()


def test_a_finish_that_fails_leaves_the_job_running(rows: Rows) -> None:
    """All of it or nothing: results, deliveries and states are one transaction."""
    rows.queued()
    job = rows.claimed()
    twice = [builders.stored(0), builders.stored(0)]
    with pytest.raises(Exception, match=r"(?i)unique"):
        rows.finish(job, twice, ["pacs"])
    assert (rows.states(schema.analyses), rows.all(schema.objects)) == (["running"], [])
    assert rows.study().state == "analysing"


def test_the_timeline_tells_the_whole_way(rows: Rows) -> None:
    rows.queued()
    rows.fail(rows.claimed())
    rows.clock.advance(60)
    rows.finish(rows.claimed())
    assert rows.story() == [
        "receiving",
        "queued",
        "eligible",
        "analysing",
        "queued",
        "analysing",
        "delivered",
    ]
    assert rows.story("analysis") == ["running", "queued", "running", "done"]


def next_version(rows: Rows, number: int) -> Job:
    """Let a late instance make the next version, and claim it."""
    rows.receive(f"1.2.3.{number}")
    rows.assemble()
    rows.clock.advance(builders.INTERVAL_S)
    return rows.claimed()


def test_a_version_replaces_the_last_report_that_exists(rows: Rows) -> None:
    """Version 1 reported, 2 was parked, 3 reported: each names what a PACS may hold."""
    rows.queued()
    first = rows.claimed()
    assert (first.replaces, first.predecessors) == (None, ())
    rows.finish(first, [builders.stored(0)])
    second = next_version(rows, 2)
    for _ in range(MAX_ATTEMPTS - 1):
        rows.fail(second)
        rows.clock.advance(60)
        second = rows.claimed()
    rows.fail(second)
    third = next_version(rows, 3)
    assert (second.replaces, third.version, third.replaces) == (1, 3, 1)
    rows.finish(third, [builders.stored(1)])
    fourth = next_version(rows, 4)
    assert (fourth.version, fourth.replaces) == (4, 3)
    ((_, uid, _),) = fourth.predecessors
    assert uid == builders.stored(1).sop_instance_uid


def test_what_was_never_reported_is_not_replaced(rows: Rows) -> None:
    rows.queued()
    for _ in range(MAX_ATTEMPTS):
        rows.fail(rows.claimed())
        rows.clock.advance(60)
    second = next_version(rows, 2)
    assert (second.version, second.replaces, second.predecessors) == (2, None, ())
