"""PostgreSQL as the engine: several processes with the same rows, outages, and what is told."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, insert, select

import sample_dicoms
from daemon import claims, migrations, postgres, reconcile, schema, status
from daemon.clock import Clock, now_us, seconds
from daemon.commands import check
from daemon.config import Retention, parse
from daemon.config_destination import Destination
from daemon.database import Database, has_schema
from daemon.deliver import Deliverer, Send
from daemon.errors import ConfigError, UnavailableError
from daemon.hints import ANALYSES, Hints
from daemon.months import Months
from daemon.nightly import Nightly
from daemon.postgres import Patience
from daemon.presence import GONE_S, Presence, processes
from daemon.pulse import Pulse
from daemon.reloading import Reloading
from daemon.roles import Role
from daemon.spool import Folders, Spool
from daemon.store import Received, add_instance
from daemon.troubles import troubles
from daemon.turns import HELD_S, Turns, note, notes
from daemon.ways import Receiver, remote
from dicom_io import scu
from dicom_io.errors import StoreRefused
from dicom_io.frames import read_header
from dicom_io.scu import Outcome, StoreResult
from tests import builders
from tests.builders import US
from tests.console import USERS, FakeRunning, browser, press
from tests.fakes import FakeClock, FakeSend
from tests.integration.test_reload import rewrite, wait_for_line
from tests.node import Node
from tests.peers import wait_until
from tests.postgres import PostgreSQL
from tests.unit.test_accounts import Ticks
from tests.unit.test_receive import Site, image

pytestmark = pytest.mark.integration
SAMPLES = Path(sample_dicoms.__file__).parent


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with PostgreSQL() as running:
        yield running


@pytest.fixture
def two(server: PostgreSQL, tmp_path: Path) -> Iterator[tuple[Database, Database]]:
    url = server.of_folder(tmp_path)
    one, other = Database(url), Database(url)
    yield one, other
    one.close()
    other.close()


def received(study: str, instance: str) -> Received:
    return Received(
        study_uid=study,
        series_uid=f"{study}.0",
        sop_instance_uid=instance,
        sop_class_uid=US,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        instance_hash=instance.replace(".", "").rjust(64, "0"),
        patient_key="p",
        size=1,
        source_ae="US1",
        assumed=True,
    )


def at_once(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)


def test_processes_that_start_at_once_make_one_schema_and_one_identity(
    server: PostgreSQL,
) -> None:
    url, opened = server.empty("at_once"), []
    assert not has_schema(url)
    at_once(*(lambda: opened.append(Database(url)),) * 4)
    assert len({(each.database_id, each.node_id) for each in opened}) == 1
    assert len(opened) == 4
    assert has_schema(url)
    for each in opened:
        each.close()


def test_one_study_from_two_receivers_is_one_study(two: tuple[Database, Database]) -> None:
    """Both see its first image at the same time, again and again."""

    def receive(database: Database, number: int) -> None:
        for study in range(40):
            item = received(f"1.{study}", f"1.{study}.{number}")
            database.write(lambda c, item=item: add_instance(c, item, now_us()), alone=False)

    threads = [
        threading.Thread(target=receive, args=pair) for pair in zip(two, (1, 2), strict=True)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    with two[0].read() as connection:
        assert len(connection.execute(select(schema.studies.c.id)).all()) == 40
        images = connection.execute(select(schema.instances.c.study_id)).scalars().all()
    assert Counter(images) == dict.fromkeys(set(images), 2)
    assert two[0].problem == two[1].problem == ""


def test_the_same_image_at_two_receivers_is_known_to_one(two: tuple[Database, Database]) -> None:
    known: list[object] = []

    def receive(database: Database) -> None:
        for number in range(40):
            item = received("1.9", f"1.9.{number}")
            known.append(
                database.write(lambda c, item=item: add_instance(c, item, now_us()), alone=False)
            )

    at_once(*(partial(receive, database) for database in two))
    assert len(known) == 80
    assert sum(each is None for each in known) == 40


def test_a_job_is_claimed_once(two: tuple[Database, Database]) -> None:
    for study in range(60):
        item = received(f"1.{study}", f"1.{study}.1")
        two[0].write(lambda c, item=item: add_instance(c, item, now_us()))
    rows = builders.Rows(two[0])
    rows.clock.now_us = now_us() + seconds(600)
    while rows.assembler().sweep():
        pass
    claimed: list[int] = []

    def work(database: Database) -> None:
        while True:
            found = database.write(
                lambda c: claims.claim(c, rows.clock(), seconds(600)), alone=False
            )
            if not found:
                return
            claimed.extend(job.analysis_id for job in found)

    at_once(*(partial(work, database) for database in two * 2))
    assert len(claimed) == len(set(claimed)) == 60


def test_counts_are_added_up_and_stay_right(two: tuple[Database, Database]) -> None:
    """Each change is a row until some process adds it up; two at once count nothing twice."""
    one, other = two
    rows = builders.Rows(one)
    for number in range(3):
        rows.receive(f"1.2.{number}.1", study=f"1.2.{number}")
    rows.assemble()
    counted = {"queued": 3, "receiving": 0}
    assert _counts(one) == counted
    at_once(*(partial(postgres.add_up, each._engine) for each in (one, other) * 4))
    assert _changes(one) == 0
    assert _counts(other) == counted
    with one.read() as connection:
        assert list(reconcile.inconsistent(connection)) == []


def test_a_writer_adds_counts_up_now_and_then(two: tuple[Database, Database]) -> None:
    one, _ = two
    builders.Rows(one).receive()
    assert _changes(one) > 0
    for _ in range(500):
        one.write(lambda c: None)
    wait_until(lambda: _changes(one) == 0, 10)
    assert _counts(one) == {"receiving": 1}


def _changes(database: Database) -> int:
    with database.read() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM tally_changes").scalar_one())


def _counts(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return status.tallied(connection, "study")[""]


def test_what_is_written_alone_is_written_alone(two: tuple[Database, Database]) -> None:
    """One reads, waits and writes; the other's write comes before or after, never between."""
    seen: list[tuple[int, int]] = []

    def add(database: Database, number: int) -> None:
        def work(connection) -> None:  # type: ignore[no-untyped-def]
            before = len(connection.execute(select(schema.refusals.c.id)).all())
            time.sleep(0.02)
            connection.execute(
                insert(schema.refusals).values(
                    address=str(number), calling_ae="", what=str(before), reason="", last_us=1
                )
            )
            after = len(connection.execute(select(schema.refusals.c.id)).all())
            seen.append((before, after))

        for _ in range(10):
            database.write(work)

    at_once(*(partial(add, *pair) for pair in zip(two, (1, 2), strict=True)))
    assert sorted(seen) == [(number, number + 1) for number in range(20)]


