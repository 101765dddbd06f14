"""The queue of analyses: claim with a lease and a fencing token, renew, finish, fail.

Attempts count at the claim, so that a job whose worker dies without a word is still counted.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, exists, false, insert, or_, select, true, update

from daemon import schema
from daemon.clock import seconds
from daemon.due import windows
from daemon.errors import LostLease
from daemon.events import move_analysis, move_study
from daemon.lifecycle import AnalysisState, DeliveryState, FileState, StudyState
from daemon.rest import resting_state

LEASE_US = seconds(30)  # renewed while its worker and that one's process live
RETRY_US = seconds(15)  # after a failed attempt; twice that after the second
MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Job:
    """One analysis that this worker holds."""

    analysis_id: int
    study_id: int
    study_uid: str
    version: int
    fence: int  # token: a later claim raises it
    attempt: int  # 1-based
    input_hash: str
    uids: tuple[str, ...]  # SOP Instance UIDs, in order of arrival
    instance_hashes: tuple[str, ...]  # their files in the spool, in the same order
    predecessors: tuple[tuple[str, str, str], ...]  # SOP class, instance, series of the last report
    replaces: int | None  # the version that report belongs to
    destinations: tuple[str, ...] | None = None  # that a rule has chosen; None: all


@dataclass(frozen=True)
class StoredObject:
    """A built object that lies in the objects folder."""

    role: str
    ordinal: int
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    file_hash: str
    size: int


def claim(
    connection: Connection, now_us: int, longest_wait_us: int, holder: str = ""
) -> Job | None:
    """Take a job whose lease has run out, or the oldest that is due, urgent ones first; or None.

    `holder` names the worker that takes it. A due time farther off than `longest_wait_us` comes
    from a clock that was set: it counts as due.
    """
    row = _next(connection, now_us, now_us + longest_wait_us)
    if row is None:
        return None
    if row.state == AnalysisState.RUNNING:
        if row.attempts >= MAX_ATTEMPTS:
            park(
                connection,
                row.id,
                "its worker was lost three times (the node or its analysing process ended)",
                now_us,
            )
            return None
        move_analysis(connection, row.id, AnalysisState.QUEUED, "its worker was lost", now_us)
        move_study(connection, row.study_id, StudyState.QUEUED, "its worker was lost", now_us)
    move_analysis(
        connection,
        row.id,
        AnalysisState.RUNNING,
        "",
        now_us,
        fence=row.fence + 1,
        attempts=row.attempts + 1,
        lease_us=now_us + LEASE_US,
        holder=holder,
    )
    move_study(connection, row.study_id, StudyState.ANALYSING, f"version {row.version}", now_us)
    inputs, reports = _inputs(connection, row.id), _reports(connection, row.study_id)
    return Job(
        analysis_id=row.id,
        study_id=row.study_id,
        study_uid=row.study_uid,
        version=row.version,
        fence=row.fence + 1,
        attempt=row.attempts + 1,
        input_hash=row.input_hash,
        uids=tuple(uid for uid, _ in inputs),
        instance_hashes=tuple(digest for _, digest in inputs),
        predecessors=tuple((r.sop_class_uid, r.sop_instance_uid, r.series_uid) for r in reports),
        replaces=reports[0].version if reports else None,
        destinations=None if row.destinations is None else tuple(json.loads(row.destinations)),
    )


def _next(connection: Connection, now_us: int, farthest_us: int) -> Any:
    """Return the job to be taken: what was taken before, what is urgent, what waits longest."""
    table = schema.analyses
    queued = table.c.state == AnalysisState.QUEUED
    lapsed = and_(
        table.c.state == AnalysisState.RUNNING,
        or_(table.c.lease_us < now_us, table.c.lease_us > now_us + 2 * LEASE_US),
    )
    due = (
        queued & (table.c.urgent == urgent) & window
        for urgent in (true(), false())
        for window in windows(table.c.due_us, now_us, farthest_us)
    )
    for condition in (lapsed, *due):
        row = connection.execute(
            select(table, schema.studies.c.study_uid)
            .join(schema.studies, schema.studies.c.id == table.c.study_id)
            .where(condition)
            .order_by(table.c.urgent, table.c.due_us)  # as they lie in the index
            .limit(1)
            .with_for_update(skip_locked=True, of=table)
        ).one_or_none()
        if row is not None:
            return row
    return None


def release(connection: Connection, holder: str) -> int:
    """End the leases of a worker that is known to be gone, so that nobody waits for them.

    Its jobs count the attempt, for one of them may have been what ended it.
    """
    table = schema.analyses
    held = (table.c.state == AnalysisState.RUNNING) & (table.c.holder == holder)
    return connection.execute(update(table).where(held).values(lease_us=0)).rowcount


def _inputs(connection: Connection, analysis_id: int) -> list[tuple[str, str]]:
    link, table = schema.analysis_instances, schema.instances
    rows = connection.execute(
        select(table.c.sop_instance_uid, table.c.instance_hash)
        .join(link, link.c.instance_id == table.c.id)
        .where(link.c.analysis_id == analysis_id)
        .order_by(table.c.id)
    )
    return [(uid, digest) for uid, digest in rows]


def _reports(connection: Connection, study_id: int) -> Sequence[Any]:
    """Return the study's last report, if it has one."""
    table, analyses, deliveries = schema.objects, schema.analyses, schema.deliveries
    arrived = exists().where(  # lost here, and in a PACS nevertheless
        deliveries.c.object_id == table.c.id, deliveries.c.state == DeliveryState.DELIVERED
    )
    return connection.execute(
        select(
            table.c.sop_class_uid,
            table.c.sop_instance_uid,
            table.c.series_instance_uid.label("series_uid"),
            analyses.c.version,
        )
        .join(analyses, analyses.c.id == table.c.analysis_id)
        .where(analyses.c.study_id == study_id, table.c.role == "sr")
        .where(or_(table.c.file != FileState.LOST, arrived))
        .order_by(analyses.c.version.desc())
        .limit(1)
    ).all()


