"""A database of years: a hundred thousand studies at rest, and a few hundred under way.

``python -m tests.benchmarks.full_database FILE`` makes one. Rows go in by SQLite's own interface,
with most indices made at the end; the triggers count them as they count any.
"""

import argparse
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.clock import now_us, seconds
from daemon.database import Database
from dicom_io import syntaxes

US = "1.2.840.10008.5.1.4.1.1.6.1"
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.33"
ROOT = "1.2.826.0.1.3680043.8.498.10"
IMAGES = 10  # of a study
DESTINATIONS = ("archive", "pacs")
SOURCES = ("US1", "US2", "US3", "US4")
_APART_S = 150.0  # between two studies
_SUMMARY = '{"version": 1, "nodes": [], "sides": [], "images": []}' + " " * 1500


@dataclass(frozen=True)
class Kind:
    """Where a study stands, with what belongs to it."""

    state: str
    analysis: str | None  # its state; None: there is none
    delivery: str | None  # the state of its deliveries; None: no object was made
    unassembled: bool = False


AT_REST = Kind("delivered", "done", "delivered")
_REST = (
    *(AT_REST,) * 94,
    *(Kind("not_evaluable", "done", "delivered"),) * 3,
    *(Kind("ignored", None, None),) * 2,
    Kind("parked", "done", "parked"),
)
_UNDER_WAY = (
    Kind("receiving", None, None, unassembled=True),
    Kind("queued", "queued", None),
    Kind("delivering", "done", "pending"),
    Kind("delivering", "done", "stored"),
)


def fill(path: Path, at_rest: int, under_way: int) -> None:
    """Make a database of so many studies; none of what is under way is due for a day."""
    Database(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-400000")
        connection.execute("BEGIN")
        indices = _without_indices(connection)
        for table, values in rows(at_rest, under_way).items():
            _insert(connection, table, values)
        for statement in indices:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _without_indices(connection: sqlite3.Connection) -> list[str]:
    """Drop the indices whose keys come in order; return the statements that make them.

    Hashes come in none: an index of them made at once has full pages, and every row that follows
    would split some.
    """
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master"
        " WHERE type = 'index' AND sql IS NOT NULL AND name NOT LIKE '%_hash'"
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}")
    return [statement for _, statement in found]


def _insert(
    connection: sqlite3.Connection, table: str, rows: Iterable[tuple[dict[str, Any]]]
) -> None:
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    names = ", ".join(first)
    marks = ", ".join(f":{name}" for name in first)
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - our own names
    connection.execute(statement, first)
    connection.executemany(statement, rows)


def _kinds(at_rest: int, under_way: int) -> Iterator[tuple[int, Kind]]:
    """Yield number and kind of every study, the oldest first."""
    for number in range(at_rest):
        yield number, _REST[number % len(_REST)]
    for number in range(under_way):
        yield at_rest + number, _UNDER_WAY[number % len(_UNDER_WAY)]


