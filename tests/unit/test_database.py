"""Group commit, committed reads, migrations, and what a full disk may not do."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, insert, select

from daemon import migrations, schema, status
from daemon.database import Database
from daemon.errors import ConfigError, LostLease, UnavailableError
from daemon.store import add_refusal
from tests import builders
from tests.builders import Rows
from tests.fakes import full_disk

WAIT_S = 20


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with builders.database(tmp_path) as opened:
        yield opened


def note(name: str, size: int = 1) -> Callable[[Connection], None]:
    """Return work that writes one row."""
    return lambda c: add_refusal(c, "127.0.0.1", name, "x", "", "r" * size, 1)


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return sorted(connection.execute(select(schema.refusals.c.calling_ae)).scalars())


class Group:
    """Several writes that wait behind one that holds the writer, so that they share a commit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gate, self._reached = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self.answers: dict[str, Any] = {}
        self._start("gate", self._hold)
        assert self._reached.wait(WAIT_S)

    def _hold(self, connection: Connection) -> None:
        self._reached.set()
        assert self._gate.wait(WAIT_S)

    def add(self, name: str, work: Callable[[Connection], Any]) -> None:
        """Queue a write behind those before it."""
        before = self._database._writer.waiting
        self._start(name, work)
        while self._database._writer.waiting == before:
            threading.Event().wait(0.001)

    def _start(self, name: str, work: Callable[[Connection], Any]) -> None:
        def run() -> None:
            try:
                self.answers[name] = self._database.write(work)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
                self.answers[name] = error

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def go(self) -> dict[str, Any]:
        """Let the writer go on; return every answer but the gate's."""
        self._gate.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        return {name: answer for name, answer in self.answers.items() if name != "gate"}


def test_a_write_returns_its_result(database: Database) -> None:
    assert database.write(lambda c: (note("A")(c), 42)[1]) == 42
    assert names(database) == ["A"]


def test_a_failing_write_takes_nobody_with_it(database: Database) -> None:
    def fails(connection: Connection) -> None:
        note("LOST")(connection)
        raise LostLease("taken over")

    group = Group(database)
    group.add("first", note("A"))
    group.add("failing", fails)
    group.add("last", note("B"))
    answers = group.go()
    assert isinstance(answers["failing"], LostLease)
    assert (answers["first"], answers["last"]) == (None, None)
    assert names(database) == ["A", "B"]


def test_a_broken_constraint_takes_nobody_with_it(database: Database) -> None:
    def twice(connection: Connection) -> None:
        row = {
            "address": "127.0.0.1",
            "calling_ae": "SECRET",
            "what": "w",
            "reason": "r",
            "last_us": 1,
        }
        connection.execute(insert(schema.refusals), [row, row])

    group = Group(database)
    group.add("first", note("A"))
    group.add("broken", twice)
    group.add("last", note("B"))
    answers = group.go()
    assert names(database) == ["A", "B"]
    assert isinstance(answers["broken"], UnavailableError)
    assert "SECRET" not in str(answers["broken"])  # statements and parameters stay inside


def test_a_reader_sees_what_is_committed_only(database: Database) -> None:
    written, looked = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        note("A")(connection)
        written.set()
        assert looked.wait(WAIT_S)

    thread = threading.Thread(target=database.write, args=(slow,))
    thread.start()
    assert written.wait(WAIT_S)
    before = names(database)
    looked.set()
    thread.join(WAIT_S)
    assert (before, names(database)) == ([], ["A"])


def test_an_answer_comes_after_the_commit(database: Database) -> None:
    """Whoever has its answer finds its row, as a modality's 0x0000 promises."""
    found = []
    for number in range(20):
        database.write(note(f"N{number}"))
        found.append(f"N{number}" in names(database))
    assert all(found)


