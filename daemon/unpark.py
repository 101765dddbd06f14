"""Putting what a person has looked at back into its queue."""

from sqlalchemy import Connection, select, update

from daemon import schema
from daemon.errors import InputError
from daemon.events import move_analysis, move_delivery, move_study
from daemon.lifecycle import AnalysisState, DeliveryState, StudyState


def retry(connection: Connection, study_uid: str, now_us: int) -> str:
    """Try a parked study again; return what was done, in words.

    Raises
    ------
    InputError
        There is no such study, or nothing of it is parked.
    """
    studies, analyses = schema.studies, schema.analyses
    study = connection.execute(
        select(studies).where(studies.c.study_uid == study_uid)
    ).one_or_none()
    if study is None:
        raise InputError("no study of that UID is known; axnode studies lists them")
    if study.state != StudyState.PARKED:
        raise InputError(f"nothing to retry: the study is {study.state}, not parked")
    analysis = connection.execute(
        select(analyses).where(
            analyses.c.study_id == study.id,
            analyses.c.version == study.version,
            analyses.c.state == AnalysisState.PARKED,
        )
    ).first()
    if analysis is not None:
        move_analysis(
            connection,
            analysis.id,
            AnalysisState.QUEUED,
            "retried",
            now_us,
            due_us=now_us,
            attempts=0,
        )
        move_study(connection, study.id, StudyState.QUEUED, "retried by hand", now_us)
        return "the analysis is queued again"
    parked = _parked(connection, study.id)
    for delivery_id in parked:
        move_delivery(
            connection,
            delivery_id,
            DeliveryState.PENDING,
            "retried by hand",
            now_us,
            due_us=now_us,
            attempts=0,
        )
    if parked:
        move_study(connection, study.id, StudyState.DELIVERING, "retried by hand", now_us)
        return f"{len(parked)} deliveries are queued again"
    connection.execute(update(studies).where(studies.c.id == study.id).values(unassembled=True))
    return "the study will be looked at again"


def _parked(connection: Connection, study_id: int) -> list[int]:
    table = schema.deliveries
    rows = connection.execute(
        select(table.c.id)
        .join(schema.objects, schema.objects.c.id == table.c.object_id)
        .join(schema.analyses, schema.analyses.c.id == schema.objects.c.analysis_id)
        .where(schema.analyses.c.study_id == study_id, table.c.state == DeliveryState.PARKED)
    )
    return list(rows.scalars())