def test_a_turn_is_one_process_s_until_it_is_gone(two: tuple[Database, Database]) -> None:
    ticks, clock = Ticks(), builders.FakeClock()
    one = Turns(two[0], "one", clock, ticks)
    other = Turns(two[1], "other", clock, ticks)
    assert one.mine("deliver pacs")
    assert not other.mine("deliver pacs")
    assert other.mine("deliver research")
    for _ in range(10):  # it holds on to it
        ticks.now_s += HELD_S / 2
        clock.advance(HELD_S / 2)
        assert one.mine("deliver pacs")
        assert not other.mine("deliver pacs")
    ticks.now_s += HELD_S + 1  # and is not heard of any more
    clock.advance(HELD_S + 1)
    assert other.mine("deliver pacs")
    assert not one.mine("deliver pacs")
    other.give_up()
    ticks.now_s += 3
    assert one.mine("deliver pacs")


class Senders:
    """Two processes that send to one destination, which holds what arrives."""

    def __init__(self, two: tuple[Database, Database], folder: Path) -> None:
        self.rows = builders.Rows(two[0])
        self.objects = Spool(folder / "objects")
        self.rows.delivering(self.objects, count=4)
        self.ticks = Ticks()
        self.turns = [
            Turns(each, name, self.rows.clock, self.ticks)
            for each, name in zip(two, ("one", "other"), strict=True)
        ]

    def mine(self, process: int) -> bool:
        """Ask for the turn."""
        return self.turns[process].mine("deliver pacs")

    def pass_time(self, by_s: float) -> None:
        """Let time pass for both."""
        self.ticks.now_s += by_s
        self.rows.clock.advance(by_s)

    def deliver(self, process: int, database: Database, send: Send) -> None:
        """Send a batch."""
        peer = remote(
            Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=4242), "AXNODE"
        )
        deliverer = Deliverer(peer, database, self.objects, self.rows.clock, send=send)
        assert self.mine(process)
        deliverer.deliver_due(lambda: self.mine(process) and None, lambda: self.mine(process))


