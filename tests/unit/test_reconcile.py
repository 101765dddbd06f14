"""Rows against files: what is missing, damaged, nobody's, or contradicts itself."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import column, table, update

from daemon import postgres, reconcile, schema
from daemon.reconcile import SETTLED_S, Kind
from daemon.spool import Spool
from tests import builders
from tests.builders import STUDY, Picture, Rows

pytestmark = pytest.mark.engines


class State:
    """A node's rows and folders."""

    def __init__(self, folder: Path, rows: Rows) -> None:
        self.rows = rows
        self.spool, self.objects = Spool(folder / "spool"), Spool(folder / "objects")
        self.images = reconcile.instances(self.spool)
        self.results = reconcile.objects(self.objects)

    def harmed(self, kind: Kind) -> list[str]:
        """Return the lines about a folder's files."""
        return list(reconcile.harmed(self.rows.database, kind))

    def sweep(self, kind: Kind) -> int:
        """Sweep a folder."""
        return reconcile.sweep(self.rows.database, kind)

    def inconsistent(self) -> list[str]:
        """Return the lines about rows."""
        with self.rows.database.read() as connection:
            return list(reconcile.inconsistent(connection))

    def set(self, table: Any, **values: Any) -> None:
        """Change a column behind the state machine's back."""
        self.rows.database.write(lambda c: c.execute(update(table).values(**values)) and None)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with builders.database(tmp_path) as opened:
        yield State(tmp_path, Rows(opened))


def age(path: Path, by_s: float = 2 * SETTLED_S) -> None:
    os.utime(path, (time.time() - by_s,) * 2)


def test_what_is_whole_is_not_worth_a_line(state: State) -> None:
    state.rows.queued(digest=builders.spooled(state.spool, Picture()))
    state.rows.deliver([builders.stored(1, state.objects)], lambda role: ["pacs"])
    assert state.harmed(state.images) == state.harmed(state.results) == state.inconsistent() == []


def test_harm_is_named_with_study_file_and_what_to_do(state: State) -> None:
    gone = builders.spooled(state.spool, Picture("1.2.3.1"))
    state.rows.receive("1.2.3.1", digest=gone)
    for number in range(2, 5):
        digest = builders.spooled(state.spool, Picture(f"1.2.3.{number}"))
        state.rows.receive(f"1.2.3.{number}", digest=digest)
    state.spool.path(gone).unlink()
    (line,) = state.harmed(state.images)
    assert line.startswith(f"the file of an image of study {STUDY} is missing: ")
    assert str(state.spool.path(gone)) in line
    assert "have the modality send the study again" in line
    built = state.rows.delivering(state.objects)
    path = state.objects.path(built[0].file_hash)
    path.write_bytes(b"other")
    (line,) = state.harmed(state.results)
    assert line.startswith(f"the file of a result of study {STUDY} is damaged: {path}; restore it")


def test_more_rows_than_a_page_are_all_looked_at(state: State) -> None:
    for number in range(5):
        state.rows.receive(f"1.2.3.{number}")  # no file at all
    lines = reconcile.harmed(state.rows.database, state.images, page_rows=2)
    assert len(list(lines)) == 5


def test_old_files_that_no_row_names_are_swept_and_no_others(state: State) -> None:
    named = builders.spooled(state.spool, Picture("1.2.3.1"))
    state.rows.receive("1.2.3.1", digest=named)
    old, new = (builders.spooled(state.spool, Picture(f"1.2.3.{n}")) for n in (2, 3))
    for digest in (named, old):
        age(state.spool.path(digest))
    with state.rows.database.read():
        assert [path.stem for path in reconcile.unnamed(state.rows.database, state.images)] == [old]
    assert state.sweep(state.images) == 1
    assert [state.spool.path(digest).exists() for digest in (named, old, new)] == [
        True,
        False,
        True,
    ]
    assert state.sweep(state.images) == 0


def test_what_retention_deleted_is_missed_by_nobody(state: State) -> None:
    """And what it is about to delete is left to it, for its rows must know."""
    gone, doomed = (builders.spooled(state.spool, Picture(f"1.2.3.{n}")) for n in (1, 2))
    for number, digest in enumerate((gone, doomed), 1):
        state.rows.receive(f"1.2.3.{number}", digest=digest)
        age(state.spool.path(digest))
    state.set(schema.instances, file="doomed")
    assert (state.harmed(state.images), state.sweep(state.images)) == ([], 0)
    state.set(schema.instances, file="gone")
    state.spool.path(doomed).unlink()
    assert state.harmed(state.images) == []
    assert state.sweep(state.images) == 1  # a power cut had brought one back
    assert not state.spool.path(gone).exists()


def test_a_service_that_stops_leaves_the_rest_for_another_night(state: State) -> None:
    for number in (1, 2):
        age(state.spool.path(builders.spooled(state.spool, Picture(f"1.2.3.{number}"))))
    assert reconcile.sweep(state.rows.database, state.images, go_on=lambda: False) == 0
    assert state.sweep(state.images) == 2


def test_a_row_that_comes_while_it_sweeps_keeps_its_file(state: State) -> None:
    """A modality sends again what was received a day ago and never acknowledged."""
    digest = builders.spooled(state.spool, Picture())
    age(state.spool.path(digest))
    found = reconcile.unnamed(state.rows.database, state.images)
    path = next(found)
    state.rows.receive(digest=digest)
    assert not state.rows.database.write(lambda c: reconcile._remove(state.images, path, c))
    assert path.exists()


@pytest.mark.parametrize(
    ("table", "values", "words"),
    [
        (schema.studies, {"state": "queued"}, "is queued, its analysis is done"),
        (schema.studies, {"state": "delivered"}, "is at rest, and 2 of its deliveries are not"),
        (schema.studies, {"state": "not_evaluable"}, "is at rest, and 2 of its deliveries are not"),
        (schema.deliveries, {"state": "dropped"}, "is delivering, and nothing is to be delivered"),
        (schema.studies, {"version": 7}, "is delivering, its analysis is not there"),
        (schema.analyses, {"state": "running"}, "is delivering, its analysis is running"),
    ],
)
def test_rows_that_contradict_each_other_are_named(
    state: State, table: Any, values: dict[str, Any], words: str
) -> None:
    state.rows.delivering(state.objects)
    assert state.inconsistent() == []
    state.set(table, **values)
    assert state.inconsistent() == [f"study {STUDY} {words}"]


def test_a_study_on_its_way_contradicts_nothing(state: State) -> None:
    state.rows.receive()
    assert state.inconsistent() == []
    state.rows.assemble()
    assert state.inconsistent() == []
    job = state.rows.claimed()
    assert state.inconsistent() == []
    state.rows.fail(job)
    assert state.inconsistent() == []


def test_a_look_at_another_users_folders_makes_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "none", owner=False)
    assert spool.names(0, 0.0, time.time()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_count_that_is_not_that_of_its_rows_is_named(state: State) -> None:
    state.rows.deliver([builders.stored(1, state.objects)], lambda role: ["pacs"])
    assert state.inconsistent() == []
    database = state.rows.database
    if database.shared:  # a view there
        postgres.add_up(database._engine)
        state.set(table("tally_sums", column("number")), number=7)
    else:
        state.set(schema.tallies, number=7)
    lines = state.inconsistent()
    assert [line.partition(":")[0] for line in lines] == ["tallies"] * len(lines)
    assert lines[0].startswith("tallies: delivery pacs pending is said to be 7, and is 1:")
