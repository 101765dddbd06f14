"""Probes and metrics, over real sockets, of a service that is as healthy as the test says."""

import contextlib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import pytest

from daemon.config import Http
from daemon.errors import ConfigError, UnavailableError
from daemon.http import LIFE_S, HttpServer
from daemon.http_guard import MOST_BODY_BYTES, MOST_CONNECTIONS
from tests.certificates import Authority


@dataclass
class FakeService:
    """What the probes ask (`daemon.http.Probed`)."""

    sick: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    def ailments(self) -> list[str]:
        """Return what the test says."""
        return self.sick

    def unready(self) -> list[str]:
        """Return what the test says."""
        return self.waiting

    def metrics(self) -> dict[str, float]:
        """Return one with labels and one without."""
        return {"axnode_ready": 1.0, 'axnode_studies{state="parked"}': 12345678.0}


@contextlib.contextmanager
def served(service: FakeService, host: str = "127.0.0.1", life_s: float = LIFE_S) -> Iterator[str]:
    """Serve on a free port; yield the root's URL."""
    server = HttpServer(service, Http(host=host, port=0), life_s=life_s)
    server.start()
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.port}"
    finally:
        server.stop()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - our own server
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_healthy_node_says_ok_on_either_loopback(host: str) -> None:
    with served(FakeService(), host) as root:
        assert get(f"{root}/livez") == (200, "ok\n")
        assert get(f"{root}/readyz") == (200, "ok\n")


def test_a_node_that_waits_for_its_model_lives_and_is_not_ready() -> None:
    with served(FakeService(waiting=["model: loading"])) as root:
        assert get(f"{root}/livez") == (200, "ok\n")
        assert get(f"{root}/readyz") == (503, "model: loading\n")


def test_a_sick_node_is_neither() -> None:
    with served(FakeService(sick=["the database's writer has ended"])) as root:
        assert get(f"{root}/livez")[0] == 503
        assert get(f"{root}/readyz") == (503, "the database's writer has ended\n")


def test_metrics_are_lines_of_name_and_value() -> None:
    with served(FakeService()) as root:
        status, text = get(f"{root}/metrics")
    pairs = [line.rsplit(" ", 1) for line in text.splitlines()]
    assert status == 200
    assert {name: float(value) for name, value in pairs} == FakeService().metrics()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_taken_port_is_named(host: str) -> None:
    with served(FakeService(), host) as root:
        port = int(root.rpartition(":")[2])
        with pytest.raises(UnavailableError, match=f"http: cannot listen on {host}:{port}"):
            HttpServer(FakeService(), Http(host=host, port=port))


def connected(root: str) -> socket.socket:
    """Open a connection to a server."""
    return socket.create_connection(("127.0.0.1", int(root.rpartition(":")[2])), timeout=20)


def all_of(sock: socket.socket) -> bytes:
    """Return what a server sends until it hangs up."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            data += piece
    return data


HUGE = [
    pytest.param(f"Content-Length: {1 << 40}", id="huge"),
    pytest.param(f"Content-Length: {MOST_BODY_BYTES + 1}", id="over the cap"),
    pytest.param("Transfer-Encoding: chunked", id="in chunks"),
    pytest.param("Content-Encoding: gzip\r\nContent-Length: 20", id="packed"),
]


@pytest.mark.parametrize("head", HUGE)
@pytest.mark.parametrize("verb", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/livez", "/nowhere"])
def test_a_body_is_refused_before_it_comes(head: str, verb: str, path: str) -> None:
    """Hazards, row 24: 413 on the head alone, and no invitation to send (100 Continue)."""
    with served(FakeService()) as root, connected(root) as sock:
        sock.sendall(
            f"{verb} {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{head}\r\n\r\n".encode()
        )
        answer = all_of(sock)
        assert get(f"{root}/livez") == (200, "ok\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_a_body_under_way_ends_the_connection() -> None:
    with served(FakeService()) as root, connected(root) as sock:
        sock.sendall(b"POST /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20:
                sock.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                sent += 65536
        assert sent < 64 << 20
        assert get(f"{root}/livez") == (200, "ok\n")


def test_a_small_body_is_no_matter() -> None:
    with served(FakeService()) as root, connected(root) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n")
        sock.sendall(b"Connection: close\r\n\r\nhi")
        assert all_of(sock).startswith(b"HTTP/1.1 200 ")


def test_silent_connections_keep_no_probe_out() -> None:
    """Ten times as many as are kept: the oldest make room, and none needs to end first."""
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(served(FakeService(), life_s=3600))
        idle = [stack.enter_context(connected(root)) for _ in range(10 * MOST_CONNECTIONS)]
        for sock in idle[:100]:
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"GET /livez HTTP/1.1\r\nX-")  # and never a whole head
        assert get(f"{root}/livez") == (200, "ok\n")
        assert all_of(idle[0]) == b""  # the oldest has gone
        idle[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            idle[-1].recv(1)  # the newest has not


@pytest.mark.parametrize("said", [b"", b"GET /livez HTTP/1.1\r\n", b"GET /livez HTTP/1.1\r\n\r\n"])
def test_a_connection_has_an_end(said: bytes) -> None:
    with served(FakeService(), life_s=0.3) as root, connected(root) as sock:
        sock.sendall(said)
        all_of(sock)  # within the socket's own patience


def test_a_connection_serves_several_requests() -> None:
    with served(FakeService()) as root:
        kept = HTTPConnection(root.removeprefix("http://"), timeout=20)
        for _ in range(3):
            kept.request("GET", "/livez")
            with kept.getresponse() as answer:
                assert (answer.status, answer.read(), answer.will_close) == (200, b"ok\n", False)
        kept.close()


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nothing")
    settings = Http(port=0, certificate=str(tmp_path / "none"), key=str(tmp_path / "key"))
    with pytest.raises(ConfigError, match=r"http\.certificate, http\.key: cannot be used"):
        HttpServer(FakeService(), settings)


def test_pages_go_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mine = authority.issue("localhost")
    settings = Http(port=0, certificate=str(mine.certificate), key=str(mine.key))
    server = HttpServer(FakeService(), settings)
    server.start()
    try:
        context = ssl.create_default_context(cafile=str(authority.file))
        url = f"https://localhost:{server.port}/livez"
        with urllib.request.urlopen(url, timeout=20, context=context) as answer:
            assert answer.status == 200
    finally:
        server.stop()