def test_a_batch_ends_once_another_process_sends(
    two: tuple[Database, Database], tmp_path: Path
) -> None:
    """Its turn has lapsed amid the second object."""
    senders, number = Senders(two, tmp_path), count(1)

    def lapse(path: Path) -> None:
        if next(number) == 2:
            senders.pass_time(HELD_S + 1)
            assert senders.mine(1)

    first, second = FakeSend(before=lapse), FakeSend()
    senders.deliver(0, two[0], first)
    assert len(first.sent) == 2
    senders.deliver(1, two[1], second)
    assert len(second.sent) == 2
    assert len({*first.sent, *second.sent}) == 4
    assert set(senders.rows.states(schema.deliveries)) == {"delivered"}


def test_a_turn_is_held_on_to_while_an_object_is_on_its_way(
    two: tuple[Database, Database], tmp_path: Path
) -> None:
    senders, sent = Senders(two, tmp_path), []

    def slowly(
        peer: Receiver,
        paths: Sequence[Path],
        on_result: Callable[[StoreResult], None],
        on_tick: Callable[[], None],
    ) -> None:
        for path in paths:
            for _ in range(3):
                senders.pass_time(HELD_S * 0.6)
                on_tick()
                assert not senders.mine(1)
            sent.append(path)
            on_result(StoreResult(path, Outcome.STORED, 0, "stored"))

    senders.deliver(0, two[0], slowly)
    assert len(sent) == 4


def test_work_that_nobody_does_is_told(two: tuple[Database, Database]) -> None:
    running = FakeRunning()

    def told() -> set[str]:
        with two[1].read() as connection:
            return {each.words for each in troubles(connection, running, ["pacs"])}

    nobody = {"no process assembles studies", "no process sends to pacs"}
    assert told() == {*nobody, "no process analyses studies"}
    device = ["", "cpu"]
    worker = Presence(
        two[0], "one", {Role.WORKER}, two[0].clock(now_us), lambda: (device.pop(0), 4)
    )
    worker.say()  # its model is not loaded yet
    assert told() == {*nobody, "no process analyses studies"}
    worker.say()
    assert told() == nobody
    turns = Turns(two[0], "one", two[0].clock(now_us))
    assert turns.mine("assemble")
    assert told() == {"no process sends to pacs"}
    assert turns.mine("deliver pacs")
    assert told() == set()
    turns.give_up()
    assert "no process assembles studies" in told()


def test_processes_say_what_they_do_and_are_seen_to_be_gone(
    two: tuple[Database, Database],
) -> None:
    clock = FakeClock()
    roles = {Role.WORKER, Role.CONSOLE}
    one = Presence(two[0], "one", roles, clock, lambda: ("cuda:0", 16))
    other = Presence(two[1], "other", {Role.RECEIVER}, clock, lambda: ("", 0))
    one.say()
    clock.advance(GONE_S - 1)
    other.say()

    def seen(at: FakeClock) -> list[tuple[object, ...]]:
        with two[1].read() as connection:
            return [
                (each.holder, each.roles, each.device, each.together, each.there)
                for each in processes(connection, at())
            ]

    first = ("one", ("console", "worker"), "cuda:0", 16)
    assert seen(clock) == [(*first, True), ("other", ("receiver",), "", 0, True)]
    clock.advance(2)
    assert [each[-1] for each in seen(clock)] == [False, True]
    one.say()
    assert [each[-1] for each in seen(clock)] == [True, True]
    clock.advance(8 * 86_400)
    other.say()
    assert [each[0] for each in seen(clock)] == ["other"]
    stopping = threading.Event()
    stopping.set()
    other.run(stopping, Pulse())
    assert seen(clock) == []


