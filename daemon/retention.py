"""Retention: files of studies at rest are deleted after so many days; their rows stay.

A day is a night in which the node ran and counted, so a clock that is set years ahead deletes
nothing, and a night whose work is done again counts once. Two steps, each safe to be killed in:
rows are doomed (committed), then files are deleted and their rows marked gone. What is doomed
counts as deleted; the next night deletes what is left.
"""

import logging
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, exists, func, select, update

from daemon import config, schema
from daemon.clock import Clock
from daemon.database import Database
from daemon.events import record
from daemon.lifecycle import DeliveryState, FileState, StudyState
from daemon.spool import Spool
from daemon.turns import note, noted

log = logging.getLogger(__name__)
_AT_REST = (StudyState.DELIVERED, StudyState.NOT_EVALUABLE, StudyState.IGNORED)
_ARRIVED = frozenset({DeliveryState.DELIVERED, DeliveryState.REPLACED})
_COUNTED = "nightly counted"  # note of the last night that was
_CHUNK = 50  # studies found at once, and files deleted in one transaction
_LOOKED_AT = 100_000  # studies, by one statement


@dataclass(frozen=True)
class _Kind:
    """Instances as they came, or results as they were built."""

    words: str
    days: int  # nights at rest after which they go; 0: never
    spool: Spool
    table: Table
    name: Column[Any]  # of the file
    of_study: Callable[[Any], ColumnElement[bool]]  # a row's condition, from a study's id
    released: ColumnElement[bool]  # what else a row has to fulfil


def _instances(days: int, spool: Spool) -> _Kind:
    table = schema.instances
    return _Kind(
        "images",
        days,
        spool,
        table,
        table.c.instance_hash,
        lambda study_id: table.c.study_id == study_id,
        # what was promised to somebody is kept (PS3.4 J)
        released=and_(table.c.file == FileState.KEPT, table.c.committed_us.is_(None)),
    )


def _results(days: int, spool: Spool) -> _Kind:
    table, analyses = schema.objects, schema.analyses
    return _Kind(
        "results",
        days,
        spool,
        table,
        table.c.file_hash,
        lambda study_id: table.c.analysis_id.in_(
            # of the study outside, which would otherwise be any
            select(analyses.c.id).where(analyses.c.study_id == study_id).correlate(schema.studies)
        ),
        # what was delivered nowhere exists nowhere else
        released=and_(
            table.c.file == FileState.KEPT,
            _delivery(_ARRIVED),
            ~_delivery(set(DeliveryState) - _ARRIVED - {DeliveryState.DROPPED}),
        ),
    )


def _delivery(states: Set[DeliveryState]) -> ColumnElement[bool]:
    """Tell, as SQL, whether an object has a delivery in one of the states."""
    table = schema.deliveries
    return exists().where(table.c.object_id == schema.objects.c.id, table.c.state.in_(states))


class Retention:
    """The nightly work; see the module's docstring.

    Parameters
    ----------
    spool, objects
        The folders of instances and of results.
    """

    def __init__(
        self,
        settings: config.Retention,
        database: Database,
        spool: Spool,
        objects: Spool,
        clock: Clock,
    ) -> None:
        self._database = database
        self._clock = clock
        self._kinds = (
            _instances(settings.instances_days, spool),
            _results(settings.results_days, objects),
        )

    def run(self, night: str, go_on: Callable[[], bool] = lambda: True) -> None:
        """Count a night, doom what has rested long enough, and delete its files.

        The rest waits for another time as soon as `go_on` says no.
        """
        self._database.write(lambda c: _count_night(c, night))
        for kind in self._kinds:
            if kind.days:
                self._doom_all(kind, go_on)
            self._delete_all(kind, go_on)

    def _doom_all(self, kind: _Kind, go_on: Callable[[], bool]) -> None:
        for due in due_studies(self._database, _rested(kind), go_on):
            for study_id in due:
                self._database.write(partial(_doom, kind, study_id, self._clock()))

    def _delete_all(self, kind: _Kind, go_on: Callable[[], bool]) -> None:
        last = ""  # what cannot be deleted is not met again tonight
        while go_on():
            query = select(kind.name).where(schema.DOOMED, kind.name > last).distinct()
            with self._database.read() as connection:
                chunk = connection.execute(query.order_by(kind.name).limit(_CHUNK)).scalars().all()
            if not chunk:
                return
            last = chunk[-1]
            gone = self._database.write(partial(_unlink, kind, chunk))
            kind.spool.sync(gone)  # a power cut must not bring back what is called gone
            self._database.write(partial(_mark_gone, kind, gone))


