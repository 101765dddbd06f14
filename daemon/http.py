"""Probes and metrics: ``/livez``, ``/readyz``, ``/metrics``; nothing about a person, no UID."""

import logging
import socket
import threading
from functools import partial
from typing import Protocol

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from daemon.errors import UnavailableError
from daemon.http_guard import LIFE_S, NoBodies, ShortLived
from daemon.ports import listen

log = logging.getLogger(__name__)


class Probed(Protocol):
    """What the probes ask of the service."""

    def ailments(self) -> list[str]:
        """Return what keeps the node from working; empty: it is alive."""

    def unready(self) -> list[str]:
        """Return what keeps the node from taking studies; empty: it is ready."""

    def metrics(self) -> dict[str, float]:
        """Return metric names, with their labels, and values."""


def application(service: Probed) -> FastAPI:
    """Build the HTTP application."""
    app = FastAPI(title="AxNode", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(NoBodies)

    def _answer(problems: list[str]) -> PlainTextResponse:
        text = "\n".join(problems) or "ok"
        return PlainTextResponse(text + "\n", status_code=503 if problems else 200)

    @app.get("/livez")
    def livez() -> PlainTextResponse:
        return _answer(service.ailments())

    @app.get("/readyz")
    def readyz() -> PlainTextResponse:
        return _answer(service.ailments() + service.unready())

    @app.get("/metrics")
    def metrics() -> PlainTextResponse:
        lines = [f"{name} {value!r}" for name, value in service.metrics().items()]
        return PlainTextResponse(
            "\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    return app


class HttpServer:
    """The application on its port, in a thread of its own; no connection outlives `life_s`."""

    def __init__(self, service: Probed, host: str, port: int, life_s: float = LIFE_S) -> None:
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            application(service),
            http=partial(ShortLived, life_s=life_s),  # type: ignore[arg-type]
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        if self._thread.is_alive():  # it may never have been started
            self._thread.join(5)
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise UnavailableError(
            f"http: cannot listen on {host}:{port} ({error.strerror}); "
            "another program has the port, or http.host is not an address of this machine"
        ) from error
