"""What a person has done to a study: sent again or elsewhere, analysed again, set aside.

Each is one transaction on the rows; the threads that work them find what there is to do. What
cannot be done is an `InputError` that says why, and changes nothing.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from daemon import schema
from daemon.errors import InputError, UnknownError
from daemon.events import move_analysis, move_delivery, move_study, record
from daemon.fallback import queue
from daemon.identity import input_hash
from daemon.lifecycle import UNCONFIRMED, AnalysisState, DeliveryState, FileState, StudyState
from daemon.unpark import PARKED_BY_HAND

_RESTING = (StudyState.DELIVERED, StudyState.NOT_EVALUABLE, StudyState.PARKED)


def study_id_of(connection: Connection, study_uid: str) -> int:
    """Return a study's row.

    Raises
    ------
    InputError
        There is no such study.
    """
    found = connection.execute(
        select(schema.studies.c.id).where(schema.studies.c.study_uid == study_uid)
    ).scalar()
    if found is None:
        raise UnknownError("no study of that UID is known")
    return int(found)


def send(
    connection: Connection,
    study_id: int,
    destination: str,
    now_us: int,
    *,
    by: str,
    roles: Collection[str] = ("seg", "sr"),
) -> str:
    """Send the results of the latest version to a destination, again or for the first time.

    Parameters
    ----------
    destination
        Name of a configured one.
    by
        Who asked for it.
    roles
        Of the objects that go; what was sent there before goes again in any case.

    Returns
    -------
    str
        What was done, in words.

    Raises
    ------
    InputError
        The study is under way, has no results, or their files have been deleted.
    """
    study = _study(connection, study_id)
    if study.state not in (*_RESTING, StudyState.DELIVERING):
        raise InputError(f"nothing to send yet: the study is {study.state}")
    objects = _objects(connection, study_id, study.version, destination, roles)
    words = f"sent by hand ({by})"
    queued = 0
    for item in objects:
        delivery = _delivery(connection, item.id, destination)
        if delivery is None:
            queue(connection, item.id, destination, now_us)
        elif delivery.state in UNCONFIRMED:
            continue
        else:
            again = {"due_us": now_us, "attempts": 0, "resends": 0, "delivered_us": None}
            move_delivery(connection, delivery.id, DeliveryState.PENDING, words, now_us, **again)
        queued += 1
    if not queued:
        raise InputError(f"everything is on its way to {destination} already")
    detail = f"{queued} objects to {destination}, by {by}"
    record(connection, now_us, "study", study_id, "sent_by_hand", study_id=study_id, detail=detail)
    if study.state == StudyState.PARKED:
        _look_again(connection, study_id)  # what it was parked for may still be so
    if study.state != StudyState.DELIVERING:
        move_study(connection, study_id, StudyState.DELIVERING, words, now_us)
    return f"{queued} objects are queued for {destination}"


def analyse(
    connection: Connection, study_id: int, identity: tuple[str, str], now_us: int, *, by: str
) -> str:
    """Have a study analysed that was ignored, or whose bundle or settings have changed since.

    Parameters
    ----------
    identity
        Digests of the bundle and the settings that would be used now.

    Raises
    ------
    InputError
        It is under way, or would say again what it said.
    """
    study = _study(connection, study_id)
    if study.state not in (*_RESTING, StudyState.IGNORED):
        raise InputError(f"the study is {study.state}: wait until it is done")
    latest = connection.execute(
        select(schema.analyses).where(
            schema.analyses.c.study_id == study_id, schema.analyses.c.version == study.version
        )
    ).one_or_none()
    found = members(connection, study_id)
    if any(member.file != FileState.KEPT for member in found):
        raise InputError(
            "some of its images were deleted (retention.instances_days): send the study to this "
            "node again"
        )
    wanted = (input_hash((m.sop_instance_uid, m.instance_hash) for m in found), *identity)
    same = latest is not None and wanted == (
        latest.input_hash,
        latest.bundle_digest,
        latest.recipe_digest,
    )
    if latest is not None and same and latest.state == AnalysisState.PARKED:
        raise InputError("its analysis is parked: retry it")
    if same and study.state != StudyState.IGNORED:
        raise InputError(
            "nothing would change: the latest version was made of these images with this bundle "
            "and these settings. Send it again, or change the bundle"
        )
    instances = schema.instances
    connection.execute(
        # a person has looked and says that it is one for this node
        update(instances).where(instances.c.study_id == study_id).values(assumed=True)
    )
    _look_again(connection, study_id)
    record(connection, now_us, "study", study_id, "analyse_by_hand", study_id=study_id, detail=by)
    return "the study will be analysed"


def park(connection: Connection, study_id: int, now_us: int, *, by: str) -> str:
    """Set a study aside, with what of it is under way; `retry` brings it back.

    Raises
    ------
    InputError
        It is at rest.
    """
    study = _study(connection, study_id)
    if study.state in (*_RESTING, StudyState.IGNORED):
        raise InputError(f"nothing to park: the study is {study.state}")
    words = f"{PARKED_BY_HAND} ({by})"
    for row_id in _rows(connection, study_id, (AnalysisState.QUEUED, AnalysisState.RUNNING)):
        move_analysis(connection, row_id, AnalysisState.PARKED, words, now_us)
    for row_id in _under_way(connection, study_id):
        move_delivery(connection, row_id, DeliveryState.PARKED, words, now_us)
    move_study(connection, study_id, StudyState.PARKED, words, now_us, unassembled=False)
    return "the study is parked"


def _look_again(connection: Connection, study_id: int) -> None:
    """Have the assembler look at the study."""
    connection.execute(
        update(schema.studies).where(schema.studies.c.id == study_id).values(unassembled=True)
    )


def members(connection: Connection, study_id: int) -> Sequence[Any]:
    """Return a study's images (`daemon.eligibility.Known`), and whether their files are kept."""
    table = schema.instances
    return connection.execute(
        select(
            table.c.sop_instance_uid,
            table.c.instance_hash,
            table.c.source_ae,
            table.c.assumed,
            table.c.file,
        ).where(table.c.study_id == study_id)
    ).all()


