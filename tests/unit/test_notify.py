"""Word of trouble: when it is told, to whom, and what goes out."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from daemon import told as notes
from daemon.errors import UnavailableError
from daemon.notify import Book, Message, Notifier, Notifiers, to_webhook
from daemon.troubles import PARKED, Trouble, troubles
from tests import builders
from tests.builders import Rows
from tests.console import FakeRunning
from tests.unit.test_accounts import Ticks

DISK = Trouble("unready disk", "disk: less is free", "make room", serious=True)
PACS = Trouble("destination pacs", "deliveries to pacs fail", "try C-ECHO", True, lasting_s=300)


class Site:
    """A notifier whose troubles and channel a test plays."""

    def __init__(self, book: Book | None = None) -> None:
        self.ticks = Ticks()
        self.found: list[Trouble] = []
        self.posted: list[tuple[str, str]] = []
        self.messages: list[Message] = []
        self.broken = False
        self.mine = True
        self.notifier = Notifier(
            "NODE@host", lambda: self.found, self.post, self.ticks, book, lambda: self.mine
        )

    def post(self, message: Message) -> None:
        """Take a message, or fail as the test says."""
        if self.broken:
            raise ConnectionRefusedError(111, "connection refused")
        self.messages.append(message)
        self.posted.append((message.state, message.key))

    def turn(self, *found: Trouble, after_s: float = 60.0) -> list[tuple[str, str]]:
        """Look a while later; return what was told."""
        self.found, self.posted = list(found), []
        self.ticks.now_s += after_s
        self.notifier.turn()
        return self.posted


def test_a_trouble_is_told_once_and_its_end_once() -> None:
    site = Site()
    assert site.turn() == []
    assert site.turn(DISK) == [("begun", "unready disk")]
    assert site.turn(DISK) == []
    assert site.turn() == [("over", "unready disk")]
    assert site.turn() == []


def test_what_passes_by_itself_is_not_told() -> None:
    """A PACS is restarted in less than five minutes."""
    site = Site()
    for _ in range(4):
        assert site.turn(PACS) == []
    assert site.turn() == []
    for _ in range(5):
        assert site.turn(PACS) == []
    assert site.turn(PACS) == [("begun", "destination pacs")]


def test_what_could_not_be_told_is_told_later() -> None:
    site = Site()
    site.broken = True
    assert site.turn(DISK) == []
    site.broken = False
    assert site.turn(DISK) == [("begun", "unready disk")]
    site.broken = True
    assert site.turn() == []
    site.broken = False
    assert site.turn() == [("over", "unready disk")]


def parked(number: int) -> Trouble:
    return Trouble(PARKED, f"{number} studies are parked", "open them", False, number=number)


def test_one_more_that_is_parked_is_told_and_one_less_is_not() -> None:
    site = Site()
    assert site.turn(parked(1)) == [("begun", PARKED)]
    assert site.turn(parked(1)) == []
    assert site.turn(parked(3)) == [("begun", PARKED)]
    assert site.turn(parked(2)) == []
    assert site.turn(parked(3)) == [("begun", PARKED)]
    assert site.turn() == [("over", PARKED)]


@pytest.mark.engines
def test_who_tells_next_tells_no_false_end_and_no_beginning_again(tmp_path: Path) -> None:
    """The turn to tell goes from one process to another and back, whenever it likes."""
    with builders.database(tmp_path) as database:
        one, other = (Site(notes.Rows(database)) for _ in range(2))
        other.mine = False
        assert one.turn(DISK, parked(3)) == [("begun", DISK.key), ("begun", PARKED)]
        assert other.turn(DISK, parked(3)) == []
        one.mine, other.mine = False, True
        assert one.turn(DISK, parked(2)) == []
        assert notes.Rows(database).read()[PARKED].number == 3  # who has not the turn notes nothing
        assert other.turn(DISK, parked(2)) == []
        one.mine, other.mine = True, False
        assert one.turn(DISK, parked(3)) == [("begun", PARKED)]
        one.mine, other.mine = False, True
        assert set(other.turn()) == {("over", DISK.key), ("over", PARKED)}
        assert {(each.text, each.serious) for each in other.messages} == {
            ("NODE@host: over: disk: less is free", True),
            ("NODE@host: over: 3 studies are parked", False),
        }
        one.mine = True
        assert one.turn() == other.turn() == []


def test_who_loses_the_turn_while_it_tells_stops(tmp_path: Path) -> None:
    site = Site()
    site.notifier._mine = iter([True, True, False]).__next__
    assert site.turn(DISK, parked(1)) == [("begun", DISK.key)]


@contextmanager
def webhook(status: int) -> Iterator[tuple[str, list[tuple[str, dict[str, object]]]]]:
    """Serve a webhook; yield its URL, and what it is told."""
    told: list[tuple[str, dict[str, object]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((self.headers.get("Authorization", ""), json.loads(body)))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", told
        finally:
            server.shutdown()
            thread.join()


def test_a_webhook_gets_json_and_the_secret() -> None:
    message = Message("NODE@host", "begun", "k", "NODE@host: disk", "make room", serious=True)
    with webhook(200) as (url, told):
        to_webhook(url, "s3cret")(message)
    assert told == [
        (
            "Bearer s3cret",
            {
                "node": "NODE@host",
                "state": "begun",
                "key": "k",
                "text": "NODE@host: disk",
                "remedy": "make room",
                "serious": True,
            },
        )
    ]


def test_a_trouble_of_the_rows_is_not_over_because_nobody_can_ask_them(tmp_path: Path) -> None:
    found: list[list[Trouble] | None] = [[parked(1)], None, [parked(1)], []]

    def of_rows() -> list[Trouble]:
        now = found.pop(0)
        if now is None:
            raise UnavailableError("database: does not answer")
        return now

    with webhook(200) as (url, told), builders.database(tmp_path) as database:
        config = builders.config(tmp_path, notify={"webhook": url})
        notifiers = Notifiers(config, lambda: [], of_rows, database, lambda: True)
        while found:
            notifiers.turn()
    assert [message["state"] for _, message in told] == ["begun", "over"]


def test_a_webhook_that_refuses_has_not_been_told() -> None:
    message = Message("n", "begun", "k", "t", "r", serious=True)
    with webhook(500) as (url, _), pytest.raises(OSError, match="500"):
        to_webhook(url, None)(message)


def test_troubles_are_what_the_service_and_its_rows_say(tmp_path: Path) -> None:
    service = FakeRunning(
        sick=["the database's writer has ended"],
        waiting=["model: the model is still loading", "disk: less is free"],
        expiring=[("tls.certificate: the certificate of x expires on y", True), ("tls.ca", False)],
    )
    with builders.database(tmp_path) as database:
        rows = Rows(database)
        rows.queued()
        for _ in range(3):
            rows.fail(rows.claimed())
            rows.clock.advance(60)
        with database.read() as connection:
            found = troubles(connection, service, [])
    assert [each.key for each in found] == [
        "ailment the database's writer has ended",
        "unready disk",
        "unready model",
        "certificate tls.certificate: the certificate of x",
        PARKED,
    ]
    assert [each.serious for each in found] == [True, True, False, False, False]
