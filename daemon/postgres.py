"""PostgreSQL, where several processes or machines share the rows: sessions, one lock, one clock.

SQLite has one writer, and the code that decides by rows rests on that: nothing changes between what
it reads and what it writes. Here a write takes an advisory lock for its transaction, by itself or
together with others (`lock`), so that the same code stays right. No session may hold it for long:
the server ends one that is silent within a transaction, and notices a peer that is gone. A server
that does not answer is given up (`Patience`).
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from daemon.clock import Clock
from daemon.errors import UnavailableError

log = logging.getLogger(__name__)
_SET_EVERY_S = 60.0  # the clock
_WRITERS = text("SELECT pg_advisory_xact_lock(hashtext('axnode.writers'))")
_TOGETHER = text("SELECT pg_advisory_xact_lock_shared(hashtext('axnode.writers'))")
_SCHEMA = text("SELECT pg_advisory_xact_lock(hashtext('axnode.schema'))")
_NOW_US = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
_NOTIFY = text("SELECT pg_notify('axnode', :what)")
CHANNEL = "axnode"

_CLIENT = {  # libpq: how soon a server is given up that cannot be reached, or acknowledges nothing
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
_SESSION = {  # how soon the server gives up a session, and what it holds
    "idle_in_transaction_session_timeout": "15s",
    "lock_timeout": "20s",
    "statement_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "15000",
}
_ADDING = text("SELECT pg_try_advisory_xact_lock(hashtext('axnode.tallies'))")
_ADD_UP = text(
    "WITH gone AS (DELETE FROM tally_changes RETURNING *)"
    " INSERT INTO tally_sums SELECT entity, destination, state, sum(number) FROM gone"
    " GROUP BY entity, destination, state ON CONFLICT (entity, destination, state)"
    " DO UPDATE SET number = tally_sums.number + excluded.number"
)
_LOCK_NOT_AVAILABLE = "55P03"
_PASSING = (
    "23505",  # unique_violation: somebody else has just written the same
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
)


@dataclass(frozen=True)
class Patience:
    """For how many seconds a server may be silent while it is waited for."""

    ping_s: float = 5.0  # whether a session of the pool is still there; no more than to connect
    write_s: float = 30.0  # longer than `lock_timeout`; a modality waits for it
    read_s: float = 75.0  # longer than `statement_timeout`


def engine(url: URL, patience: Patience | None = None) -> Engine:
    """Open a pool of sessions that give up what does not answer; the URL's own settings count.

    Those of a reader have the execution option `readonly`.
    """
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    arguments: dict[str, Any] = {**_CLIENT, "options": options, "application_name": "axnode"}
    for name in url.query:
        arguments.pop(name, None)
    opened = create_engine(url, pool_pre_ping=True, pool_size=8, connect_args=arguments)
    _limit(opened, patience or Patience())
    return opened


def _limit(opened: Engine, patience: Patience) -> None:
    """Have the sessions of an engine give up a server that is silent."""
    from daemon.sessions import Session  # with psycopg: only where it is configured

    def connect(_dialect: object, _record: object, words: Any, named: Any) -> Session:
        session = Session.connect(*words, **named)
        session.silence_s = patience.ping_s
        return session

    def taken(connection: Connection) -> None:
        readonly = connection.get_execution_options().get("readonly", False)
        _session(connection).silence_s = patience.read_s if readonly else patience.write_s

    def given_back(session: Session | None, _record: object) -> None:
        if session is not None:
            session.silence_s = patience.ping_s

    event.listen(opened, "do_connect", connect)
    event.listen(opened, "engine_connect", taken)
    event.listen(opened, "checkin", given_back)


def _session(connection: Connection) -> Any:
    return connection.connection.driver_connection


def lock(connection: Connection, *, alone: bool) -> None:
    """Take the writers' lock until the transaction ends: `alone`, or together with others."""
    connection.execute(_WRITERS if alone else _TOGETHER)


def lock_schema(connection: Connection) -> None:
    """Wait until no other process migrates; until the transaction ends none does.

    A migration of years of rows takes what it takes, on either side.
    """
    _session(connection).silence_s = None
    for limit in ("lock_timeout", "statement_timeout"):
        connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
    connection.execute(_SCHEMA)


def add_up(engine: Engine) -> None:
    """Add changes of counts (`daemon.schema.tallies`) to their sums, unless somebody does so."""
    try:
        with engine.begin() as connection:
            if connection.execute(_ADDING).scalar_one():
                connection.execute(_ADD_UP)
    except SQLAlchemyError as error:
        name = type(error).__name__
        log.error("counts are added up later", extra={"action": "add_up", "error": name})


def seize(connection: Connection, tables: str) -> bool:
    """Take tables to alter them until the transaction ends; tell whether nobody else had them."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE NOWAIT")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


def is_passing(error: Exception) -> bool:
    """Tell whether a write failed by another one at the same time, so that it may be run again."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _PASSING


def now_us(connection: Connection) -> int:
    """Return the server's clock."""
    return int(connection.execute(_NOW_US).scalar_one())


class SharedClock:
    """The server's clock, looked at now and then, and counted on by one that nobody sets.

    Leases of several machines are held against one clock, whatever theirs say.
    """

    def __init__(
        self, engine: Engine, now: Clock, steady_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._engine = engine
        self._steady_ns = steady_ns
        self._offset_us = now() - steady_ns() // 1000  # until the server has been asked
        self._set_s = -_SET_EVERY_S
        self._lock = threading.Lock()

    def __call__(self) -> int:
        """Return the time in UTC microseconds since 1970."""
        with self._lock:
            due = time.monotonic() - self._set_s >= _SET_EVERY_S
            if due:
                self._set_s = time.monotonic()
        if due:  # outside of the lock: a server that does not answer holds up one who asks
            self._adjust()
        return self._steady_us() + self._offset_us

    def _steady_us(self) -> int:
        return self._steady_ns() // 1000

    def _adjust(self) -> None:
        with contextlib.suppress(SQLAlchemyError), self._engine.connect() as connection:
            before = self._steady_us()
            there = now_us(connection)
            self._offset_us = there - (before + self._steady_us()) // 2


def notify(connection: Connection, what: str) -> None:
    """Tell every process that there is new work of a kind, once the transaction is committed."""
    connection.execute(_NOTIFY, {"what": what})


def heard(engine: Engine, ended: Callable[[], bool]) -> Iterator[str]:
    """Yield what is notified, and "" where nothing was for a while; until `ended` says so.

    Raises
    ------
    UnavailableError
        The server does not answer.
    """
    failures = (DBAPIError, OSError, engine.dialect.loaded_dbapi.Error)
    try:
        with closing(engine.raw_connection()) as pooled:
            connection: Any = pooled.driver_connection
            connection.autocommit = True
            try:
                connection.execute(f"LISTEN {CHANNEL}")
                while not ended():
                    yield from (each.payload for each in connection.notifies(timeout=1.0))
                    connection.execute("SELECT 1")  # a server that is silent notifies of nothing
                    yield ""
            finally:
                pooled.invalidate()  # the pool has no use for one that listens
    except failures as error:
        raise UnavailableError("database: does not answer") from error