def _study(connection: Connection, study_id: int) -> Any:
    found = connection.execute(
        select(schema.studies).where(schema.studies.c.id == study_id)
    ).one_or_none()
    if found is None:
        raise UnknownError("no such study is known")
    return found


def _objects(
    connection: Connection, study_id: int, version: int, destination: str, roles: Collection[str]
) -> Sequence[Any]:
    table, analyses, deliveries = schema.objects, schema.analyses, schema.deliveries
    there = select(deliveries.c.object_id).where(deliveries.c.destination == destination)
    wanted = connection.execute(
        select(table.c.id, table.c.role, table.c.file)
        .join(analyses, analyses.c.id == table.c.analysis_id)
        .where(analyses.c.study_id == study_id, analyses.c.version == version)
        .where(table.c.role.in_(roles) | table.c.id.in_(there))
        .order_by(table.c.id)
    ).all()
    if not wanted:
        raise InputError("the study has no results that could be sent")
    kept = [row for row in wanted if row.file == FileState.KEPT]
    if not kept:
        raise InputError(
            "the files of its results were deleted (retention.results_days): send the study to "
            "this node again"
        )
    return kept


def _delivery(connection: Connection, object_id: int, destination: str) -> Any:
    table = schema.deliveries
    return connection.execute(
        select(table.c.id, table.c.state).where(
            table.c.object_id == object_id, table.c.destination == destination
        )
    ).one_or_none()


def _rows(
    connection: Connection, study_id: int, states: Collection[AnalysisState]
) -> Sequence[int]:
    table = schema.analyses
    found = select(table.c.id).where(table.c.study_id == study_id, table.c.state.in_(states))
    return connection.execute(found).scalars().all()


def _under_way(connection: Connection, study_id: int) -> Sequence[int]:
    table, objects, analyses = schema.deliveries, schema.objects, schema.analyses
    found = (
        select(table.c.id)
        .join(objects, objects.c.id == table.c.object_id)
        .join(analyses, analyses.c.id == objects.c.analysis_id)
        .where(analyses.c.study_id == study_id, table.c.state.in_(UNCONFIRMED))
    )
    return connection.execute(found).scalars().all()
