"""One engine, one writer thread, many readers.

Every write goes through the writer thread, which commits what has gathered in one transaction
(group commit): a fsync a group, not a fsync a row, and never a lock conflict inside the process.
On SQLite the writer also runs the checkpoints, between commits.
"""

import contextlib
import logging
import queue
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    column,
    create_engine,
    event,
    insert,
    inspect,
    select,
    table,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from daemon import clock, failpoints, migrations, schema
from daemon.errors import ConfigError, UnavailableError

log = logging.getLogger(__name__)
Result = TypeVar("Result")
_GROUP = 200  # writes that share one commit at most
_CHECKPOINT_EVERY = 500  # commits between two checkpoints of SQLite's write-ahead log


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(
            "configuration: database.url: not a database URL; sqlite:///FILE or postgresql+psycopg://…"
        ) from None
    if parsed.get_backend_name() != "sqlite":
        try:
            return create_engine(parsed, pool_pre_ping=True)
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise ConfigError(f"configuration: database.url: driver missing ({error})") from error
    engine = create_engine(parsed, connect_args={"timeout": 30, "check_same_thread": False})
    event.listen(engine, "connect", _sqlite_connect)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def check_url(url: str) -> None:
    """Raise `ConfigError` where it names no database that could be opened."""
    _engine(url).dispose()


def _sqlite_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "wal_autocheckpoint=0",  # the writer does it: SQLite before 3.51 has a WAL-reset bug
    ):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    readonly = connection.get_execution_options().get("readonly", False)
    connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")


class Database:
    """The rows; see the module's docstring.

    Parameters
    ----------
    owner
        The service owns its database: it migrates it and runs the checkpoints. Commands that look
        in on a running service do not.

    Raises
    ------
    UnavailableError
        The database cannot be opened or migrated.
    """

    def __init__(self, url: str, *, owner: bool = True) -> None:
        self._engine = _engine(url)
        self._reader = self._engine.execution_options(readonly=True)
        self._checkpoints = owner and self._engine.dialect.name == "sqlite"
        self._queue: queue.SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._closing = threading.Lock()  # nothing may be queued behind the end
        self._closed = False
        try:
            if owner:
                self._migrate()
            self.database_id, self.node_id = self._identity()
        except DBAPIError as error:
            raise UnavailableError(
                f"database: cannot be opened ({_first_line(error)}): check database.url and "
                "node.state_dir, and that axnode serve has run once"
            ) from error
        self._thread = threading.Thread(target=self._work, name="database-writer", daemon=True)
        self._thread.start()

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            if _revision(connection) != migrations.HEAD:
                migrations.upgrade(connection)

    def _identity(self) -> tuple[str, str]:
        with self.read() as connection:  # a look-in must not wait for the service's writer
            row = connection.execute(select(schema.node)).one_or_none()
        if row is not None:
            return row.database_id, row.node_id
        with self._engine.begin() as connection:
            ids = secrets.token_hex(16), secrets.token_hex(16)
            connection.execute(
                insert(schema.node).values(
                    id=1, database_id=ids[0], node_id=ids[1], created_us=clock.now_us()
                )
            )
            return ids

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction of the writer; return its result after the commit.

        What `work` raises comes out here, and its own changes are rolled back, not its
        neighbours'. It is run again where a neighbour fails: what it does besides its rows, such as
        deleting a file, must bear that.
        """
        future: Future[Result] = Future()
        with self._closing:
            if self._closed:
                raise UnavailableError("database: closed")
            self._queue.put((work, future))
        return future.result()

    def renew_identity(self) -> None:
        """Take a new database id: the UIDs of results to come differ from all that went out."""
        fresh = secrets.token_hex(16)
        self.write(lambda c: c.execute(update(schema.node).values(database_id=fresh)) and None)
        self.database_id = fresh

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with its own file; nothing for other databases."""
        if self._engine.dialect.name != "sqlite":
            return []
        with self.read() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        return [] if found == ["ok"] else [f"database: {line}" for line in found]

    @property
    def alive(self) -> bool:
        """Whether the writer thread runs."""
        return self._thread.is_alive()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read-only view of the committed rows."""
        with self._reader.connect() as connection:
            yield connection

    def close(self) -> None:
        """Finish the queued writes and close; nothing may be written afterwards."""
        with self._closing:
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._engine.dispose()

    def _work(self) -> None:
        commits = 0
        while (group := self._gather()) is not None:
            self._commit(group)
            commits += 1
            if self._checkpoints and (commits % _CHECKPOINT_EVERY == 0):
                self._checkpoint("PASSIVE")
        if self._checkpoints:
            self._checkpoint("TRUNCATE")

    def _gather(self) -> "_Group | None":
        first = self._queue.get()
        if first is None:
            return None
        group = [first]
        while len(group) < _GROUP and not self._queue.empty():
            item = self._queue.get()
            if item is None:
                self._queue.put(None)  # close after this group
                break
            group.append(item)
        return group

    def _commit(self, group: "_Group") -> None:
        try:
            with self._engine.begin() as connection:
                answers = [work(connection) for work, _ in group]
                failpoints.reach("database.begun")
            failpoints.reach("database.committed")
        except Exception as error:  # noqa: BLE001 - the caller's error, raised where it waits
            self._failed(group, error)
            return
        for (_, future), answer in zip(group, answers, strict=True):
            future.set_result(answer)

    def _failed(self, group: "_Group", error: Exception) -> None:
        """Nothing of the group was committed: do each alone, so that one fails by itself.

        That is dearer for a group than a savepoint round every write, and far cheaper for all
        others: a write that fails is rare.
        """
        if len(group) > 1:
            for item in group:
                self._commit([item])
            return
        if isinstance(error, SQLAlchemyError):
            log.error("commit failed", extra={"action": "commit", "error": _first_line(error)})
            error = UnavailableError(f"database: {_first_line(error)}")
        group[0][1].set_exception(error)

    def _checkpoint(self, mode: str) -> None:
        """Move the log into the database; a full disk puts it off, and nothing is lost."""
        try:
            with contextlib.closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute(f"PRAGMA wal_checkpoint({mode})")
            failpoints.reach("database.checkpointed")
        except (SQLAlchemyError, sqlite3.Error) as error:
            name = type(error).__name__
            log.error("checkpoint put off", extra={"action": "checkpoint", "error": name})


_Group = list[tuple[Callable[[Connection], Any], "Future[Any]"]]


def _revision(connection: Connection) -> str | None:
    """Return the schema's revision as Alembic notes it; None: there is no schema yet."""
    name = "alembic_version"
    if not inspect(connection).has_table(name):
        return None
    return connection.execute(select(column("version_num")).select_from(table(name))).scalar()


def _first_line(error: SQLAlchemyError) -> str:
    # the statement and its parameters stay out of logs: they may name a patient's study
    cause = error.orig if isinstance(error, DBAPIError) else None
    return str(cause).splitlines()[0] if cause else type(error).__name__
