"""What SQLite does for a statement: the plans of everything that is executed meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from daemon.database import Database


@contextmanager
def plans(database: Database) -> Iterator[dict[str, list[str]]]:
    """Collect the plan of each statement that a database executes, by its text.

    Without statistics (`ANALYZE` is never run) a plan rests on the schema alone, not on the rows.
    """
    engine: Engine = database._engine
    found: dict[str, list[str]] = {}

    def before(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        words = statement.split(maxsplit=1)[0].upper()
        if words in {"SELECT", "UPDATE", "DELETE", "WITH"} and statement not in found:
            first = parameters[0] if isinstance(parameters, list) else parameters
            rows = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", first)
            found[statement] = [row[3] for row in rows]

    event.listen(engine, "before_cursor_execute", before)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", before)
