"""What keeps the HTTP port answering: no large bodies, and an end to every connection.

What is sent there are forms, and images where `daemon.stow_http` takes them. uvicorn waits for a
request's head for ever, so that a few thousand silent connections would take the descriptors that
reception needs. An answer to somebody who has signed in lasts as long as it is read, at any pace.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.http import LIFE_S
from daemon.loopback import is_loopback

MOST_BODY_BYTES = 16_384  # the longest form is a tenth of it
MOST_CONNECTIONS = 100
KNOWN = "axnode.known"  # in a request's scope: it is from somebody who has signed in
TAKING = "axnode.taking"  # likewise: a body is being taken, which has deadlines of its own
KNOWN_PATIENCE = 30  # lives of a connection that one of such a person may stand still for
_PIECE = 65_536  # bytes of an answer that are handed to the connection at once


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


class InPieces:
    """Hands large answers over piece by piece, each when the connection has room for it.

    uvicorn takes an answer for sent that it has been handed, and closes an idle connection five
    seconds later; TLS then has thirty seconds for what the client has not read.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def in_pieces(message: Message) -> None:
            body, more = memoryview(message.get("body", b"")), message.get("more_body", False)
            if len(body) <= _PIECE:
                await send(message)
                return
            for start in range(0, len(body), _PIECE):
                piece, end = bytes(body[start : start + _PIECE]), start + _PIECE >= len(body)
                await send({**message, "body": piece, "more_body": more or not end})

        await self._app(scope, receive, in_pieces)


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
        Seconds that a connection may last; one of somebody who has signed in lasts until it has
        stood still for `KNOWN_PATIENCE` times as long: nothing was answered, and nothing read.
    """

    def __init__(self, *arguments: Any, life_s: float = LIFE_S, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._life_s = life_s
        self._known = False  # somebody who has signed in uses it
        self._still = 0  # lives since it moved
        self._ended = False  # it is about to be forgotten

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection in."""
        super().connection_made(transport)
        self._since_s = self.loop.time()
        self._end = self.loop.call_later(self._life_s, self._expire)
        peers = [p for p in self.connections if isinstance(p, ShortLived) and not p._ended]
        if len(peers) > MOST_CONNECTIONS:
            min(peers, key=ShortLived._worth)._abort()

    def _worth(self) -> tuple[bool, bool, float]:
        """Return what rises with how little a connection is to make room for another."""
        return self._is(TAKING), self._is_known(), self._since_s

    def _abort(self) -> None:
        self._ended = True
        self.transport.abort()  # not `close`, which waits for a peer that does not read

    def _is(self, what: str) -> bool:
        scope: Any = self.scope
        return bool(scope and scope.get(what))

    def _is_known(self) -> bool:
        self._known = self._known or self._is(KNOWN)
        return self._known

    def on_response_complete(self) -> None:
        """Note whose connection it is, for the next request may be one that anybody may make."""
        self._is_known()
        self._still = 0
        super().on_response_complete()

    def resume_writing(self) -> None:
        """Go on with an answer, for the client has read of it."""
        self._still = 0
        super().resume_writing()

    def _expire(self) -> None:
        """End the connection; one of somebody who has signed in later, and none within a body."""
        self._still += 1
        if self._is(TAKING) or (self._is_known() and self._still <= KNOWN_PATIENCE):
            self._end = self.loop.call_later(self._life_s, self._expire)
        else:
            self._abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._end.cancel()
        super().connection_lost(exc)
