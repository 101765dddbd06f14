"""The console put together on the HTTP application."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from daemon import __version__
from daemon.audit_notes import Notes
from daemon.config import Config
from daemon.console import api, pages, system
from daemon.console.accounts import Accounts
from daemon.console.depends import Program
from daemon.console.desk import Desk
from daemon.console.gate import Gate, NotSignedIn, SecureHeaders
from daemon.console.render import page
from daemon.console.sessions import Sessions
from daemon.errors import DaemonError, UnavailableError, UnknownError
from daemon.loopback import is_loopback
from dicom_io.errors import PeerError

log = logging.getLogger(__name__)
_STATIC = Path(__file__).parent / "static"


def closed(config: Config) -> str:
    """Return why nobody may sign in; "": people may."""
    if all(user.role == "source" for user in config.users):
        return (
            "Nobody may sign in yet: run axnode user NAME --role admin, put what it prints into "
            "the configuration, and restart the service."
        )
    http = config.http
    if not (is_loopback(http.host) or http.certificate or http.proxy):
        return (
            "Passwords do not go unencrypted: set http.certificate and http.key; or http.host to "
            "127.0.0.1; or http.proxy to the address of a proxy that does TLS."
        )
    return ""


def install(app: FastAPI, desk: Desk, notes: Notes) -> None:
    """Add the console to an application."""
    accounts = Accounts(desk.config.users, time.monotonic)
    gate = Gate(accounts, Sessions(time.monotonic), notes, closed(desk.config))
    app.state.desk, app.state.gate = desk, gate
    app.add_middleware(SecureHeaders)
    app.mount("/static", StaticFiles(directory=_STATIC))
    for part in (pages, system, api):
        app.include_router(part.router)

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    def openapi(asker: Program) -> JSONResponse:
        return JSONResponse(get_openapi(title="AxNode", version=__version__, routes=app.routes))

    _explain(app, desk, gate)


def _explain(app: FastAPI, desk: Desk, gate: Gate) -> None:
    """Say why something is not done."""
    said = partial(_answer, desk, gate)

    @app.exception_handler(NotSignedIn)
    def not_signed_in(request: Request, error: Exception) -> Response:
        target = request.url.path if request.method == "GET" else "/"
        return RedirectResponse(f"/login?next={target}", 303)

    @app.exception_handler(DaemonError)
    @app.exception_handler(PeerError)
    def refused(request: Request, error: Exception) -> Response:
        status = 502 if isinstance(error, PeerError) else 400
        if isinstance(error, UnavailableError):
            status = 503
        return said(request, 404 if isinstance(error, UnknownError) else status, str(error))

    _explain_errors(app, said)


def _explain_errors(app: FastAPI, said: Callable[[Request, int, str], Response]) -> None:
    """Say what is wrong with a request, or with AxNode."""

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Response:
        log.error("a page failed", exc_info=error, extra={"action": "page_failed"})
        return said(request, 500, "An error in AxNode itself; the log says where.")

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        if request.url.path.startswith("/api/"):
            return await request_validation_exception_handler(request, error)
        return said(request, 404, "There is no such page.")

    @app.exception_handler(HTTPException)
    def http_problem(request: Request, error: HTTPException) -> Response:
        answer = said(request, error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer


def _answer(desk: Desk, gate: Gate, request: Request, status: int, words: str) -> Response:
    """Return words as a page, or as JSON for programs."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": words}, status)
    return page("problem.html", desk, gate.seen(request), words=words, status=status)