def due_studies(
    database: Database, conditions: Sequence[ColumnElement[bool]], go_on: Callable[[], bool]
) -> Iterator[Sequence[int]]:
    """Yield the numbers of the studies that fulfil conditions, a few at a time, while `go_on`.

    Years of studies are looked at part by part, so that no statement takes ever longer.
    """
    key = schema.studies.c.id
    with database.read() as connection:
        end = connection.execute(select(func.max(key))).scalar() or 0
    last = 0
    while last < end and go_on():
        part = min(last + _LOOKED_AT, end)
        query = select(key).where(key > last, key <= part, *conditions).order_by(key).limit(_CHUNK)
        with database.read() as connection:
            due = connection.execute(query).scalars().all()
        last = due[-1] if len(due) == _CHUNK else part
        if due:
            yield due


def _count_night(connection: Connection, night: str) -> None:
    """Count a night, once."""
    if noted(connection, _COUNTED) == night:
        return
    note(connection, _COUNTED, night)
    connection.execute(update(schema.node).values(nights=schema.node.c.nights + 1))


def rested(days: int) -> tuple[ColumnElement[bool], ...]:
    """Tell, as SQL, which studies have rested for more than so many nights."""
    studies = schema.studies
    long_ago = studies.c.moved_night < schema.NIGHTS - days
    return studies.c.state.in_(_AT_REST), ~studies.c.unassembled, long_ago


def _rested(kind: _Kind) -> tuple[ColumnElement[bool], ...]:
    """Tell, as SQL, which studies have rested long enough and have something to be deleted."""
    left = exists().where(kind.of_study(schema.studies.c.id), kind.released)
    return *rested(kind.days), left


def _doom(kind: _Kind, study_id: int, now_us: int, connection: Connection) -> None:
    """Give up the files of one study, unless it has been woken meanwhile."""
    studies = schema.studies
    still = connection.execute(select(studies.c.id).where(studies.c.id == study_id, *_rested(kind)))
    if still.first() is None:
        return
    changed = connection.execute(
        update(kind.table)
        .where(kind.of_study(study_id), kind.released)
        .values(file=FileState.DOOMED)
    )
    words = f"{changed.rowcount} {kind.words} deleted after {kind.days} days at rest"
    record(connection, now_us, "study", study_id, "purged", study_id=study_id, detail=words)
    if kind.table is schema.instances:
        connection.execute(update(studies).where(studies.c.id == study_id).values(purged_us=now_us))
    log.info(words, extra={"action": "purge", "study": study_id})


def _unlink(kind: _Kind, names: Sequence[str], connection: Connection) -> list[str]:
    """Delete files that no row rests on; in the writer, so that no row can appear meanwhile.

    Returns the names without those that could not be deleted: they stay doomed.
    """
    kept = select(kind.name).where(kind.name.in_(names), kind.table.c.file == FileState.KEPT)
    needed = set(connection.execute(kept).scalars())
    gone = []
    for name in names:
        try:
            if name not in needed:
                kind.spool.remove(name)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            log.error("a file cannot be deleted", extra={"action": "purge", "reason": reason})
            continue
        gone.append(name)
    return gone


def _mark_gone(kind: _Kind, names: Sequence[str], connection: Connection) -> None:
    connection.execute(
        update(kind.table)
        .where(kind.name.in_(names), kind.table.c.file == FileState.DOOMED)
        .values(file=FileState.GONE)
    )