def test_a_full_disk_is_never_reported_as_success(database: Database) -> None:
    """SQLite rolls the whole transaction back then, with the writes of the neighbours."""

    def cap(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")

    database.write(cap)
    group = Group(database)
    group.add("first", note("A"))
    group.add("too large", note("B", 100_000))
    group.add("last", note("C"))
    answers = group.go()
    claimed = {"first": "A", "last": "C"}
    promised = sorted(row for name, row in claimed.items() if answers[name] is None)
    assert set(promised) <= set(names(database))
    assert isinstance(answers["too large"], UnavailableError)
    database.write(note("D"))  # and the writer lives
    assert "D" in names(database)


def commits(database: Database, count: int = 500) -> None:
    """Commit so often that a checkpoint falls due."""
    for _ in range(count):
        assert database.alive
        database.write(lambda c: None)


def test_a_full_disk_at_a_checkpoint_puts_it_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log is the truth until the next one: nothing is lost, and the writer goes on."""
    with builders.database(tmp_path) as database:
        main = tmp_path / "axnode.sqlite"
        database.write(note("A", 400_000))
        commits(database)  # now the log is as long as the database, and is written anew
        before = main.stat().st_size
        assert before > 400_000
        with full_disk(before + 8192):
            database.write(note("B", 200_000))
            commits(database)
            assert main.stat().st_size <= before + 8192
            assert [r.message for r in caplog.records] == ["checkpoint put off"]
            assert database.alive
            database.write(note("C"))
        commits(database)
        assert main.stat().st_size > before + 200_000
        assert names(database) == ["A", "B", "C"]


def test_a_full_disk_at_the_end_loses_nothing(tmp_path: Path) -> None:
    with builders.database(tmp_path) as database, full_disk(2**20):
        database.write(note("A", 600_000))
        assert database.alive
        database.close()
        assert not database.alive
    with builders.database(tmp_path) as database:
        assert names(database) == ["A"]


def test_the_migrations_make_the_schema(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_latest_migration_is_the_one_that_is_looked_for() -> None:
    """A database of that revision is opened without asking Alembic."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_current_head() == migrations.HEAD


def test_a_second_opening_keeps_rows_and_identity(tmp_path: Path) -> None:
    with builders.database(tmp_path) as first:
        first.write(note("A"))
        identity = (first.database_id, first.node_id)
    with builders.database(tmp_path) as second:
        assert names(second) == ["A"]
        assert (second.database_id, second.node_id) == identity
    assert len(set(identity)) == 2


def test_a_look_in_from_outside_sees_and_changes_rows(tmp_path: Path, database: Database) -> None:
    database.write(note("A"))
    guest = Database(f"sqlite:///{tmp_path / 'axnode.sqlite'}", owner=False)
    guest.write(note("B"))
    guest.close()
    assert names(database) == ["A", "B"]


def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    with builders.database(tmp_path) as database:
        group = Group(database)
        for number in range(5):
            group.add(str(number), note(f"N{number}"))
        closing = threading.Thread(target=database.close)
        closing.start()
        assert set(group.go().values()) == {None}
        closing.join(WAIT_S)
    with builders.database(tmp_path) as database:
        assert len(names(database)) == 5


def test_a_write_after_closing_is_refused(tmp_path: Path) -> None:
    with builders.database(tmp_path) as database:
        pass
    answers: list[Exception] = []

    def late() -> None:
        try:
            database.write(note("A"))
        except UnavailableError as error:
            answers.append(error)

    thread = threading.Thread(target=late, daemon=True)
    thread.start()
    thread.join(2)
    assert len(answers) == 1, "the caller waits for ever"


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "axnode.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(UnavailableError, match=r"database: cannot be opened .*node\.state_dir"):
        Database(f"sqlite:///{tmp_path / 'axnode.sqlite'}")


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be opened"):
        Database(f"sqlite:///{tmp_path / 'none' / 'axnode.sqlite'}")


@pytest.mark.parametrize("url", ["rows", "nosuchengine://x/y"])
def test_a_url_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match=r"database\.url"):
        Database(url)


_FIRST_ROWS = (
    "INSERT INTO studies (id, study_uid, state, received_us, last_instance_us) "
    "VALUES (1, '1.2', 'delivering', 1, 2)",
    "INSERT INTO instances (study_id, sop_instance_uid, sop_class_uid, series_uid, "
    "transfer_syntax_uid, instance_hash, patient_key, size, source_ae, assumed, received_us) "
    "VALUES (1, '1', '2', '3', '4', 'h', 'p', 5, 'US1', 0, 1)",
    "INSERT INTO analyses (id, study_id, version, input_hash, bundle_digest, recipe_digest, "
    "state, due_us, created_us) VALUES (1, 1, 1, '', '', '', 'done', 1, 1)",
    "INSERT INTO objects (id, analysis_id, role, ordinal, sop_class_uid, sop_instance_uid, "
    "series_instance_uid, file_hash, size) VALUES (1, 1, 'sr', 0, '', '1.2.4', '', '', 1)",
    "INSERT INTO deliveries (id, object_id, destination, state, attempts, due_us) "
    "VALUES (1, 1, 'pacs', 'pending', 3, 1)",
)


def test_a_database_of_the_first_schema_keeps_its_rows(tmp_path: Path) -> None:
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = create_engine(f"sqlite:///{tmp_path / 'axnode.sqlite'}")
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, "0001")
        for statement in _FIRST_ROWS:
            connection.exec_driver_sql(statement)
    engine.dispose()
    with builders.database(tmp_path) as opened:
        rows = Rows(opened)
        assert rows.study("1.2").source_ae == "US1"
        with opened.read() as connection:
            assert status.counts(connection)["delivering"] == 1
            assert status.destinations(connection, ["pacs"])[0]["pending"] == 1
        (instance,) = rows.all(schema.instances)
        assert (instance.file, instance.instance_hash) == ("kept", "h")
        assert instance.committed_us is None
        study = rows.study("1.2")
        assert (study.moved_night, study.purged_us) == (0, None)
        assert [row.holder for row in rows.all(schema.analyses)] == [""]
        assert [row.file for row in rows.all(schema.objects)] == ["kept"]
        (delivery,) = rows.all(schema.deliveries)
        assert (delivery.state, delivery.attempts, delivery.resends) == ("pending", 3, 0)
