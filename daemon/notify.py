"""Word of trouble to a webhook: what a person has to know of, once when it begins and once over.

A condition is looked at once a minute. It is told after it has lasted, so that a restart of the
PACS tells nobody; what cannot be told is tried again. Nothing about a person goes out.
"""

import json
import logging
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException

from daemon.config import Config
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
    """

    def __init__(self, node: str, look: Look, post: Post, monotonic: Callable[[], float]) -> None:
        self._node = node
        self._look = look
        self._post = post
        self._monotonic = monotonic
        self._since: dict[str, float] = {}
        self._told: dict[str, Trouble] = {}

    def turn(self, pulse: Callable[[], None] = lambda: None) -> None:
        """Look once, and tell what has changed; what cannot be told ends the turn."""
        now, found = self._monotonic(), {each.key: each for each in self._look()}
        self._since = {key: self._since.get(key, now) for key in found}
        for key, trouble in found.items():
            told = self._told.get(key)
            if told is not None and trouble.number <= told.number:
                self._told[key] = trouble  # fewer than before: what comes on top is told again
            elif now - self._since[key] >= trouble.lasting_s:
                pulse()
                if not self._tell("begun", trouble):
                    return
        for key, trouble in list(self._told.items()):
            if key not in found:
                pulse()
                if not self._tell("over", trouble):
                    return

    def _tell(self, state: str, trouble: Trouble) -> bool:
        """Tell of one; return whether it was heard."""
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
            self._told[trouble.key] = trouble
        else:
            del self._told[trouble.key]
        return True

    def run(self, stopping: threading.Event, pulse: Pulse) -> None:
        """Look once a minute until `stopping` is set."""
        while not stopping.wait(LOOK_S):
            pulse()
            self.turn(pulse)


def notifier(config: Config, look: Look) -> Notifier:
    """Return what tells the webhook of a configuration."""
    settings = config.notify
    post = to_webhook(settings.webhook or "", settings.secret)
    name = f"{config.node.ae_title}@{socket.gethostname()}"
    return Notifier(name, look, post, time.monotonic)


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
