"""Hints that there may be work, to the threads of this process and, by PostgreSQL, of others.

The rows alone say what there is: a hint that is lost costs a poll.
"""

import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress

from daemon.database import Database
from daemon.errors import UnavailableError
from daemon.pulse import Pulse

ANALYSES, DELIVERIES = "analyses", "deliveries"  # what there may be more of


class Hints:
    """Rings the bells that wait for a kind of work."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bells: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)

    def on(self, what: str, ring: Callable[[], None]) -> None:
        """Have `ring` called whenever there is new work of a kind."""
        self._bells[what].append(ring)

    def tell(self, what: str) -> None:
        """Say, everywhere, that there is new work of a kind."""
        self.ring(what)
        with suppress(UnavailableError):
            self._database.notify(what)

    def ring(self, what: str) -> None:
        """Wake those of this process."""
        for ring in self._bells[what]:
            ring()

    def listen(self, stopping: threading.Event, pulse: Pulse) -> None:
        """Hand on what other processes say, until `stopping` is set."""
        for what in self._database.heard(stopping.is_set):
            pulse()
            if what in self._bells:
                self.ring(what)
