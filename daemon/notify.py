"""Word of trouble to a webhook: what a person has to know of, once when it begins and once over.

A condition is looked at once a minute. It is told after it has lasted, so that a restart of the
PACS tells nobody; what cannot be told is tried again. Every process tells of its own troubles, and
one of them of those that the rows tell of: the rows also say which of these were told, so that
another may go on. Nothing about a person goes out.
"""

import json
import logging
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Protocol

from daemon import told
from daemon.config import Config
from daemon.database import Database
from daemon.errors import UnavailableError
from daemon.pulse import Pulse
from daemon.troubles import Trouble

log = logging.getLogger(__name__)
LOOK_S = 60.0
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Message:
    """What is posted, as JSON."""

    node: str  # AE title and host
    state: str  # "begun" or "over"
    key: str
    text: str  # for channels that show one line (Slack, Mattermost and Teams read this key)
    remedy: str
    serious: bool


Post = Callable[[Message], None]
Look = Callable[[], Sequence[Trouble]]


class Book(Protocol):
    """The troubles that somebody was told of, and whose end nobody was told of yet."""

    def read(self) -> dict[str, Trouble]:
        """Return them by their keys."""

    def begun(self, trouble: Trouble) -> None:
        """Add one, or change it."""

    def over(self, key: str) -> None:
        """Take one out."""


class Memory:
    """The book of one process, as long as it lives."""

    def __init__(self) -> None:
        self._told: dict[str, Trouble] = {}

    def read(self) -> dict[str, Trouble]:
        """Return a copy."""
        return dict(self._told)

    def begun(self, trouble: Trouble) -> None:
        """Remember one."""
        self._told[trouble.key] = trouble

    def over(self, key: str) -> None:
        """Forget one."""
        del self._told[key]


class Notifier:
    """Tells of troubles as they begin and end.

    Parameters
    ----------
    look
        Returns what is wrong now.
    post
        Sends a message; raises OSError where it cannot.
    monotonic
        A clock in seconds that is never set.
    book
        What was told.
    mine
        Tells whether it is this process that tells: the others look only.
    """

    def __init__(
        self,
        node: str,
        look: Look,
        post: Post,
        monotonic: Callable[[], float],
        book: Book | None = None,
        mine: Callable[[], bool] = lambda: True,
    ) -> None:
        self._node = node
        self._look = look
        self._post = post
        self._monotonic = monotonic
        self._book = book or Memory()
        self._mine = mine
        self._since: dict[str, float] = {}

    def turn(self, pulse: Callable[[], None] = lambda: None) -> None:
        """Look once, and tell what has changed; what cannot be told ends the turn.

        Raises
        ------
        UnavailableError
            The rows cannot be asked.
        """
        now, found = self._monotonic(), {each.key: each for each in self._look()}
        self._since = {key: self._since.get(key, now) for key in found}
        if not self._mine():
            return
        for state, trouble in self._news(now, found):
            pulse()
            if not self._tell(state, trouble):
                return

    def _news(self, now: float, found: dict[str, Trouble]) -> list[tuple[str, Trouble]]:
        """Return what is to be told: a state, and the trouble."""
        told, news = self._book.read(), []
        for key, trouble in found.items():
            before = told.get(key)
            if before is not None and trouble.number <= before.number:
                if trouble.number < before.number:  # what comes on top of it is told again
                    self._book.begun(trouble)
            elif now - self._since[key] >= trouble.lasting_s:
                news.append(("begun", trouble))
        return news + [("over", trouble) for key, trouble in told.items() if key not in found]

    def _tell(self, state: str, trouble: Trouble) -> bool:
        """Tell of one; return whether it was heard."""
        if not self._mine():  # to post may take longer than a turn is held
            return False
        words = trouble.words if state == "begun" else f"over: {trouble.words}"
        message = Message(
            self._node,
            state,
            trouble.key,
            f"{self._node}: {words}",
            trouble.remedy,
            trouble.serious,
        )
        try:
            self._post(message)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            log.warning("not notified", extra={"action": "notify", "reason": str(reason)})
            return False
        if state == "begun":
            self._book.begun(trouble)
        else:
            self._book.over(trouble.key)
        return True


class Notifiers:
    """What tells the webhook of a configuration: of a process's own troubles, and of the rows'.

    Parameters
    ----------
    own, of_rows
        Return what is wrong with the process, and with the work.
    mine
        Tells whether it is this process that tells of the latter.
    """

    def __init__(
        self, config: Config, own: Look, of_rows: Look, database: Database, mine: Callable[[], bool]
    ) -> None:
        post = to_webhook(config.notify.webhook or "", config.notify.secret)
        name = f"{config.node.ae_title}@{socket.gethostname()}"
        self._own = Notifier(name, own, post, time.monotonic)
        book = told.Rows(database)
        self._of_rows = Notifier(name, of_rows, post, time.monotonic, book, mine)

    def run(self, stopping: threading.Event, pulse: Pulse) -> None:
        """Look once a minute until `stopping` is set."""
        while not stopping.wait(LOOK_S):
            self.turn(pulse)

    def turn(self, pulse: Callable[[], None] = lambda: None) -> None:
        """Look once, and tell what has changed."""
        pulse()
        self._own.turn(pulse)
        with suppress(UnavailableError):  # which the process tells of as its own
            self._of_rows.turn(pulse)


def to_webhook(url: str, token: str | None) -> Post:
    """Return what posts messages as JSON to a URL."""
    context = ssl.create_default_context()

    def post(message: Message) -> None:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(  # noqa: S310 - the configuration lets http and https in
            url, json.dumps(vars(message)).encode(), headers, method="POST"
        )
        with urllib.request.urlopen(  # noqa: S310
            request, timeout=_TIMEOUT_S, context=context if url.startswith("https:") else None
        ):
            pass

    return post