def rows(at_rest: int, under_way: int) -> dict[str, Iterator[dict[str, Any]]]:  # noqa: C901
    """Return the rows of each table; ids are numbers of studies, images and objects plus one."""
    now = now_us()
    all_of = at_rest + under_way
    arrived = [now - seconds(_APART_S * (all_of - n)) for n in range(all_of)]

    def studies() -> Iterator[dict[str, Any]]:
        for n, kind in _kinds(at_rest, under_way):
            yield {
                "id": n + 1,
                "study_uid": f"{ROOT}.{n:012d}.{arrived[n]}",
                "state": kind.state,
                "reason": "4 deliveries confirmed",
                "version": int(kind.analysis is not None),
                "received_us": arrived[n],
                # a study under way has just got its last image
                "last_instance_us": now if n >= at_rest else arrived[n] + seconds(60),
                "unassembled": kind.unassembled,
                "moved_night": -1 if n < at_rest else 0,
                "source_ae": SOURCES[n % len(SOURCES)],
            }

    def instances() -> Iterator[dict[str, Any]]:
        for n, _ in _kinds(at_rest, under_way):
            patient = hashlib.sha256(f"p{n // 2}".encode()).hexdigest()
            for image in range(IMAGES):
                yield {
                    "id": n * IMAGES + image + 1,
                    "study_id": n + 1,
                    "sop_instance_uid": f"{ROOT}.{n:012d}.{arrived[n]}.1.{image}",
                    "sop_class_uid": US,
                    "series_uid": f"{ROOT}.{n:012d}.{arrived[n]}.1",
                    "transfer_syntax_uid": syntaxes.EXPLICIT_LITTLE,
                    "instance_hash": hashlib.sha256(f"{n}.{image}".encode()).hexdigest(),
                    "patient_key": patient,
                    "size": 1_500_000,
                    "source_ae": SOURCES[n % len(SOURCES)],
                    "assumed": True,
                    "received_us": arrived[n] + image,
                }

    def analysed() -> Iterator[tuple[int, Kind]]:
        return ((n, kind) for n, kind in _kinds(at_rest, under_way) if kind.analysis)

    def analyses() -> Iterator[dict[str, Any]]:
        for n, kind in analysed():
            yield {
                "id": n + 1,
                "study_id": n + 1,
                "version": 1,
                "input_hash": hashlib.sha256(f"i{n}".encode()).hexdigest(),
                "bundle_digest": "b" * 64,
                "recipe_digest": "c" * 64,
                "state": kind.analysis,
                "summary": _SUMMARY if kind.analysis == "done" else "{}",
                "source_ae": SOURCES[n % len(SOURCES)],
                "due_us": arrived[n] if n < at_rest else now + seconds(3600.0),
                "created_us": arrived[n],
            }

    def used() -> Iterator[dict[str, Any]]:
        for n, _ in analysed():
            for image in range(IMAGES):
                yield {"analysis_id": n + 1, "instance_id": n * IMAGES + image + 1}

    def objects() -> Iterator[dict[str, Any]]:
        for n, kind in analysed():
            for ordinal, (role, sop_class) in enumerate((("seg", SEG), ("sr", SR))):
                if kind.delivery:
                    yield {
                        "id": 2 * n + ordinal + 1,
                        "analysis_id": n + 1,
                        "role": role,
                        "ordinal": 0,
                        "sop_class_uid": sop_class,
                        "sop_instance_uid": f"2.25.{n:030d}{ordinal}",
                        "series_instance_uid": f"2.25.{n:030d}{ordinal}.1",
                        "file_hash": hashlib.sha256(f"o{n}.{ordinal}".encode()).hexdigest(),
                        "size": 60_000,
                    }

    def deliveries() -> Iterator[dict[str, Any]]:
        for n, kind in analysed():
            for ordinal in range(2 * bool(kind.delivery)):
                for destination in DESTINATIONS:
                    yield {
                        "object_id": 2 * n + ordinal + 1,
                        "destination": destination,
                        "state": kind.delivery,
                        "attempts": int(kind.delivery == "parked"),
                        "due_us": arrived[n] if n < at_rest else now + seconds(600.0),
                        "status": 0,
                        "detail": "the peer refused it" if kind.delivery == "parked" else "",
                        "delivered_us": arrived[n] if kind.delivery == "delivered" else None,
                    }

    def events() -> Iterator[dict[str, Any]]:
        story = (
            *(("study", each) for each in ("receiving", "eligible", "queued", "analysing")),
            *(("analysis", each) for each in ("running", "done")),
            *(("study", "delivering"), *(("delivery", "delivered"),) * 4, ("study", "delivered")),
        )
        for n, kind in _kinds(at_rest, under_way):
            for entity, action in story if n < at_rest and kind.analysis else story[:1]:
                yield {
                    "at_us": arrived[n],
                    "study_id": n + 1,
                    "entity": entity,
                    "entity_id": n + 1,
                    "action": action,
                    "detail": "pacs: stored",
                }

    def asked_of_us() -> Iterator[dict[str, Any]]:
        for n in range(at_rest // 2):
            yield {
                "id": n + 1,
                "transaction_uid": f"2.25.{n:030d}",
                "source_ae": SOURCES[n % len(SOURCES)],
                "address": "10.0.0.5",
                "asked_us": arrived[n],
                "verified_us": arrived[n],
                "attempts": 1,
                "due_us": arrived[n],
                "ended_us": arrived[n],
            }

    def asked_by_us() -> Iterator[dict[str, Any]]:
        for n in range(at_rest):
            yield {
                "transaction_uid": f"2.25.9{n:030d}",
                "destination": "pacs",
                "asked_us": arrived[n],
            }

    return {
        "studies": studies(),
        "instances": instances(),
        "analyses": analyses(),
        "analysis_instances": used(),
        "objects": objects(),
        "deliveries": deliveries(),
        "events": events(),
        "commitment_requests": asked_of_us(),
        "commitments": asked_by_us(),
    }


def main() -> None:
    """Make one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--under-way", type=int, default=400)
    options = parser.parse_args()
    fill(options.file, options.studies, options.under_way)


if __name__ == "__main__":
    main()
