"""Rows of reception: what is recorded of an instance, and what a second one of its UID means."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, exists, insert, select, update

from daemon import schema
from daemon.events import CONFLICT, move_study, record
from daemon.lifecycle import FileState, StudyState


@dataclass(frozen=True)
class Received:
    """One instance that lies in the spool, or is about to."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_hash: str  # SHA-256 of transfer syntax and data set
    patient_key: str
    size: int  # bytes
    source_ae: str
    assumed: bool  # its source pushes axillary studies only


@dataclass(frozen=True)
class Known:
    """The instance that already has this SOP Instance UID; it stays the one that counts."""

    instance_id: int
    study_id: int
    instance_hash: str
    kept: bool  # its file lies in the spool; retention may have deleted it


# Statements of every instance: to build them and look up their SQL costs more than to run them.
_instances, _studies = schema.instances, schema.studies
_KNOWN = (
    select(_instances, _studies.c.study_uid)
    .join(_studies, _studies.c.id == _instances.c.study_id)
    .where(_instances.c.sop_instance_uid == bindparam("instance"))
)
_TOUCH = (
    update(_studies)
    .where(_studies.c.study_uid == bindparam("study"))
    .values(last_instance_us=bindparam("now"), unassembled=True)
    .returning(_studies.c.id, _studies.c.state)
)
_TOUCH_BY_NEW = _TOUCH.where(
    ~exists().where(_instances.c.sop_instance_uid == bindparam("instance"))
)
_ADD = insert(_instances)


def add_instance(connection: Connection, received: Received, now_us: int) -> Known | None:
    """Record the instance, unless its UID is known already: then that one is returned.

    One whose file retention has deleted is kept again.
    """
    names = {"study": received.study_uid, "instance": received.sop_instance_uid}
    study = connection.execute(_TOUCH_BY_NEW, {**names, "now": now_us}).one_or_none()
    if study is None:  # the first of its study, or known
        row = connection.execute(_KNOWN, {"instance": received.sop_instance_uid}).one_or_none()
        if row is not None:
            return _again(connection, row, received, now_us)
        study_id = _open_study(connection, received, now_us)
    else:
        study_id = _reopen(connection, study, now_us)
    connection.execute(
        _ADD,
        {
            "study_id": study_id,
            "sop_instance_uid": received.sop_instance_uid,
            "sop_class_uid": received.sop_class_uid,
            "series_uid": received.series_uid,
            "transfer_syntax_uid": received.transfer_syntax_uid,
            "instance_hash": received.instance_hash,
            "patient_key": received.patient_key,
            "size": received.size,
            "source_ae": received.source_ae,
            "assumed": received.assumed,
            "received_us": now_us,
        },
    )
    return None


def _again(connection: Connection, row: Row[Any], received: Received, now_us: int) -> Known:
    kept = row.file == FileState.KEPT
    if not kept and _is_same(row, received):
        _keep_again(connection, row, received, now_us)
        return Known(row.id, row.study_id, received.instance_hash, kept=True)
    return Known(row.id, row.study_id, row.instance_hash, kept)


def _is_same(row: Row[Any], received: Received) -> bool:
    """Tell whether an instance is the one of a row, whose file is not there to be compared.

    It may come in another transfer syntax than at first: an archive sends what it has made of it.
    But a file that is doomed still has its name from the row, by which it will be deleted.
    """
    if row.instance_hash == received.instance_hash:
        return True
    keys = ("study_uid", "series_uid", "sop_class_uid", "patient_key")
    alike = all(getattr(row, key) == getattr(received, key) for key in keys)
    return alike and row.file == FileState.GONE


def _keep_again(connection: Connection, row: Row[Any], received: Received, now_us: int) -> None:
    """Take the file of an instance that retention had deleted.

    A study that waits for it is looked at again; one at rest stays there, for nothing is new.
    """
    table, studies = schema.instances, schema.studies
    connection.execute(
        update(table)
        .where(table.c.id == row.id)
        .values(
            file=FileState.KEPT,
            instance_hash=received.instance_hash,
            transfer_syntax_uid=received.transfer_syntax_uid,
            size=received.size,
        )
    )
    same = row.instance_hash == received.instance_hash
    words = "the same bytes" if same else "other bytes, which nothing was left to compare with"
    record(
        connection,
        now_us,
        "instance",
        row.id,
        "kept_again",
        study_id=row.study_id,
        detail=f"{received.source_ae} sent it again after its file was deleted: {words}",
    )
    state = connection.execute(select(studies.c.state).where(studies.c.id == row.study_id)).scalar()
    if state in (StudyState.PARKED, StudyState.RECEIVING):
        touched = connection.execute(_TOUCH, {"study": received.study_uid, "now": now_us})
        _reopen(connection, touched.one(), now_us)
    else:
        connection.execute(
            update(studies).where(studies.c.id == row.study_id).values(moved_night=schema.NIGHTS)
        )


