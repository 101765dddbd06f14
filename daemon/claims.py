"""The queue of analyses: a worker takes a job, or several that it reads together.

Attempts count at the claim, so that a job whose worker dies without a word is still counted.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, exists, or_, select, update

from daemon import schema
from daemon.events import move_analysis, move_study
from daemon.jobs import LEASE_US, MAX_ATTEMPTS, Job, park
from daemon.lifecycle import AnalysisState, DeliveryState, FileState, StudyState
from daemon.next_job import next_job
from dicom_io.syntaxes import STILL_SOP_CLASSES


def claim(
    connection: Connection,
    now_us: int,
    longest_wait_us: int,
    holder: str = "",
    after: str = "",
    frames: int = 1,
) -> list[Job]:
    """Take the next job (`daemon.next_job`), and those behind it that fill a batch with it.

    What has failed before is analysed by itself, for it may be what its process died of; so are
    cines, which fill batches of their own. Empty: nothing is due.

    Parameters
    ----------
    longest_wait_us
        A due time farther off comes from a clock that was set: it counts as due.
    holder
        Names the worker that takes them.
    after
        Source of the job before: its turn comes last.
    frames
        Images in a batch; with one the next job is all there is.
    """
    taken: list[Job] = []
    while sum(max(1, len(job.uids)) for job in taken) < frames:
        row = next_job(connection, now_us, now_us + longest_wait_us, LEASE_US, after)
        job = None if row is None else _take(connection, row, now_us, holder, taken)
        if job is None:
            break
        taken.append(job)
        if job.attempt > 1 or not job.stills:
            break
        after = job.source_ae
    return taken


def _take(
    connection: Connection, row: Row[Any], now_us: int, holder: str, beside: Sequence[Job]
) -> Job | None:
    """Take an analysis; None: it cannot be read with those beside it, or was tried too often."""
    inputs = _inputs(connection, row.id)
    stills = all(each.sop_class_uid in STILL_SOP_CLASSES for each in inputs)
    if beside and not (stills and _fits(row, beside)):
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
    reports = _reports(connection, row.study_id)
    return Job(
        analysis_id=row.id,
        study_id=row.study_id,
        study_uid=row.study_uid,
        version=row.version,
        fence=row.fence + 1,
        attempt=row.attempts + 1,
        input_hash=row.input_hash,
        uids=tuple(each.sop_instance_uid for each in inputs),
        instance_hashes=tuple(each.instance_hash for each in inputs),
        predecessors=tuple((r.sop_class_uid, r.sop_instance_uid, r.series_uid) for r in reports),
        replaces=reports[0].version if reports else None,
        destinations=None if row.destinations is None else tuple(json.loads(row.destinations)),
        source_ae=row.source_ae,
        bundle_digest=row.bundle_digest,
        stills=stills,
    )


def _fits(row: Row[Any], beside: Sequence[Job]) -> bool:
    """Tell whether an analysis may be read together with others."""
    return not row.attempts and row.bundle_digest == beside[0].bundle_digest


def release(connection: Connection, holder: str) -> int:
    """End the leases of a worker that is known to be gone, so that nobody waits for them.

    Its jobs count the attempt, for one of them may have been what ended it.
    """
    table = schema.analyses
    held = (table.c.state == AnalysisState.RUNNING) & (table.c.holder == holder)
    return connection.execute(update(table).where(held).values(lease_us=0)).rowcount


def _inputs(connection: Connection, analysis_id: int) -> Sequence[Any]:
    link, table = schema.analysis_instances, schema.instances
    return connection.execute(
        select(table.c.sop_instance_uid, table.c.instance_hash, table.c.sop_class_uid)
        .join(link, link.c.instance_id == table.c.id)
        .where(link.c.analysis_id == analysis_id)
        .order_by(table.c.id)
    ).all()


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