def test_a_refusal_counts_while_its_process_is_there(
    two: tuple[Database, Database], tmp_path: Path
) -> None:
    def wrong(agreed: Callable[[], None]) -> None:
        raise ConfigError("study.quiet_period: unknown key")

    def right(agreed: Callable[[], None]) -> None:
        agreed()

    def kept() -> set[str]:
        with two[0].read() as connection:
            return set(notes(connection, "reload refused "))

    def told() -> list[str]:
        with two[0].read() as connection:
            every = troubles(connection, FakeRunning(), [])
        return [each.words for each in every if each.key.startswith("reload")]

    config, clock = builders.config(tmp_path), two[0].clock(now_us)
    asking = Reloading(config, two[0], "a:1", right)
    asked = Reloading(config, two[1], "b:2", wrong)
    late = clock() - seconds(GONE_S - 30)
    there = Presence(two[1], "b:2", {Role.RECEIVER}, lambda: late, lambda: ("", 0))
    there.say()
    asking.every_process()
    asked.look()
    by = f"b ({tmp_path}): study.quiet_period: unknown key"
    words = f"the configuration was not read again by {by}"
    assert told() == [words]
    Reloading(config, two[0], "a:1", right)  # starts anew, and that is no news of the other
    assert told() == [words]
    late -= seconds(31)
    there.say()
    assert (told(), kept()) == ([], {"2"})
    Reloading(config, two[0], "a:1", right)
    assert kept() == {"2"}  # it may come back, with the settings of before
    late = clock()
    there.say()
    assert told() == [words]
    stopping = threading.Event()
    stopping.set()
    there.run(stopping, Pulse())
    assert (told(), kept()) == ([], {"2"})
    Reloading(config, two[0], "a:1", right)
    assert kept() == set()


def nightly(database: Database, folder: Path, turns: Turns, clock: Clock) -> Nightly:
    folders = Folders(Spool(folder / "spool"), Spool(folder / "objects"), folder)
    return Nightly(Retention(), database, folders, [], clock, turns)


def test_a_night_s_work_is_done_once(two: tuple[Database, Database], tmp_path: Path) -> None:
    """One begins and is gone; the other does it, and nobody does it again."""
    ticks, clock = Ticks(), builders.FakeClock()
    one, other = (
        nightly(each, tmp_path, Turns(each, name, clock, ticks), clock)
        for each, name in zip(two, ("one", "other"), strict=True)
    )
    two[0].write(lambda c: note(c, "night 2026-01-01", ""))  # as there were
    assert not one.look()  # no night has come
    assert len(Months(two[0], clock).there()) == 2  # but months to come are there at once
    one.come()
    other.come()
    assert not one.look(go_on=lambda: False)
    assert not other.look()
    ticks.now_s += HELD_S + 1
    clock.advance(HELD_S + 1)
    assert other.look()
    ticks.now_s += HELD_S + 1
    clock.advance(HELD_S + 1)
    one.come()
    assert not one.look()
    clock.advance(86_400)
    one.come()
    assert one.look()
    with two[0].read() as connection:
        names = set(connection.execute(select(schema.turns.c.name)).scalars())
    assert names == {"nightly", "nightly come", "nightly counted", "nightly done"}


def test_a_night_s_work_waits_for_the_database(tmp_path: Path) -> None:
    with PostgreSQL() as server:
        database, clock = Database(server.of_folder(tmp_path)), builders.FakeClock()
        work = nightly(database, tmp_path, Turns(database, "one", clock), clock)
        work.come()
        server.stop()
        with pytest.raises(UnavailableError):
            work.look()
        server.start()
        wait_until(lambda: _looked(work), 30)
        database.close()


def _looked(work: Nightly) -> bool:
    try:
        return work.look()
    except UnavailableError:
        return False


