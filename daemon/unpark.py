"""Putting what a person has looked at back into its queue."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from daemon import schema
from daemon.errors import InputError
from daemon.events import move_analysis, move_delivery, move_study
from daemon.lifecycle import AnalysisState, DeliveryState, FileState, StudyState
from daemon.rest import settle_and_release

_BY_HAND = "retried by hand"
PARKED_BY_HAND = "parked by hand"  # how the reason of a study begins that a person set aside
_RETRIED = (StudyState.PARKED, StudyState.DELIVERED, StudyState.NOT_EVALUABLE)


def retry(
    connection: Connection, study_uid: str, destinations: Collection[str], now_us: int
) -> str:
    """Try a parked study's analysis and deliveries again; return what was done, in words.

    What was replaced by pictures is tried again too, of a study at rest as well: the destination
    may take it by now. Deliveries to what is no longer among the `destinations` are dropped:
    nobody would send them.

    Raises
    ------
    InputError
        There is no such study, or nothing of it waits for a person.
    """
    studies = schema.studies
    study = connection.execute(
        select(studies).where(studies.c.study_uid == study_uid)
    ).one_or_none()
    if study is None:
        raise InputError("no study of that UID is known; axnode studies lists them")
    waiting = _waiting(connection, study.id) if study.state in _RETRIED else []
    if study.state != StudyState.PARKED and not waiting:
        raise InputError(f"nothing to retry: the study is {study.state}, not parked")
    done = _retry_deliveries(connection, waiting, destinations, now_us)
    if _retry_analysis(connection, study, now_us):
        move_study(connection, study.id, StudyState.QUEUED, _BY_HAND, now_us)
        done.insert(0, "the analysis is queued again")
    elif done:
        if any(row.file == FileState.LOST for row in waiting):
            _assemble_again(connection, study.id)
        move_study(connection, study.id, StudyState.DELIVERING, _BY_HAND, now_us)
        settle_and_release(connection, study.id, now_us)  # the night deletes their files
    if study.reason.startswith(PARKED_BY_HAND):
        _assemble_again(connection, study.id)  # more may have come before it was set aside
    if not done or _patients(connection, study.id) > 1:
        # two patients park it again, whatever else of it was tried
        _assemble_again(connection, study.id)
        done.append("the study will be looked at again")
    return "; ".join(done)


def _assemble_again(connection: Connection, study_id: int) -> None:
    table = schema.studies
    connection.execute(update(table).where(table.c.id == study_id).values(unassembled=True))


def _patients(connection: Connection, study_id: int) -> int:
    table = schema.instances
    counted = select(func.count(table.c.patient_key.distinct())).where(table.c.study_id == study_id)
    return int(connection.execute(counted).scalar_one())


def _retry_analysis(connection: Connection, study: Row[Any], now_us: int) -> bool:
    table = schema.analyses
    analysis = connection.execute(
        select(table.c.id).where(
            table.c.study_id == study.id,
            table.c.version == study.version,
            table.c.state == AnalysisState.PARKED,
        )
    ).scalar()
    if analysis is None:
        return False
    values = {"due_us": now_us, "attempts": 0}
    move_analysis(connection, analysis, AnalysisState.QUEUED, _BY_HAND, now_us, **values)
    return True


def _waiting(connection: Connection, study_id: int) -> Sequence[Any]:
    """Return the deliveries that a person may want to try again."""
    table = schema.deliveries
    return connection.execute(
        select(table.c.id, table.c.destination, schema.objects.c.file)
        .join(schema.objects, schema.objects.c.id == table.c.object_id)
        .join(schema.analyses, schema.analyses.c.id == schema.objects.c.analysis_id)
        .where(
            schema.analyses.c.study_id == study_id,
            table.c.state.in_((DeliveryState.PARKED, DeliveryState.REPLACED)),
            schema.objects.c.file.in_((FileState.KEPT, FileState.LOST)),
        )
    ).all()


def _retry_deliveries(
    connection: Connection, rows: Sequence[Any], destinations: Collection[str], now_us: int
) -> list[str]:
    lost = [row.id for row in rows if row.file == FileState.LOST]
    whole = [row for row in rows if row.file != FileState.LOST]
    known = [row.id for row in whole if row.destination in destinations]
    gone = [row.id for row in whole if row.destination not in destinations]
    values = {"due_us": now_us, "attempts": 0, "resends": 0}
    for row_id in known:
        move_delivery(connection, row_id, DeliveryState.PENDING, _BY_HAND, now_us, **values)
    for row_id in gone:
        words = "given up by hand: the destination is no longer configured"
        move_delivery(connection, row_id, DeliveryState.DROPPED, words, now_us)
    for row_id in lost:
        words = "given up: the stored file is lost, and a new version is made"
        move_delivery(connection, row_id, DeliveryState.DROPPED, words, now_us)
    done = (
        (len(known), "delivery is", "deliveries are", "queued again"),
        (len(gone), "delivery is", "deliveries are", "given up"),
        (len(lost), "object is", "objects are", "lost, and a new version is made"),
    )
    return [f"{n} {one if n == 1 else many} {words}" for n, one, many, words in done if n]
