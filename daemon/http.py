"""The HTTP port. ``/livez``, ``/readyz``, ``/metrics`` hold nothing about a person, and no UID."""

import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from daemon.config import Http
from daemon.errors import ConfigError, UnavailableError
from daemon.ports import listen

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from daemon.stow_http import StowDoor

LIFE_S = 20.0  # of a connection, from its first to its last byte


class Probed(Protocol):
    """What the probes ask of the service."""

    def ailments(self) -> list[str]:
        """Return what keeps the node from working; empty: it is alive."""

    def unready(self) -> list[str]:
        """Return what keeps the node from taking studies; empty: it is ready."""

    def metrics(self) -> dict[str, float]:
        """Return metric names, with their labels, and values."""


class HttpServer:
    """The application on its port, in a thread of its own; no connection outlives `life_s`.

    Parameters
    ----------
    console
        Adds the pages for people; None: there are none.
    stow
        Makes the door for images; None: none are taken here.

    Raises
    ------
    ConfigError
        The certificate of ``[http]`` cannot be used.
    UnavailableError
        The port cannot be had.
    """

    def __init__(
        self,
        service: Probed,
        settings: Http,
        console: "Callable[[FastAPI], None] | None" = None,
        life_s: float = LIFE_S,
        stow: "Callable[[], StowDoor] | None" = None,
    ) -> None:
        check_certificate(settings)
        self._settings = settings
        self._console = console
        self._stow = stow
        self._socket = _listen(settings.host, settings.port)
        self.port: int = self._socket.getsockname()[1]
        self._service = service
        self._life_s = life_s
        self._server: uvicorn.Server | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def _run(self) -> None:
        # here, for it takes half a second: reception does not wait for the probes
        from daemon.http_app import application, server

        app = application(self._service, self._console, self._stow)
        self._server = server(app, self._settings, self._life_s)
        if not self._stopping.is_set():
            self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.is_alive():  # it may never have been started
            self._thread.join(5)
        self._socket.close()


def check_certificate(settings: Http) -> None:
    """Raise `ConfigError` where HTTPS could not be served."""
    if settings.certificate is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            settings.certificate, settings.key
        )
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"http.certificate, http.key: cannot be used ({error.strerror or error}): name PEM "
            "files that belong together and that the service's user can read"
        ) from error


def _listen(host: str, port: int) -> socket.socket:
    try:
        listening = listen(host, port)
        # asyncio sets it on sockets that it has made itself only; without it a page waits 40 ms
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise UnavailableError(
            f"http: cannot listen on {host}:{port} ({error.strerror}); "
            "another program has the port, or http.host is not an address of this machine"
        ) from error
