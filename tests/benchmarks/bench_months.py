"""What ten years of events cost on PostgreSQL, month by month, and how a month of them goes.

``python -m tests.benchmarks.bench_months``: the same operations on a database of three months and
on one of a hundred and twenty, in turn, and then a month that is dropped beside as many events that
are deleted row by row. The server syncs its commits.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial

from sqlalchemy import create_engine, func, select, text

from daemon import schema
from daemon.clock import now_us
from daemon.console.study import study
from daemon.database import Database
from daemon.events import record
from daemon.months import Month, Months, make
from daemon.timelines import Timelines
from tests.benchmarks.bench_scale import quickest
from tests.benchmarks.table import Figure, finish, within
from tests.postgres import PostgreSQL

FEW, MANY = 3, 120  # months
STUDIES, EVENTS = 6_000, 8  # a month; of a study
LARGE = 125_000  # studies in the month that is dropped: a million events
PARKED = 100  # of them
DAYS = 730
MOST = 20.0  # milliseconds
_STUDIES = text(
    "INSERT INTO studies (study_uid, state, received_us, last_instance_us, unassembled,"
    " moved_night, source_ae) SELECT '1.2.' || :month || '.' || n,"
    " CASE WHEN n <= :parked THEN 'parked' ELSE 'delivered' END, :begin + n, :begin + n, false,"
    " -:rested, 'US1' FROM generate_series(1, :studies) AS n"
)
_EVENTS = text(
    "INSERT INTO events (at_us, study_id, entity, entity_id, action, detail)"
    " SELECT received_us + n, id, 'delivery', id, 'delivered', 'pacs: stored, status 0x0000'"
    " FROM studies, generate_series(0, :events - 1) AS n WHERE received_us >= :begin"
    " AND received_us < :end ORDER BY received_us, n"
)


def fill(database: Database, month: Month, studies: int, parked: int = 0, rested: int = 0) -> None:
    """Write down what happened in a month."""
    ends = {"begin": month.begin_us, "end": month.later(1).begin_us}
    rows = {"month": month.number, "studies": studies, "parked": parked, "rested": rested}
    with create_engine(database._engine.url).begin() as connection:  # which takes its time
        # triggers would count each study in one transaction, and leave as many versions of a count
        connection.exec_driver_sql("SET session_replication_role = replica")
        connection.execute(_STUDIES, {**rows, "begin": ends["begin"]})
        connection.execute(_EVENTS, {**ends, "events": EVENTS})


def _tidy(database: Database) -> None:
    with database._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


@contextmanager
def years(server: PostgreSQL, name: str, months: int) -> Iterator[Database]:
    """Make a database of so many months, this one the last."""
    with closing(Database(server.empty(name))) as database:
        last = Month.of(now_us())
        for ago in reversed(range(months)):
            database.write(partial(make, last.later(-ago)))
            fill(database, last.later(-ago), STUDIES)
        _tidy(database)
        yield database


def _often(database: Database) -> dict[str, Callable[[], object]]:
    with database.read() as connection:
        some = connection.execute(select(func.max(schema.studies.c.id))).scalar_one()

    def page() -> None:
        with database.read() as connection:
            study(connection, some)

    def last_event() -> None:
        with database.read() as connection:
            connection.execute(select(func.max(schema.events.c.id))).scalar()

    def event() -> None:
        database.write(lambda c: record(c, now_us(), "study", some, "noted", study_id=some))

    return {
        "a study's page": page,
        "the number of the latest event": last_event,
        "an event recorded, one commit each": event,
    }


class _Timed:
    """A database that notes the longest of its writes: for so long others waited."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.shared, self.read = database.shared, database.read
        self.longest_s = 0.0

    def write(self, work: Callable[..., object], *, alone: bool = True) -> object:
        """Write."""
        took_s, done = _took(lambda: self._database.write(work, alone=alone))
        self.longest_s = max(self.longest_s, took_s)
        return done


def _took(work: Callable[[], object]) -> tuple[float, object]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done


def _gone(server: PostgreSQL, name: str, *, by_month: bool) -> tuple[float, float, float]:
    """Have a large month deleted, with a partition of its own or without.

    Returns the seconds that it took, those of its longest write, and those that the server then
    takes to tidy up.
    """
    with closing(Database(server.empty(name))) as database:
        month = Month.of(now_us()).later(-1)
        if by_month:
            database.write(partial(make, month))
        fill(database, month, LARGE, PARKED, rested=DAYS + 1)
        _tidy(database)
        timed = _Timed(database)
        took_s, _ = _took(Timelines(DAYS, timed, now_us).run)  # type: ignore[arg-type]
        assert (month in Months(database, now_us).there()) is False
        with database.read() as connection:
            left = connection.execute(select(func.count()).select_from(schema.events)).scalar()
        assert left == PARKED * EVENTS
        tidy_s, _ = _took(lambda: _tidy(database))
        return took_s, timed.longest_s, tidy_s


def _figure(
    what: str, rounds: int, few: Callable[[], object], many: Callable[[], object]
) -> Figure:
    pairs = [(quickest(few), quickest(many)) for _ in range(rounds)]
    others, values = zip(*pairs, strict=True)
    return within(
        MOST, Figure(f"{MANY} months of events: {what}", "ms", values, f"{FEW} months", others)
    )


def measure(rounds: int) -> list[Figure]:
    """Make the databases, and measure on them in turn."""
    with PostgreSQL(durable=True) as server:
        with years(server, "few", FEW) as few, years(server, "many", MANY) as many:
            quick = _often(few)
            found = [
                _figure(what, rounds, quick[what], work) for what, work in _often(many).items()
            ]
        both = [
            (
                _gone(server, f"dropped_{n}", by_month=True),
                _gone(server, f"deleted_{n}", by_month=False),
            )
            for n in range(rounds)
        ]
        dropped, deleted = (list(zip(*each, strict=True)) for each in zip(*both, strict=True))
    words = ("deleted", "deleted: the longest write", "deleted: to tidy up")
    return found + [
        Figure(f"A million events {what}", "s", month, "row by row", rows)
        for what, month, rows in zip(words, dropped, deleted, strict=True)
    ]


if __name__ == "__main__":
    finish(__doc__, measure, rounds=3)
