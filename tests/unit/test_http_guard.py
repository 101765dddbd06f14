"""How long the HTTP port serves somebody who has signed in, and reads slowly or not at all."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from uvicorn.server import ServerState

from daemon.config import Http
from daemon.http import LIFE_S, HttpServer
from daemon.http_guard import KNOWN, KNOWN_PATIENCE, MOST_CONNECTIONS, ShortLived
from tests.peers import wait_until
from tests.unit.test_http import FakeService, all_of

LARGE = bytes(range(256)) * 100_000  # more than what any socket holds


def pages(app: FastAPI) -> None:
    """Add one that is large and for people who have signed in, as all do here."""

    @app.get("/large")
    def large(request: Request) -> Response:
        request.scope[KNOWN] = True
        return Response(LARGE)


class Asked:
    """Somebody has asked for the large page, and reads nothing."""

    def __init__(self, server: HttpServer, sock: socket.socket) -> None:
        self._server = server
        self.sock = sock
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.recv(1, socket.MSG_PEEK)

    def connections(self) -> list[Any]:
        """Return those that the server has."""
        running = self._server._server
        assert running is not None
        return list(running.server_state.connections)

    def rest(self) -> bytes:
        """Read what comes."""
        return all_of(self.sock)


@contextlib.contextmanager
def asked(life_s: float) -> Iterator[Asked]:
    """Serve, and ask."""
    server = HttpServer(FakeService(), Http(port=0), pages, life_s)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            yield Asked(server, sock)
    finally:
        server.stop()


def test_a_large_answer_does_not_wait_in_the_connection() -> None:
    """It would be taken for sent, and its connection for idle."""
    with asked(3600) as reader:
        (only,) = reader.connections()
        waiting = only.transport.get_write_buffer_size
        wait_until(lambda: waiting() > 0, 30, "the socket to be full")
        assert waiting() < len(LARGE) // 10
        assert not only.cycle.response_complete
        assert reader.rest().endswith(b"\r\n\r\n" + LARGE)


def test_a_client_that_reads_is_seen_to() -> None:
    with asked(3600) as reader:
        (only,) = reader.connections()
        only._still = KNOWN_PATIENCE
        left = len(LARGE) // 2
        while left > 0:
            left -= len(reader.sock.recv(min(left, 65_536)))
        assert only._still == 0


def test_who_does_not_read_is_ended() -> None:
    with asked(0.02) as reader:
        wait_until(lambda: reader.connections() == [], 30, "the connection to end")
        assert len(reader.rest()) < len(LARGE)


def test_a_crowd_of_strangers_ends_no_answer() -> None:
    with asked(3600) as reader, contextlib.ExitStack() as crowd:
        address = reader.sock.getpeername()
        for _ in range(2 * MOST_CONNECTIONS):
            crowd.enter_context(socket.create_connection(address, timeout=30))
        wait_until(lambda: len(reader.connections()) == MOST_CONNECTIONS, 30, "the crowd")
        assert reader.rest().endswith(LARGE)


class FakeLoop:
    """Keeps what is to be done later."""

    def __init__(self) -> None:
        self.later: dict[float, Callable[[], None]] = {}

    def time(self) -> float:
        """Tell none."""
        return 0.0

    def call_later(self, delay_s: float, work: Callable[[], None]) -> SimpleNamespace:
        """Keep the latest of a delay."""
        self.later[delay_s] = work
        return SimpleNamespace(cancel=lambda: None)


class FakeTransport(asyncio.Transport):
    """A connection that can be ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False

    def is_closing(self) -> bool:
        """Return whether it was ended."""
        return self.ended

    def abort(self) -> None:
        """End."""
        self.ended = True


class Line:
    """A connection whose time passes as it is told."""

    def __init__(self) -> None:
        self._loop: Any = FakeLoop()
        self.transport = FakeTransport()
        config = uvicorn.Config(FastAPI())
        self._protocol = ShortLived(config, ServerState(), {}, self._loop, life_s=LIFE_S)
        self._protocol.connection_made(self.transport)

    def ask(self, *, known: bool = True) -> None:
        """Begin another request."""
        scope: Any = {KNOWN: known}
        self._protocol.scope = scope

    def read(self) -> None:
        """Have the client read of the answer."""
        self._protocol.resume_writing()

    def answered(self) -> None:
        """End the answer to it."""
        self._protocol.on_response_complete()

    def lives(self, number: int) -> bool:
        """Let lives pass; tell whether the connection is still there."""
        for _ in range(number):
            self._loop.later[LIFE_S]()
        return not self.transport.ended


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_stranger_has_one_life(line: Line) -> None:
    line.ask(known=False)
    assert not line.lives(1)


def test_an_answer_lasts_as_long_as_it_is_read(line: Line) -> None:
    line.ask()
    for _ in range(20):
        assert line.lives(KNOWN_PATIENCE)
        line.read()
    assert line.lives(KNOWN_PATIENCE)
    assert not line.lives(1)


def test_a_connection_lasts_as_long_as_it_is_asked(line: Line) -> None:
    for _ in range(5):
        line.ask()
        line.answered()
        assert line.lives(KNOWN_PATIENCE)
    assert not line.lives(1)


def test_whoever_has_signed_in_is_known_at_public_files_too(line: Line) -> None:
    line.ask()
    line.answered()
    line.ask(known=False)
    assert line.lives(KNOWN_PATIENCE)
