"""The one thread of a process that writes rows, with commits that many writes share."""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from daemon import failpoints, postgres, sqlite
from daemon.errors import UnavailableError

log = logging.getLogger(__name__)
Result = TypeVar("Result")
_GROUP = 200  # writes that share one commit at most
_TIDY_EVERY = 500  # commits, after which SQLite's log is moved, or PostgreSQL's counts added up
_TRIES = 8  # of a write that another process's stood in the way of
_PAUSE_S = 0.05  # between two of them, at most; longer each time


@dataclass(frozen=True)
class _Write:
    """A write that waits for the writer."""

    work: Callable[[Connection], Any]
    alone: bool
    future: "Future[Any]" = field(default_factory=Future)


_Group = list[_Write]


class Writer:
    """Commits what has gathered in one transaction; see `daemon.database.Database.write`.

    Parameters
    ----------
    shared
        Other processes may write the same rows.
    checkpoints
        SQLite's write-ahead log is moved into the database between commits.
    """

    def __init__(self, engine: Engine, *, shared: bool, checkpoints: bool) -> None:
        self.problem = ""  # why the last write failed, where that was the database's fault
        self._engine = engine
        self._shared = shared
        self._checkpoints = checkpoints
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._closing = threading.Lock()  # nothing may be queued behind the end
        self._closed = False
        self._since_s: float | None = None  # monotonic: when the commit at hand began
        self._thread = threading.Thread(target=self._work, name="database-writer", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def at_it_s(self) -> float:
        """For how long the commit at hand has been."""
        since = self._since_s
        return 0.0 if since is None else time.monotonic() - since

    @property
    def waiting(self) -> int:
        """Number of writes that nobody has begun."""
        return self._queue.qsize()

    def write(self, work: Callable[[Connection], Result], *, alone: bool) -> Result:
        """Run `work` in a transaction; return its result after the commit."""
        item = _Write(work, alone)
        with self._closing:
            if self._closed:
                raise UnavailableError("database: closed")
            self._queue.put(item)
        result: Result = item.future.result()
        return result

    def close(self) -> None:
        """Finish what is queued, and end."""
        with self._closing:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        commits = 0
        while (group := self._gather()) is not None:
            self._since_s = time.monotonic()
            self._commit(group)
            self._since_s = None
            commits += 1
            if commits % _TIDY_EVERY == 0:
                self._tidy()
        if self._checkpoints:
            sqlite.checkpoint(self._engine, "TRUNCATE")

    def _tidy(self) -> None:
        if self._shared:
            postgres.add_up(self._engine)
        elif self._checkpoints:
            sqlite.checkpoint(self._engine, "PASSIVE")

    def _gather(self) -> _Group | None:
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

    def _commit(self, group: _Group, tries: int = 1) -> None:
        try:
            with self._engine.begin() as connection:
                if self._shared:
                    postgres.lock(connection, alone=any(item.alone for item in group))
                answers = [item.work(connection) for item in group]
                failpoints.reach("database.begun")
            failpoints.reach("database.committed")
        except Exception as error:  # noqa: BLE001 - the caller's error, raised where it waits
            self._failed(group, error, tries)
            return
        self.problem = ""
        for item, answer in zip(group, answers, strict=True):
            item.future.set_result(answer)

    def _failed(self, group: _Group, error: Exception, tries: int) -> None:
        """Nothing of the group was committed: do each alone, so that one fails by itself.

        That is dearer for a group than a savepoint round every write, and far cheaper for all
        others: a write that fails is rare. Where the server is gone all of them have failed.
        """
        if len(group) > 1 and not (self._shared and _is_gone(error)):
            for item in group:
                self._commit([item])
            return
        if self._shared and tries < _TRIES and postgres.is_passing(error):
            time.sleep(random.uniform(0, _PAUSE_S * tries))  # noqa: S311 - to part two
            self._commit(group, tries + 1)
            return
        if isinstance(error, SQLAlchemyError):
            words = f"database: {first_line(error)}"
            if not self._shared or _is_gone(error):
                self.problem = words
            log.error("commit failed", extra={"action": "commit", "error": first_line(error)})
            error = UnavailableError(words)
        for item in group:
            item.future.set_exception(error)


def _is_gone(error: Exception) -> bool:
    return (
        isinstance(error, DBAPIError)
        and (error.connection_invalidated or isinstance(error, OperationalError))
        and not postgres.is_passing(error)
    )


def first_line(error: SQLAlchemyError) -> str:
    """Return what the database says, without the statement: that may name a patient's study."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    return str(cause).splitlines()[0] if cause else type(error).__name__
