"""Pages about the node itself: settings, log, diagnostics, and what keeps pages up to date."""

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from daemon import logs
from daemon.console.depends import Admin, Fields, TheDesk, Viewer
from daemon.console.desk import Desk
from daemon.console.diagnostics import archive, settings
from daemon.console.render import page

_LOOK_S = 1.0  # between two looks at the rows
_STREAM_S = 15.0  # then the browser asks anew: no connection lives for long
_LEVELS = ("debug", "info", "warning")


router = APIRouter(include_in_schema=False)


@router.get("/settings")
def shown(desk: TheDesk, visitor: Viewer, done: str = "") -> HTMLResponse:
    """Show the settings."""
    return page("settings.html", desk, visitor, tables=settings(desk.config), done=done[:300])


@router.post("/settings/reload")
def reload(desk: TheDesk, visitor: Admin) -> Response:
    """Read the configuration again."""
    desk.reload(visitor.asker)
    done = "the configuration is right; the service starts anew with it"
    return RedirectResponse(f"/settings?done={quote(done)}", 303)


@router.get("/log")
def log(desk: TheDesk, visitor: Viewer, level: str = "", done: str = "") -> HTMLResponse:
    """Show the latest log lines."""
    lines = [json.loads(line) for line in logs.RECENT.lines(level if level in _LEVELS[1:] else "")]
    return page(
        "log.html",
        desk,
        visitor,
        lines=lines,
        level=level,
        levels=_LEVELS,
        now=logs.level(),
        done=done[:300],
    )


@router.post("/log/level")
def set_level(desk: TheDesk, visitor: Admin, fields: Fields) -> Response:
    """Set the level of the log until the next start."""
    wanted = fields.get("level", "")
    if wanted not in _LEVELS:
        return page("problem.html", desk, visitor, words="There is no such level.", status=400)
    desk.administered(visitor.asker, f"log level {wanted}")
    logs.set_level(wanted)
    return RedirectResponse(f"/log?done={quote(f'the level is {wanted} now')}", 303)


@router.get("/diagnostics.zip")
def diagnostics(desk: TheDesk, visitor: Viewer) -> Response:
    """Return what a maintainer needs to know."""
    desk.administered(visitor.asker, "diagnostics downloaded")
    headers = {"Content-Disposition": 'attachment; filename="axnode-diagnostics.zip"'}
    return Response(archive(desk), media_type="application/zip", headers=headers)


@router.get("/changes")
async def changes(desk: TheDesk, visitor: Viewer) -> StreamingResponse:
    """Tell of changes as they happen."""
    return StreamingResponse(_changes(desk), media_type="text/event-stream")


async def _changes(desk: Desk) -> AsyncIterator[str]:
    """Yield a server-sent event for each change of the rows."""
    yield "retry: 1000\n\n"
    known = await run_in_threadpool(desk.last_event)
    yield f"event: at\ndata: {known}\n\n"
    for _ in range(int(_STREAM_S / _LOOK_S)):
        await asyncio.sleep(_LOOK_S)
        latest = await run_in_threadpool(desk.last_event)
        if latest != known:
            known = latest
            yield f"event: changed\ndata: {known}\n\n"
