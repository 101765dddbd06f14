"""The months that events lie in on PostgreSQL: partitions by time (UTC), made ahead, dropped whole.

What no month was made for lies in the partition for the rest: events from before there were months,
of a clock that was set, and what was needed when its month was dropped. All events are found in the
one table, whichever partition they lie in; months that are not made cost speed and nothing else.

A partition is made or dropped only while nobody reads events. Who copies the database does so for
hours, and nothing may wait for that long behind one who waits to alter a table: then it waits for
another night.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Self

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    TableClause,
    any_,
    column,
    func,
    insert,
    literal,
    select,
    table,
    text,
    union,
)

from daemon import postgres, schema
from daemon.clock import Clock, seconds
from daemon.database import Database
from daemon.errors import UnavailableError

log = logging.getLogger(__name__)
_COLUMNS = [each.name for each in schema.events.c]
_AHEAD = 2  # months that are there before they begin
_ONE_IN = 100  # of a month's events at most are moved rather than waited for; or, of few events,
_FEW = 100  # so many, and half of them
_SLICE = 500_000  # events looked at in one statement
_TRIES, _PAUSE_S = 20, 0.1  # to find nobody reading
_DAY_US, _AGAIN_US = seconds(86_400), seconds(3_600)
_NAMES = text(
    "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
    " WHERE inhparent = 'events'::regclass"
)
_ROWS = text("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:name)")  # estimated


def _partition(name: str) -> TableClause:
    return table(name, *(column(each) for each in _COLUMNS))


@dataclass(frozen=True, order=True)
class Month:
    """A month of the calendar, UTC."""

    number: int  # since the year 0

    @classmethod
    def of(cls, now_us: int) -> Self:
        """Return the month of a time in UTC microseconds."""
        day = datetime.fromtimestamp(now_us / 1e6, UTC)
        return cls(12 * day.year + day.month - 1)

    @classmethod
    def named(cls, partition: str) -> Self | None:
        """Return the month of a partition; None: it is the rest."""
        words = partition.removeprefix("events_").split("_")
        if len(words) != 2 or not all(map(str.isdecimal, words)):
            return None
        return cls(12 * int(words[0]) + int(words[1]) - 1)

    @property
    def partition(self) -> str:
        """Its table."""
        return f"events_{self.number // 12:04}_{self.number % 12 + 1:02}"

    @property
    def begin_us(self) -> int:
        """Its first moment."""
        begin = datetime(self.number // 12, self.number % 12 + 1, 1, tzinfo=UTC)
        return int(begin.timestamp()) * 1_000_000

    def later(self, months: int) -> "Month":
        """Return the month so many later."""
        return Month(self.number + months)


class Months:
    """The partitions of `events`."""

    rest = _partition("events_rest")

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._failed_us = -_AGAIN_US  # when a month was not to be made

    def there(self) -> list[Month]:
        """Return the months that there are, the oldest first."""
        with self._database.read() as connection:
            names = connection.execute(_NAMES).scalars().all()
        return sorted(month for name in names if (month := Month.named(name)) is not None)

    def make_ahead(self) -> None:
        """Make the months to come that are not there; what failed is tried again an hour later."""
        now = self._clock()
        if 0 <= now - self._failed_us < _AGAIN_US:
            return
        there = self.there()
        wanted = (Month.of(now).later(ahead) for ahead in range(1, _AHEAD + 1))
        for month in wanted:
            if month not in there and not self._alter(
                f"{month.partition} was not made", partial(make, month)
            ):
                self._failed_us = now
                return

    def drop(
        self, needed: Callable[[FromClause], ColumnElement[bool]], go_on: Callable[[], bool]
    ) -> None:
        """Drop the months that are over and of which next to nothing is needed.

        Parameters
        ----------
        needed
            Tells of a table of events, as SQL, which are to be moved to the rest.
        """
        this = Month.of(self._clock())
        for month in self.there():
            if month >= this or not go_on():
                return
            latest = self._database.write(_latest)  # of all that is committed
            ids = self._few(month, needed, go_on)
            if ids is not None and self._alter(
                f"{month.partition} was not dropped", partial(_drop, month, ids, latest)
            ):
                words = f"{month.partition} dropped; {len(ids)} events of it are needed"
                log.info(words, extra={"action": "purge"})

    def overdue(self, days: int) -> list[TableClause]:
        """Return what is worked row by row: the rest, and months that should have been dropped.

        The clock tells which: a month after whose end `days` and another month have gone by. It
        tells nothing of what is deleted there.
        """
        now = Month.of(self._clock() - days * _DAY_US)
        overdue = (month for month in self.there() if month.later(1) < now)
        return [self.rest, *(_partition(month.partition) for month in overdue)]

    def _few(
        self,
        month: Month,
        needed: Callable[[FromClause], ColumnElement[bool]],
        go_on: Callable[[], bool],
    ) -> list[int] | None:
        """Return the numbers of a month's events that are needed; None: they are not few."""
        lying = _partition(month.partition)
        with self._database.read() as connection:
            rows = _number(connection, lying)
            ends = connection.execute(select(func.min(lying.c.id), func.max(lying.c.id))).one()
        first, last = (end or 0 for end in ends)
        most = max(rows // _ONE_IN, min(_FEW, rows // 2))
        ids: list[int] = []
        for begin in range(first, last + 1, _SLICE):
            if not go_on():
                return None
            query = select(lying.c.id).where(lying.c.id.between(begin, begin + _SLICE - 1))
            query = query.where(needed(lying)).limit(most + 1 - len(ids))
            with self._database.read() as connection:
                ids.extend(connection.execute(query).scalars())
            if len(ids) > most:
                return None
        return ids

    def _alter(self, otherwise: str, work: Callable[[Connection], None]) -> bool:
        reason = "somebody reads it for long"
        try:
            for _ in range(_TRIES):
                if self._database.write(partial(_unless_held, work)):
                    return True
                time.sleep(_PAUSE_S)
        except UnavailableError as error:
            reason = str(error)
        log.warning(otherwise, extra={"action": "purge", "reason": reason})
        return False


def _unless_held(work: Callable[[Connection], None], connection: Connection) -> bool:
    """Alter partitions, unless somebody reads events or studies; tell whether it was done."""
    # studies, for the partitions refer to them
    if not postgres.seize(connection, "events, studies"):
        return False
    work(connection)
    return True


def _number(connection: Connection, lying: TableClause) -> int:
    """Return how many events lie in a partition; of many, as the server estimates."""
    rows = int(connection.execute(_ROWS, {"name": lying.name}).scalar_one())
    if rows > _SLICE:
        return rows
    return int(connection.execute(select(func.count()).select_from(lying)).scalar_one())


def make(month: Month, connection: Connection) -> None:
    """Make a month's partition; what lies in the rest by a clock that was set moves to it."""
    name, begin, end = month.partition, month.begin_us, month.later(1).begin_us
    rest, made = Months.rest, _partition(name)
    connection.exec_driver_sql(
        f"CREATE TABLE {name} (LIKE events INCLUDING DEFAULTS INCLUDING INDEXES)"
    )
    theirs = (rest.c.at_us >= begin, rest.c.at_us < end)
    connection.execute(insert(made).from_select(_COLUMNS, select(rest).where(*theirs)))
    connection.execute(rest.delete().where(*theirs))
    connection.exec_driver_sql(
        f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ({begin}) TO ({end})"
    )


def _latest(connection: Connection) -> int:
    return int(connection.execute(select(func.max(schema.events.c.id))).scalar() or 0)


def _drop(month: Month, needed: Sequence[int], latest: int, connection: Connection) -> None:
    """Drop a partition; events of these numbers move to the rest.

    So do those of studies that have been woken since the event `latest`.
    """
    name, lying, events = month.partition, _partition(month.partition), schema.events
    connection.exec_driver_sql(f"ALTER TABLE events DETACH PARTITION {name}")
    woken = select(events.c.study_id).where(events.c.id > latest)
    # two statements of which each has its index: nobody may write while these are looked for
    theirs = union(
        select(lying).where(lying.c.id == any_(literal(needed, ARRAY(BigInteger)))),
        select(lying).where(lying.c.study_id.in_(woken)),
    )
    connection.execute(insert(events).from_select(_COLUMNS, theirs))
    connection.exec_driver_sql(f"DROP TABLE {name}")