def test_a_hint_reaches_the_other_process(two: tuple[Database, Database]) -> None:
    rung, stopping = threading.Event(), threading.Event()
    listening = Hints(two[1])
    listening.on(ANALYSES, rung.set)
    thread = threading.Thread(target=listening.listen, args=(stopping, Pulse()))
    thread.start()
    deadline = time.monotonic() + 10
    while not rung.is_set() and time.monotonic() < deadline:
        Hints(two[0]).tell(ANALYSES)  # it may not listen yet
        rung.wait(0.2)
    stopping.set()
    thread.join(10)
    assert rung.is_set()


def test_an_outage_is_said_and_passes(tmp_path: Path) -> None:
    with PostgreSQL() as server:
        database = Database(server.of_folder(tmp_path))
        item = received("1.1", "1.1.1")
        assert database.write(lambda c: add_instance(c, item, now_us())) is None
        server.stop()
        with pytest.raises(UnavailableError, match="database: "):
            database.write(lambda c: add_instance(c, item, now_us()))
        with pytest.raises(UnavailableError, match="database: "), database.read() as connection:
            connection.execute(select(schema.studies))
        assert database.problem.startswith("database: ")
        server.start()
        wait_until(lambda: _known(database, item), 30)
        assert database.problem == ""
        database.close()


SHORT = Patience(ping_s=1, write_s=1, read_s=1)


def impatient(server: PostgreSQL, folder: Path) -> str:
    return f"{server.of_folder(folder)}?connect_timeout=2"


def test_a_server_that_is_silent_is_given_up(tmp_path: Path) -> None:
    """Its connections stay: only the answers are missing."""
    with PostgreSQL() as server:
        database = Database(impatient(server, tmp_path), patience=SHORT)
        item = received("1.1", "1.1.1")
        assert database.write(lambda c: add_instance(c, item, now_us())) is None

        def look(connection: Connection) -> None:
            server.freeze()
            connection.execute(select(schema.studies))

        with pytest.raises(UnavailableError, match="no answer for 1 s"):
            database.write(look)
        server.go_on()
        wait_until(lambda: _known(database, item), 30)
        with pytest.raises(UnavailableError, match="no answer for 1 s"), database.read() as reading:
            look(reading)
        server.go_on()
        wait_until(lambda: _known(database, item), 30)
        server.freeze()
        for _ in range(2):  # a session that waited in the pool, and a new one
            with pytest.raises(UnavailableError, match="database: "):
                database.write(lambda c: add_instance(c, item, now_us()))
        assert database.problem.startswith("database: ")
        server.go_on()
        wait_until(lambda: _known(database, item), 30)
        assert database.problem == ""
        database.close()


def test_who_listens_gives_up_a_silent_server(tmp_path: Path) -> None:
    with PostgreSQL() as server:
        database = Database(impatient(server, tmp_path), patience=SHORT)
        heard = database.heard(lambda: False)
        assert next(heard) == ""
        server.freeze()
        with pytest.raises(UnavailableError):
            for _ in heard:
                pass
        assert database.problem.startswith("database: ")
        server.go_on()
        database.close()


class _SilentAtCommit(Database):
    """Its server falls silent before the first COMMIT, and goes on before the second write."""

    server: PostgreSQL
    writes = 0

    def write(self, work, *, alone=True):  # type: ignore[no-untyped-def]
        """Write, as it stands with the server."""
        self.writes += 1
        if self.writes != 1:
            self.server.go_on()
            return super().write(work, alone=alone)
        return super().write(lambda c: (work(c), self.server.freeze()), alone=alone)


def test_an_image_whose_commit_is_not_answered_is_sent_again(tmp_path: Path) -> None:
    """The server commits it nevertheless: its file must stay, and the second one is the same."""
    with PostgreSQL() as server:
        database = _SilentAtCommit(impatient(server, tmp_path), patience=SHORT)
        database.server = server
        site = Site(tmp_path, database)
        with pytest.raises(StoreRefused, match="no answer for 1 s") as caught:
            site.push(image())
        assert caught.value.status == 0xA700
        (row,) = site.rows.all(schema.instances)
        assert site.files == [site.spool.path(row.instance_hash)]
        assert site.push(image()) == 0x0000
        assert len(site.rows.all(schema.instances)) == 1
        assert site.files == [site.spool.path(row.instance_hash)]
        database.close()


