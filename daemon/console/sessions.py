"""Browsers that have signed in; they are forgotten when the service ends."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.console.accounts import Person

IDLE_S = 3600.0  # without a request of the person's own
LONGEST_S = 12 * 3600.0  # a day's work
_MOST = 1000  # the oldest makes room


@dataclass
class Session:
    """A browser that has signed in."""

    person: Person
    began_s: float  # monotonic
    used_s: float
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """Stands in every form of the person's pages, and nowhere else: another site cannot send it."""
    looked_at: set[int] = field(default_factory=set)  # studies, each noted once


class Sessions:
    """Knows a browser by the secret in its cookie."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def begin(self, person: Person) -> Session:
        """Sign a browser in."""
        now = self._monotonic()
        session = Session(person, now, now)
        with self._lock:
            self._sessions[session.secret] = session
            while len(self._sessions) > _MOST:
                self._sessions.pop(next(iter(self._sessions)))
        return session

    def find(self, secret: str, *, used: bool = True) -> Session | None:
        """Return a browser's session; None: there is none, or it is over.

        Parameters
        ----------
        used
            The person did something; a page that keeps itself up to date does not count.
        """
        now = self._monotonic()
        with self._lock:
            session = self._sessions.get(secret)
            if session is None:
                return None
            if now - session.used_s > IDLE_S or now - session.began_s > LONGEST_S:
                del self._sessions[secret]
                return None
            if used:
                session.used_s = now
            return session

    def end(self, secret: str) -> None:
        """Sign a browser out."""
        with self._lock:
            self._sessions.pop(secret, None)
