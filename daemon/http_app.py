"""The HTTP application and its server."""

from functools import partial

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from daemon.http import Probed
from daemon.http_guard import NoBodies, ShortLived


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


def server(service: Probed, life_s: float) -> uvicorn.Server:
    """Return a server of the application; no connection outlives `life_s`."""
    return uvicorn.Server(
        uvicorn.Config(
            application(service),
            http=partial(ShortLived, life_s=life_s),  # type: ignore[arg-type]
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
        )
    )
