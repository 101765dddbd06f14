"""SQLite, the embedded default: one process, one file, a write-ahead log."""

import contextlib
import logging
import sqlite3
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from daemon import failpoints

log = logging.getLogger(__name__)


def engine(url: URL) -> Engine:
    """Open a pool of connections; those of a reader have the execution option `readonly`."""
    opened = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
    event.listen(opened, "connect", _connected)
    event.listen(opened, "begin", _begun)
    return opened


def _connected(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "wal_autocheckpoint=0",  # the writer does it: SQLite before 3.51 has a WAL-reset bug
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begun(connection: Connection) -> None:
    readonly = connection.get_execution_options().get("readonly", False)
    connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")


def checkpoint(opened: Engine, mode: str) -> None:
    """Move the log into the database; a full disk puts it off, and nothing is lost."""
    try:
        with contextlib.closing(opened.raw_connection()) as connection:
            connection.cursor().execute(f"PRAGMA wal_checkpoint({mode})")
        failpoints.reach("database.checkpointed")
    except (SQLAlchemyError, sqlite3.Error) as error:
        name = type(error).__name__
        log.error("checkpoint put off", extra={"action": "checkpoint", "error": name})


def damage(connection: Connection) -> list[str]:
    """Return what SQLite finds wrong with its own file."""
    found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    return [] if found == ["ok"] else [f"database: {line}" for line in found]
