"""Who may come in: sessions for browsers, tokens for programs, and what keeps other sites out."""

import hmac
from dataclasses import dataclass
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.audit_notes import Notes
from daemon.console.accounts import Accounts, TooManyTries
from daemon.console.desk import Asker
from daemon.console.sessions import Session, Sessions
from daemon.http_guard import KNOWN, address_of, is_private

COOKIE = "axnode_session"
LIVE = "x-live"  # header of a page that keeps itself up to date
STREAM = "/changes"  # what tells it when
FORM_TOKEN = "form_token"  # noqa: S105 - the name of the field
_FIELDS = 20  # of a form

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-src 'self'; frame-ancestors 'self'; "
        "base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class SecureHeaders:
    """Sets headers that keep pages out of other sites, and their pictures out of caches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if scope.get("scheme") == "https":
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        await self._app(scope, receive, with_headers)


class NotSignedIn(Exception):
    """A page was asked for by nobody: the browser is shown where to sign in."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who has signed in with a browser, and what their forms carry."""

    asker: Asker
    session: Session

    @property
    def acts(self) -> bool:
        """Whether the person may change anything."""
        return self.asker.person.acts


class Gate:
    """Lets people and programs in.

    Parameters
    ----------
    closed
        Why nobody may sign in, in words; "": people may.
    """

    def __init__(self, accounts: Accounts, sessions: Sessions, notes: Notes, closed: str) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._notes = notes
        self.closed = closed

    def sign_in(self, name: str, password: str, address: str) -> Session | None:
        """Sign a browser in; None: wrong name or password; may raise `TooManyTries`."""
        person = self._accounts.by_password(name, password, address)
        if person is None:
            self._notes.not_signed_in(name[:64], address, "wrong name or password")
            return None
        self._notes.signed_in(person.name, address)
        return self._sessions.begin(person)

    def sign_out(self, visitor: Visitor) -> None:
        """Sign a browser out."""
        self._sessions.end(visitor.session.secret)
        self._notes.signed_in(visitor.asker.person.name, visitor.asker.address, out=True)

    # what routes depend on

    def viewer(self, request: Request) -> Visitor:
        """Let in a browser that has signed in; else `NotSignedIn`."""
        visitor = self.seen(request)
        if visitor is None:
            raise NotSignedIn
        return visitor

    def seen(self, request: Request) -> Visitor | None:
        """Return who has signed in with this browser; None: nobody."""
        session = None if self.closed else self._session(request)
        if session is None:
            return None
        request.scope[KNOWN] = True
        return Visitor(Asker(session.person, address_of(request)), session)

    async def sender(self, request: Request) -> Visitor:
        """Let in a form of our own pages; one that another site has sent is 403."""
        visitor = self.viewer(request)
        sent = (await form(request)).get(FORM_TOKEN, "")
        if foreign(request) or not hmac.compare_digest(
            sent.encode(), visitor.session.form_token.encode()
        ):
            raise HTTPException(403, "This form is not from this page: go back and reload it.")
        return visitor

    async def admin(self, request: Request) -> Visitor:
        """Let in a form of our own pages, sent by an admin; else 403."""
        visitor = await self.sender(request)
        if not visitor.acts:
            raise HTTPException(403, "Your account may look, and change nothing.")
        return visitor

    def program(self, request: Request) -> Asker:
        """Let in a program by its token, or the browser of somebody who has signed in.

        Else 401; a source's token 403.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        address = address_of(request)
        if scheme.lower() == "bearer" and not self.closed and is_private(request):
            try:
                person = self._accounts.by_token(token.strip(), address)
            except TooManyTries as error:  # not noted: a stranger could fill the audit trail
                raise HTTPException(429, str(error)) from None
            if person is not None:
                if person.role == "source":
                    raise HTTPException(403, "This token stores images, and looks at nothing.")
                request.scope[KNOWN] = True
                return Asker(person, address)
            self._notes.not_signed_in("a token", address, "the token is nobody's")
        visitor = self.seen(request)
        if visitor is not None and request.method == "GET":
            return visitor.asker
        raise HTTPException(
            401,
            self.closed or "Send a token: Authorization: Bearer TOKEN (see axnode user --token).",
            {"WWW-Authenticate": "Bearer"},
        )

    def acting_program(self, request: Request) -> Asker:
        """Let in an admin's program; else 401 or 403."""
        asker = self.program(request)
        if not asker.person.acts:
            raise HTTPException(403, "This token may look, and change nothing.")
        return asker

    def _session(self, request: Request) -> Session | None:
        secret = request.cookies.get(COOKIE, "")
        by_itself = LIVE in request.headers or request.url.path == STREAM
        return self._sessions.find(secret, used=not by_itself) if secret else None


async def form(request: Request) -> dict[str, str]:
    """Return a form's fields; the last of a name counts."""
    body = await request.body()
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError:
        raise HTTPException(400, "This form cannot be read.") from None


def foreign(request: Request) -> bool:
    """Tell whether another site made the browser send this (Fetch Metadata, Origin)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")