class Part(Node):
    """A process with some of the roles, and a model that needs no torch."""

    def __init__(self, folder: Path, url: str, role: str, **tables: Any) -> None:
        shared = str(folder.parent / "shared")
        super().__init__(folder, node={"spool_dir": shared}, database={"url": url}, **tables)
        self.command = ("tests.canary_node", "--role", role)


@pytest.mark.parametrize("role", ["console", "receiver"])
def test_probes_tell_of_an_outage_and_of_its_end(tmp_path: Path, role: str) -> None:
    """One that writes nothing by itself notices too."""
    with PostgreSQL() as server, Part(tmp_path / "part", server.database("probes"), role) as part:
        server.stop()
        wait_until(lambda: part.get("readyz").status_code == 503, 30)
        assert "database: " in part.get("readyz").text
        assert part.get("livez").status_code == 200  # a restart would not help
        assert "axnode_ready 0.0" in part.get("metrics").text
        server.start()
        wait_until(lambda: part.get("readyz").status_code == 200, 60)


def test_parts_in_processes_of_their_own_are_one_node(tmp_path: Path) -> None:
    with PostgreSQL() as server, ExitStack() as ends:
        url = server.database("parts")
        parts = [
            ends.enter_context(Part(tmp_path / role, url, role))
            for role in ("receiver", "worker", "deliverer", "console")
        ]
        receiver = parts[0]
        files = sorted(SAMPLES.glob("1-benign-stills-*.dcm"))
        receiver.push(files)
        study = str(read_header(files[0]).StudyInstanceUID)
        found = receiver.settle([study])
        assert found[study]["state"] == "delivered"
        assert [_listens(part.port) for part in parts] == [True, False, False, False]
        # a door for images is where images are received, and nowhere else
        assert [_stow(part) for part in parts] == [401, 404, 404, 404]


def test_a_reload_in_the_console_reaches_every_process(tmp_path: Path) -> None:
    """Each reads its own file; one whose file is wrong goes on, and the console says which."""
    with (
        PostgreSQL() as server,
        Part(tmp_path / "c", server.database("reload"), "console", users=list(USERS)) as console,
        Part(tmp_path / "r", server.database("reload"), "receiver") as receiver,
    ):
        with browser(f"http://127.0.0.1:{console.http_port}", "anna") as anna:
            rewrite(receiver, "[node]\n", '[node]\nae_title = "AXILLA"\n')
            assert press(anna, "/settings", "/settings/reload").status_code == 303
        for part in (console, receiver):
            wait_for_line(part, '"action": "start"', 2)
            part._wait_http("readyz")
        scu.echo(receiver.remote(called_ae="AXILLA"))
        rewrite(receiver, "quiet_period_s = 0.5", "quiet_period = 0.5")
        with browser(f"http://127.0.0.1:{console.http_port}", "anna") as anna:
            assert press(anna, "/settings", "/settings/reload").status_code == 303
        wait_for_line(console, '"action": "start"', 3)
        wait_for_line(receiver, "not reloaded")
        console._wait_http("readyz")
        with browser(f"http://127.0.0.1:{console.http_port}", "anna") as anna:
            wait_until(lambda: str(receiver.state_dir) in anna.get("/").text, 30)
            assert "study.quiet_period: unknown key" in anna.get("/").text
        scu.echo(receiver.remote(called_ae="AXILLA"))
        assert receiver.log.count('"ready"') == 2