def add_conflict(connection: Connection, known: Known, source_ae: str, now_us: int) -> None:
    """Record that other content came under a known SOP Instance UID (hazards: row 20)."""
    fate = "the first was kept" if known.kept else "the first was deleted, so nothing was compared"
    record(
        connection,
        now_us,
        "instance",
        known.instance_id,
        CONFLICT,
        study_id=known.study_id,
        detail=f"{source_ae} sent other content under a known SOP Instance UID; {fate}",
    )


def add_transcoded(connection: Connection, known: Known, source_ae: str, now_us: int) -> None:
    """Record that a known image came again in another transfer syntax; headers were compared."""
    record(
        connection,
        now_us,
        "instance",
        known.instance_id,
        "transcoded",
        study_id=known.study_id,
        detail=f"{source_ae} sent the same image, by its header, in another transfer syntax; "
        "the first was kept",
    )


def give_up_file(
    study_id: int, instance_hash: str, what: str, now_us: int, connection: Connection
) -> None:
    """Note that an image's file is missing or damaged: it is taken again, in any syntax."""
    table = schema.instances
    here = (table.c.instance_hash == instance_hash) & (table.c.file == FileState.KEPT)
    ids = connection.execute(select(table.c.id).where(here)).scalars().all()
    connection.execute(update(table).where(here).values(file=FileState.GONE))
    for instance_id in ids:
        detail = f"its stored file is {what}; send it again"
        record(
            connection,
            now_us,
            "instance",
            instance_id,
            "file_lost",
            study_id=study_id,
            detail=detail,
        )


def is_result(connection: Connection, sop_instance_uid: str) -> bool:
    """Tell whether this node built the object of this UID."""
    table = schema.objects
    found = select(table.c.id).where(table.c.sop_instance_uid == sop_instance_uid)
    return connection.execute(found).first() is not None


def is_spooled(connection: Connection, instance_hash: str) -> bool:
    """Tell whether an instance rests on the file of this hash."""
    table = schema.instances
    found = select(table.c.id).where(
        table.c.instance_hash == instance_hash, table.c.file == FileState.KEPT
    )
    return connection.execute(found).first() is not None


def add_refusal(
    connection: Connection,
    address: str,
    calling_ae: str,
    what: str,
    transfer_syntaxes: str,
    reason: str,
    now_us: int,
) -> None:
    """Count what was refused, one row per peer and thing, so that a storm of them stays small."""
    table = schema.refusals
    same = (
        (table.c.address == address)
        & (table.c.calling_ae == calling_ae)
        & (table.c.what == what[:128])
    )
    values = {"transfer_syntaxes": transfer_syntaxes, "reason": reason, "last_us": now_us}
    changed = connection.execute(
        update(table).where(same).values(count=table.c.count + 1, **values)
    )
    if not changed.rowcount:
        connection.execute(
            insert(table).values(address=address, calling_ae=calling_ae, what=what[:128], **values)
        )


def forget_refusals(connection: Connection, most: int) -> None:
    """Delete all but the latest; whoever invents titles must not fill the disk."""
    table = schema.refusals
    nth = select(table.c.last_us).order_by(table.c.last_us.desc()).offset(most).limit(1)
    connection.execute(delete(table).where(table.c.last_us <= nth.scalar_subquery()))


def _open_study(connection: Connection, received: Received, now_us: int) -> int:
    result = connection.execute(
        insert(_studies).values(
            study_uid=received.study_uid,
            state=StudyState.RECEIVING,
            received_us=now_us,
            last_instance_us=now_us,
            unassembled=True,
            source_ae=received.source_ae,
        )
    )
    study_id = int(result.inserted_primary_key[0])  # type: ignore[index]
    record(connection, now_us, "study", study_id, "receiving", study_id=study_id)
    return study_id


def _reopen(connection: Connection, study: Row[Any], now_us: int) -> int:
    """Wake a study at rest to which an instance came; return its id."""
    if study.state in _REOPENED:
        move_study(connection, study.id, StudyState.RECEIVING, "a late instance came", now_us)
    return int(study.id)


# a study under way keeps its state: its late instances wait for the next assembly
_REOPENED = frozenset(
    {StudyState.DELIVERED, StudyState.NOT_EVALUABLE, StudyState.IGNORED, StudyState.PARKED}
)
