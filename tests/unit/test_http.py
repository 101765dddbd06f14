"""Probes and metrics, over real sockets, of a service that is as healthy as the test says."""

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from daemon.errors import UnavailableError
from daemon.http import HttpServer


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
def served(service: FakeService, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve on a free port; yield the root's URL."""
    server = HttpServer(service, host, 0)
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
            HttpServer(FakeService(), host, port)
