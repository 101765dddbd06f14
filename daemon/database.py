"""One engine, one writer thread, many readers.

Every write goes through the writer thread, which commits what has gathered in one transaction
(group commit): a fsync a group, not a fsync a row, and never a lock conflict inside the process.
On SQLite the writer also runs the checkpoints, between commits. PostgreSQL may have writers in
other processes too: `daemon.postgres` keeps them out of each other's decisions.
"""

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    insert,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from daemon import clock, migrations, postgres, schema, sqlite
from daemon.errors import ConfigError, UnavailableError
from daemon.postgres import Patience
from daemon.writer import Writer, first_line

log = logging.getLogger(__name__)
Result = TypeVar("Result")
_SLOW_S = 20.0  # a commit takes milliseconds
_FOLDER = select(schema.turns.c.holder).where(schema.turns.c.name == "folder")


def _engine(url: str, patience: Patience | None = None) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "configuration: database.url: not a database URL; sqlite:///FILE or postgresql+psycopg://…"
        ) from None
    if "@" in (parsed.host or ""):
        raise ConfigError("configuration: database.url: an @ in the password is written as %40")
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise ConfigError("configuration: database.url: SQLite and PostgreSQL are what there is")
    try:
        return sqlite.engine(parsed) if kind == "sqlite" else postgres.engine(parsed, patience)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(f"configuration: database.url: driver missing ({error})") from error


def check_url(url: str) -> None:
    """Raise `ConfigError` where it names no database that could be opened."""
    _engine(url).dispose()


def has_schema(url: str) -> bool:
    """Tell whether a database holds the service's tables.

    Raises
    ------
    UnavailableError
        It cannot be opened.
    """
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            return migrations.revision(connection) is not None
    except DBAPIError as error:
        raise UnavailableError(
            f"database: cannot be opened ({first_line(error)}): check database.url"
        ) from error
    finally:
        engine.dispose()


class Database:
    """The rows; see the module's docstring.

    Parameters
    ----------
    owner
        The service owns its database: it migrates it and runs the checkpoints. Commands that look
        in on a running service do not.
    patience
        How long a server that does not answer is waited for; left out: as long as is sensible.

    Raises
    ------
    UnavailableError
        The database cannot be opened or migrated.
    """

    def __init__(self, url: str, *, owner: bool = True, patience: Patience | None = None) -> None:
        self._engine = _engine(url, patience)
        self._reader = self._engine.execution_options(readonly=True)
        self.shared = self._engine.dialect.name == "postgresql"
        """Whether other processes may write the same rows."""
        self._silent = ""  # why it did not answer the last time; "": it did
        try:
            if owner:
                self._migrate()
            self.database_id, self.node_id = self._identity()
        except DBAPIError as error:
            raise UnavailableError(
                f"database: cannot be opened ({first_line(error)}): check database.url and "
                "node.state_dir, and that axnode serve has run once"
            ) from error
        self._writer = Writer(
            self._engine, shared=self.shared, checkpoints=owner and not self.shared
        )

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            if self.shared:
                postgres.lock_schema(connection)
            if migrations.revision(connection) != migrations.HEAD:
                if self.shared:  # who has not been stopped waits
                    postgres.lock(connection, alone=True)
                migrations.upgrade(connection)

    def _identity(self) -> tuple[str, str]:
        with self._reader.connect() as connection:  # must not wait for the service's writer
            row = connection.execute(select(schema.node)).one_or_none()
        if row is not None:
            return row.database_id, row.node_id
        with self._engine.begin() as connection:
            if self.shared:
                postgres.lock_schema(connection)
                row = connection.execute(select(schema.node)).one_or_none()
                if row is not None:  # another process was faster
                    return row.database_id, row.node_id
            ids = secrets.token_hex(16), secrets.token_hex(16)
            connection.execute(
                insert(schema.node).values(
                    id=1, database_id=ids[0], node_id=ids[1], created_us=clock.now_us()
                )
            )
            return ids

    def write(self, work: Callable[[Connection], Result], *, alone: bool = True) -> Result:
        """Run `work` in a transaction of the writer; return its result after the commit.

        While it runs nothing else is written, by any process. With `alone` false other processes
        may write at the same time, others of that kind: what it decides by must then be guarded by
        the rows themselves. Such writes are most, and they need not wait for each other.

        What `work` raises comes out here, and its own changes are rolled back, not its
        neighbours'. It is run again where a neighbour fails: what it does besides its rows, such as
        deleting a file, must bear that.
        """
        result = self._writer.write(work, alone=alone)
        self._silent = ""
        return result

    def renew_identity(self) -> None:
        """Take a new database id: the UIDs of results to come differ from all that went out."""
        fresh = secrets.token_hex(16)
        self.write(lambda c: c.execute(update(schema.node).values(database_id=fresh)) and None)
        self.database_id = fresh

    def folder_id(self) -> str:
        """Return the mark of the folder that all nodes with these rows share; empty: none yet."""
        with self.read() as connection:
            return str(connection.execute(_FOLDER).scalar() or "")

    def take_folder(self, mark: str) -> str:
        """Make a mark that of these rows' folder; return the one that counts."""
        turns = schema.turns

        def take(connection: Connection) -> str:
            found = connection.execute(_FOLDER).scalar()
            if found is None:
                connection.execute(insert(turns).values(name="folder", holder=mark, until_us=0))
            return str(found or mark)

        return self.write(take)

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with its own file; nothing for other databases."""
        if self.shared:
            return []
        with self.read() as connection:
            return sqlite.damage(connection)

    @property
    def problem(self) -> str:
        """Why the database does not answer, or does not take what is written; empty: it does."""
        if self._writer.at_it_s > _SLOW_S:
            return f"database: a write has had no answer for {self._writer.at_it_s:.0f} s"
        return self._silent or self._writer.problem

    @property
    def alive(self) -> bool:
        """Whether the writer thread runs."""
        return self._writer.alive

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read-only view of the committed rows.

        Raises
        ------
        UnavailableError
            The database does not answer.
        """
        try:
            with self._reader.connect() as connection:
                yield connection
            self._answered()
        except DBAPIError as error:
            if not error.connection_invalidated and not isinstance(error, OperationalError):
                raise
            self._silent = f"database: {first_line(error)}"
            raise UnavailableError(self._silent) from error
        except PoolTimeout as error:
            self._silent = "database: all sessions wait for its answers"
            raise UnavailableError(self._silent) from error

    def clock(self, now: clock.Clock) -> clock.Clock:
        """Return a clock that all processes with these rows go by, and agree on leases."""
        return postgres.SharedClock(self._engine, now) if self.shared else now

    def heard(self, ended: Callable[[], bool]) -> Iterator[str]:
        """Yield what other processes notify of, and "" now and then, until `ended` says so."""
        try:
            for what in postgres.heard(self._engine, ended):
                self._answered()
                yield what
        except UnavailableError as error:
            self._silent = str(error)
            raise

    def _answered(self) -> None:
        self._silent = ""
        if self.shared:
            self._writer.problem = ""

    def notify(self, what: str) -> None:
        """Tell other processes that there is new work of a kind, where there may be any."""
        if self.shared:
            self.write(lambda c: postgres.notify(c, what), alone=False)

    def close(self) -> None:
        """Finish the queued writes and close; nothing may be written afterwards."""
        self._writer.close()
        self._engine.dispose()
