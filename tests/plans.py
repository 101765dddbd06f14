"""What SQLite does for a statement: the plans of everything that is executed meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from daemon import schema
from daemon.database import Database

_SMALL = ("node", "tallies", "alembic_version")
_PARTIAL = [
    index.name
    for each in schema.metadata.tables.values()
    for index in each.indexes
    if index.dialect_options["sqlite"]["where"] is not None
]


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


def faults(found: dict[str, list[str]]) -> list[str]:
    """Return what takes longer as tables grow: walks that nothing ends, and sorts before a LIMIT.

    Along an index in the wanted order a LIMIT ends a walk; a partial index holds few rows.
    """
    lines = []
    for statement, plan in found.items():
        page = statement.rstrip().endswith("LIMIT ? OFFSET ?")
        sorts = page and any("TEMP B-TREE FOR ORDER BY" in line for line in plan)
        walks = [line for line in plan if _walks(line) and not (page and _ends(line, statement))]
        if sorts or walks:
            lines.append(f"{walks or 'sorts'}: {statement}")
    return lines


def _walks(line: str) -> bool:
    words = line.split()
    whole = words[0] == "SCAN" or (words[0] == "SEARCH" and "USING" not in words)
    return whole and words[1] not in _SMALL and words[-1] not in _PARTIAL


def _ends(line: str, statement: str) -> bool:
    return " INDEX " in line and f"WHERE {line.split()[1]}." not in statement