def renew(connection: Connection, job: Job, now_us: int) -> None:
    """Extend the lease; raise `LostLease` where another worker holds the job."""
    _held(connection, job)
    connection.execute(
        update(schema.analyses)
        .where(schema.analyses.c.id == job.analysis_id)
        .values(lease_us=now_us + LEASE_US)
    )


def _held(connection: Connection, job: Job) -> None:
    row = connection.execute(
        select(schema.analyses.c.fence, schema.analyses.c.state)
        .where(schema.analyses.c.id == job.analysis_id)
        .with_for_update()
    ).one()
    if row.fence != job.fence or row.state != AnalysisState.RUNNING:
        raise LostLease(f"analysis {job.analysis_id} was taken over by another worker")


def finish(
    connection: Connection,
    job: Job,
    built: Sequence[StoredObject],
    destinations: Callable[[str], Sequence[str]],
    summary: dict[str, Any],
    not_evaluable: tuple[str, str] | None,
    now_us: int,
) -> None:
    """Record the results and queue their deliveries, in the transaction that ends the job.

    `destinations` names, by an object's role, where it goes at once. `not_evaluable` is the
    reason's code and words, where there is one.
    """
    _held(connection, job)
    move_analysis(
        connection,
        job.analysis_id,
        AnalysisState.DONE,
        not_evaluable[1] if not_evaluable else "",
        now_us,
        finished_us=now_us,
        summary=json.dumps(summary),
        not_evaluable=not_evaluable[0] if not_evaluable else None,
    )
    for item in built:
        result = connection.execute(
            insert(schema.objects).values(
                analysis_id=job.analysis_id,
                role=item.role,
                ordinal=item.ordinal,
                sop_class_uid=item.sop_class_uid,
                sop_instance_uid=item.sop_instance_uid,
                series_instance_uid=item.series_instance_uid,
                file_hash=item.file_hash,
                size=item.size,
            )
        )
        for name in destinations(item.role):
            connection.execute(
                insert(schema.deliveries).values(
                    object_id=result.inserted_primary_key[0],  # type: ignore[index]
                    destination=name,
                    state=DeliveryState.PENDING,
                    due_us=now_us,
                )
            )
    move_study(connection, job.study_id, *resting_state(connection, job.study_id), now_us)


def give_back(connection: Connection, job: Job, reason: str, now_us: int) -> None:
    """Give the job back without counting the attempt: the node failed, not the study."""
    _held(connection, job)
    values = {"due_us": now_us + RETRY_US, "attempts": job.attempt - 1}
    move_analysis(connection, job.analysis_id, AnalysisState.QUEUED, reason, now_us, **values)
    move_study(connection, job.study_id, StudyState.QUEUED, reason, now_us)


def fail(
    connection: Connection, job: Job, reason: str, now_us: int, *, final: bool = False
) -> None:
    """Give the job back after a failed attempt; a `final` failure, or the last one, parks it."""
    _held(connection, job)
    if final or job.attempt >= MAX_ATTEMPTS:
        tries = "" if job.attempt == 1 else f" ({job.attempt} attempts)"
        park(connection, job.analysis_id, f"{reason}{tries}", now_us)
        return
    wait = RETRY_US * job.attempt
    move_analysis(
        connection, job.analysis_id, AnalysisState.QUEUED, reason, now_us, due_us=now_us + wait
    )
    move_study(connection, job.study_id, StudyState.QUEUED, reason, now_us)


def park(connection: Connection, analysis_id: int, reason: str, now_us: int) -> None:
    """Set the job and its study aside for a person."""
    move_analysis(connection, analysis_id, AnalysisState.PARKED, reason, now_us)
    study_id = connection.execute(
        select(schema.analyses.c.study_id).where(schema.analyses.c.id == analysis_id)
    ).scalar_one()
    move_study(connection, study_id, StudyState.PARKED, reason, now_us)
