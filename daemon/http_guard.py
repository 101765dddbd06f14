"""What keeps the HTTP port answering: no bodies, and an end to every connection.

Nothing there takes a body, so none is read. uvicorn waits for a request's head for ever, so that
a few thousand silent connections would take the descriptors that reception needs.
"""

import asyncio
from typing import Any

from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.http import LIFE_S

MOST_BODY_BYTES = 1024  # what a probe may bring along, and is not read either
MOST_CONNECTIONS = 100


class NoBodies:
    """Answers requests that bring a body with 413, without reading it (RFC 9110 15.5.14)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _has_body(dict(scope["headers"])):
            await self._app(scope, receive, send)
            return
        # closed afterwards: what follows on the connection is the body
        answer = PlainTextResponse(
            "nothing here takes a body\n", status_code=413, headers={"connection": "close"}
        )
        await answer(scope, receive, send)


def _has_body(headers: dict[bytes, bytes]) -> bool:
    """Tell whether a request's head announces a body: in chunks, packed, or of some size."""
    if b"transfer-encoding" in headers or b"content-encoding" in headers:
        return True
    return int(headers.get(b"content-length", b"0")) > MOST_BODY_BYTES  # h11 took digits only


class ShortLived(H11Protocol):
    """uvicorn's HTTP/1.1, with an end to every connection; past the limit the oldest makes room.

    Parameters
    ----------
    life_s
        Seconds that a connection may last.
    """

    def __init__(self, *arguments: Any, life_s: float = LIFE_S, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._life_s = life_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection in."""
        super().connection_made(transport)
        # not `close`, which waits for a peer that does not read
        self._end = self.loop.call_later(self._life_s, transport.abort)
        if len(self.connections) > MOST_CONNECTIONS:
            oldest = min(
                (peer for peer in self.connections if isinstance(peer, ShortLived)),
                key=lambda peer: peer._end.when(),
            )
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._end.cancel()
        super().connection_lost(exc)
