"""An analysis that a worker holds, by a lease and a fencing token: renewed, finished, failed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from daemon import schema
from daemon.clock import seconds
from daemon.errors import LostLease
from daemon.events import move_analysis, move_study
from daemon.fallback import queue
from daemon.lifecycle import AnalysisState, StudyState
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
    source_ae: str = ""  # of the study's first image
    bundle_digest: str = ""  # of the bundle that is to analyse it
    stills: bool = False  # no image of it has several frames
    destinations: tuple[str, ...] | None = None  # that a rule has chosen; None: all


@dataclass(frozen=True)
class StoredObject:
    """A built object that lies in the objects folder: columns of its row."""

    role: str
    ordinal: int
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    file_hash: str
    size: int


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
    bundle_digest: str | None = None,
) -> None:
    """Record the results and queue their deliveries, in the transaction that ends the job.

    `destinations` names, by an object's role, where it goes at once. `not_evaluable` is the
    reason's code and words, where there is one. `bundle_digest` is given where another bundle than
    the job's analysed it.
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
        bundle_digest=bundle_digest or job.bundle_digest,
    )
    for item in built:
        result = connection.execute(
            insert(schema.objects).values(analysis_id=job.analysis_id, **asdict(item))
        )
        for name in destinations(item.role):
            object_id = result.inserted_primary_key[0]  # type: ignore[index]
            queue(connection, object_id, name, now_us)
    move_study(connection, job.study_id, *resting_state(connection, job.study_id), now_us)


def give_back(connection: Connection, job: Job, reason: str, now_us: int) -> None:
    """Give the job back without counting the attempt: the node failed, not the study."""
    _held(connection, job)
    values = {"due_us": now_us + RETRY_US, "attempts": job.attempt - 1}
    move_analysis(connection, job.analysis_id, AnalysisState.QUEUED, reason, now_us, **values)
    move_study(connection, job.study_id, StudyState.QUEUED, reason, now_us)


def fail(
    connection: Connection,
    job: Job,
    reason: str,
    now_us: int,
    *,
    final: bool = False,
    alone: bool = True,
) -> None:
    """Give the job back after a failed attempt; a `final` failure, or the last one, parks it.

    One that was not `alone` in its attempt is tried by itself at once.
    """
    _held(connection, job)
    if final or job.attempt >= MAX_ATTEMPTS:
        tries = "" if job.attempt == 1 else f" ({job.attempt} attempts)"
        park(connection, job.analysis_id, f"{reason}{tries}", now_us)
        return
    wait = RETRY_US * job.attempt if alone else 0
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
