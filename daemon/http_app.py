"""The HTTP application and its server."""

from collections.abc import Callable
from functools import partial

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from daemon.config import Http
from daemon.http import Probed
from daemon.http_guard import InPieces, ShortLived, SmallBodies
from daemon.stow_http import StowDoor


def application(
    service: Probed,
    console: Callable[[FastAPI], None] | None = None,
    stow: Callable[[], StowDoor] | None = None,
) -> FastAPI:
    """Build the HTTP application; `console` adds the pages for people, `stow` what takes images."""
    app = FastAPI(title="AxNode", docs_url=None, redoc_url=None, openapi_url=None)
    if stow is None:
        app.add_middleware(SmallBodies)
    else:
        door = stow()
        app.add_middleware(SmallBodies, spared=door.takes)
        door.install(app)
    app.add_middleware(InPieces)

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

    if console is not None:
        console(app)
    return app


def server(app: FastAPI, settings: Http, life_s: float) -> uvicorn.Server:
    """Return a server of the application; no stranger's connection outlives `life_s`."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=partial(ShortLived, life_s=life_s),  # type: ignore[arg-type]
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,  # pages that listen for changes would hold up a stop
            server_header=False,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
            forwarded_allow_ips=settings.proxy or "",
        )
    )
