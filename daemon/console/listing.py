"""Studies as a list: by state, source and time, or by what a person types."""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select

from daemon import identity, schema, status
from daemon.errors import InputError

PAGE = 50  # studies
_FOUND = 50  # studies of one patient or UID that are listed


@dataclass(frozen=True)
class StudyRow:
    """A study in a list."""

    study_id: int
    study_uid: str
    state: str
    reason: str
    instances: int
    version: int
    source_ae: str
    received_us: int
    last_instance_us: int


@dataclass(frozen=True)
class StudyPage:
    """A page of the list."""

    studies: tuple[StudyRow, ...]
    older: str | None  # what `after` is for the next page; None: this is the last


def page(connection: Connection, wanted: status.Page, after: str | None) -> StudyPage:
    """Return a page of the studies that are wanted, the one that began to arrive last first.

    Parameters
    ----------
    after
        `StudyPage.older` of the page before; None: the first page.

    Raises
    ------
    InputError
        `after` is no place in the list.
    """
    rows = status.studies(connection, replace(wanted, after=_place(after), most=PAGE + 1))
    older = "-".join(map(str, rows[PAGE - 1]["key"])) if len(rows) > PAGE else None
    return StudyPage(tuple(_row(row) for row in rows[:PAGE]), older)


def find(connection: Connection, node_id: str, words: str) -> StudyPage:
    """Return the studies of a Study Instance UID, or of its beginning, or of a PatientID."""
    words = words.strip()
    if not words:
        return StudyPage((), None)
    ids = _by_uid(connection, words) or _by_patient(connection, node_id, words)
    rows = status.studies(connection, status.Page(ids=tuple(ids), most=_FOUND))
    return StudyPage(tuple(_row(row) for row in rows), None)


def _place(after: str | None) -> tuple[int, int] | None:
    if after is None:
        return None
    at, _, number = after.partition("-")
    if not (at.isdecimal() and number.isdecimal() and len(after) < 40):
        raise InputError("after: no place in the list of studies")
    return int(at), int(number)


def _row(row: dict[str, Any]) -> StudyRow:
    return StudyRow(
        study_id=row["key"][1],
        study_uid=row["study_uid"],
        state=row["state"],
        reason=row["reason"],
        instances=row["instances"],
        version=row["version"],
        source_ae=row["source_ae"],
        received_us=row["received_us"],
        last_instance_us=row["last_instance_us"],
    )


def _by_patient(connection: Connection, node_id: str, patient_id: str) -> list[int]:
    table = schema.instances
    keys = {
        identity.patient_key(node_id, patient_id.encode(encoding))
        for encoding in ("utf-8", "latin-1")
        if _fits(patient_id, encoding)
    }
    found = select(table.c.study_id).where(table.c.patient_key.in_(keys)).distinct()
    return list(connection.execute(found.limit(_FOUND)).scalars())


def _by_uid(connection: Connection, words: str) -> list[int]:
    if words.strip("0123456789."):
        return []
    table = schema.studies
    # ':' is what follows the digits: all that begins so, as a range of the index
    begins = table.c.study_uid >= words, table.c.study_uid < f"{words}:"
    return list(connection.execute(select(table.c.id).where(*begins).limit(_FOUND)).scalars())


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
