"""What keeps the HTTP port answering: no large bodies, and an end to every connection.

What is sent there are forms, and images where `daemon.stow_http` takes them. uvicorn waits for a
request's head for ever, so that a few thousand silent connections would take the descriptors that
reception needs.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.http import LIFE_S
from daemon.loopback import is_loopback

MOST_BODY_BYTES = 16_384  # the longest form is a tenth of it
MOST_CONNECTIONS = 100
KNOWN = "axnode.known"  # in a request's scope: it is from somebody who has signed in
TAKING = "axnode.taking"  # likewise: a body is being taken, which has deadlines of its own
KNOWN_LIFE_S = 600.0  # of such a connection: a segmentation of a cine over a slow line


def is_private(request: Request) -> bool:
    """Tell whether what comes this way has not gone over a network in the open."""
    server = request.scope.get("server") or ("", None)
    return request.url.scheme == "https" or is_loopback(str(server[0]))


def address_of(request: Request) -> str:
    """Return where a request comes from."""
    return request.client.host if request.client else ""


class SmallBodies:
    """Answers requests that bring a large body with 413, without reading it (RFC 9110 15.5.14).

    Parameters
    ----------
    spared
        Tells of a request whose body is somebody else's care.
    """

    def __init__(self, app: ASGIApp, spared: Callable[[Scope], bool] = lambda scope: False) -> None:
        self._app = app
        self._spared = spared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        small = scope["type"] != "http" or not _too_large(dict(scope["headers"]))
        if small or self._spared(scope):
            await self._app(scope, receive, send)
            return
        # closed afterwards: what follows on the connection is the body
        answer = PlainTextResponse(
            "nothing here takes so large a body\n", status_code=413, headers={"connection": "close"}
        )
        await answer(scope, receive, send)


def _too_large(headers: dict[bytes, bytes]) -> bool:
    """Tell whether a request's head announces a body: in chunks, packed, or a large one."""
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
        self._end = self.loop.call_later(self._life_s, self._expire, KNOWN_LIFE_S - self._life_s)
        if len(self.connections) > MOST_CONNECTIONS:
            oldest = min(
                (peer for peer in self.connections if isinstance(peer, ShortLived)),
                key=lambda peer: (peer._is(TAKING), peer._end.when()),
            )
            oldest.transport.abort()

    def _is(self, what: str) -> bool:
        scope: Any = self.scope
        return bool(scope and scope.get(what))

    def _expire(self, more_s: float = 0.0) -> None:
        """End the connection; one of somebody who has signed in later, and none within a body."""
        if self._is(TAKING):
            self._end = self.loop.call_later(self._life_s, self._expire, more_s)
        elif more_s > 0 and self._is(KNOWN):
            self._end = self.loop.call_later(more_s, self._expire)
        else:
            self.transport.abort()  # not `close`, which waits for a peer that does not read

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._end.cancel()
        super().connection_lost(exc)