def test_a_share_that_is_not_mounted_costs_no_image(tmp_path: Path) -> None:
    """An empty folder in its place would make every image count as missing."""
    shared = tmp_path / "shared"
    with PostgreSQL() as server:
        url = server.database("mounted")
        with Part(tmp_path / "one", url, "all") as part:
            part.push([SAMPLES / "7-normal-1.dcm"])
            shared.rename(tmp_path / "away")
            wait_until(lambda: part.get("readyz").status_code == 503, 20)
            assert "is it mounted?" in part.get("readyz").text
            (tmp_path / "away").rename(shared)
            wait_until(lambda: part.get("readyz").status_code == 200, 20)
            (study,) = part.studies()
            part.settle([study])
        shared.rename(tmp_path / "away")
        shared.mkdir()
        late = Part(tmp_path / "late", url, "all")
        late.command = Node.command
        late.launch()
        assert late.wait_end(60) == 4
        assert "mount the folder that the other nodes use" in late.log
        assert list(shared.iterdir()) == []
        database = Database(url, owner=False)
        with database.read() as connection:
            files = connection.execute(select(schema.instances.c.file)).scalars().all()
        database.close()
        assert set(files) == {"kept"}


def test_a_clock_that_is_set_moves_no_lease(server: PostgreSQL, tmp_path: Path) -> None:
    database, wall = Database(server.of_folder(tmp_path)), builders.FakeClock()
    clock = database.clock(wall)
    before = clock()
    wall.advance(3600)
    assert abs(clock() - before) < 5_000_000
    assert abs(before - now_us()) < 5_000_000  # and it is the server's
    database.close()


def _stow(part: Node) -> int:
    url = f"http://127.0.0.1:{part.http_port}/dicom-web/studies"
    return httpx.post(url, timeout=5, trust_env=False).status_code


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_folder_of_another_database_is_refused(tmp_path: Path) -> None:
    with PostgreSQL() as server:
        with Part(tmp_path / "one", server.database("one"), "all"):
            pass
        other = Part(tmp_path / "two", server.database("two"), "all")
        other.command = Node.command
        other.launch()
        assert other.wait_end(60) == 2
        assert "belongs to another database" in other.log


def _known(database: Database, item: Received) -> bool:
    try:
        return database.write(lambda c: add_instance(c, item, now_us())) is not None
    except UnavailableError:
        return False


def test_a_process_that_hangs_with_the_lock_is_put_out(two: tuple[Database, Database]) -> None:
    """It was stopped, or its network was cut, within a transaction: the server ends it."""
    inside, after = threading.Event(), threading.Event()

    def hang(connection) -> None:  # type: ignore[no-untyped-def]
        connection.execute(select(schema.node.c.id))
        inside.set()
        after.wait(60)
        connection.execute(select(schema.node.c.id))

    failed: list[Exception] = []

    def run() -> None:
        try:
            two[0].write(hang)
        except UnavailableError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(10)
    start = time.monotonic()
    item = received("1.1", "1.1.1")
    wait_until(lambda: _tried(two[1], item), 60)
    assert time.monotonic() - start < 40
    after.set()
    thread.join(30)
    assert failed


def _tried(database: Database, item: Received) -> bool:
    try:
        database.write(lambda c: add_instance(c, item, now_us()))
    except UnavailableError:
        return False
    return True


def test_the_check_says_what_an_empty_database_is(
    server: PostgreSQL, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = parse({"database": {"url": server.empty("to_check")}})
    assert check._report("database", lambda: check._database(empty))
    assert "the first axnode serve makes its tables" in capsys.readouterr().out
    nowhere = parse({"database": {"url": "postgresql+psycopg://axnode@127.0.0.1:9/x"}})
    assert not check._report("database", lambda: check._database(nowhere))
    assert "database: cannot be opened" in capsys.readouterr().out


def test_migrations_go_down_and_up_again(server: PostgreSQL) -> None:
    database = Database(server.database("down_and_up"))
    from alembic import command

    with database._engine.begin() as connection:
        config = migrations.alembic_config(connection)
        command.downgrade(config, "0001")
        command.upgrade(config, "head")
    with database._engine.begin() as connection:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        def alike(item: object, name: str | None, kind: str, *_: object) -> bool:
            # a partition, and the parts of what is a view here
            return name not in {"events_rest", "tallies", "tally_sums", "tally_changes"}

        options = {"compare_type": True, "include_object": alike}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
    database.close()
