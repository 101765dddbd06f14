"""Timelines: the events of studies that have rested for long are deleted, where that is asked for.

On SQLite row by row. On PostgreSQL events lie by month (`daemon.months`), and a month goes whole
once next to nothing of it is needed any more: deleting years of rows one by one would have the
server tidy up behind them for as long. A month of which more is needed is worked row by row, a
month later. What is needed, whatever its age, is what belongs to a study that is not at rest or has
not rested long enough, and conflicts, for storage commitment asks for them (`daemon.custody`).

Nights are counted as `daemon.retention` counts them: a clock that is set ahead deletes nothing.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import ColumnElement, Connection, FromClause, delete, exists, or_, select

from daemon import schema
from daemon.clock import Clock
from daemon.database import Database
from daemon.events import CONFLICT
from daemon.months import Months
from daemon.retention import due_studies, rested

log = logging.getLogger(__name__)


class Timelines:
    """The nightly work; see the module's docstring.

    Parameters
    ----------
    days
        Nights at rest after which a study's events go; 0: never.
    """

    def __init__(self, days: int, database: Database, clock: Clock) -> None:
        self._days = days
        self._database = database
        self._months = Months(database, clock) if database.shared else None

    def run(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Delete what is needed no more; the rest waits as soon as `go_on` says no."""
        if not self._days:
            return
        if self._months is None:
            self._delete_all(schema.events, go_on)
            return
        self._months.drop(lambda events: _needed(events, self._days), go_on)
        for lying in self._months.overdue(self._days):
            self._delete_all(lying, go_on)

    def make_ahead(self) -> None:
        """Make what events to come will lie in, unless it is there."""
        if self._months is not None:
            self._months.make_ahead()

    def _delete_all(self, lying: FromClause, go_on: Callable[[], bool]) -> None:
        """Delete the events of studies of which some lie there."""
        studies = schema.studies
        left = exists().where(lying.c.study_id == studies.c.id, lying.c.action != CONFLICT)
        deleted = 0
        for due in due_studies(self._database, (*rested(self._days), left), go_on):
            deleted += self._database.write(partial(_delete, due, self._days))
        if deleted:
            words = f"{deleted} events deleted, their studies {self._days} days at rest"
            log.info(words, extra={"action": "purge"})


def _delete(due: Sequence[int], days: int, connection: Connection) -> int:
    """Delete the events of studies, but for those that have been woken meanwhile."""
    events, studies = schema.events, schema.studies
    still = select(studies.c.id).where(studies.c.id.in_(due), *rested(days))
    ids = connection.execute(still).scalars().all()
    gone = delete(events).where(events.c.study_id.in_(ids), events.c.action != CONFLICT)
    return connection.execute(gone).rowcount


def _needed(events: FromClause, days: int) -> ColumnElement[bool]:
    """Tell, as SQL, which of some events are needed."""
    studies = schema.studies
    at_rest = exists().where(studies.c.id == events.c.study_id, *rested(days))
    return or_(~at_rest, events.c.action == CONFLICT)
