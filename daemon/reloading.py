"""The configuration is read again: by one process, or by all that have the same rows.

Who is asked in the console asks all: a note of the rows names the latest request, and every process
looks for it now and then. Each reads its own file. One whose file is wrong goes on as before, and
says so in a note of its own, which counts as long as that process is there.
"""

import logging
import secrets
import threading
from collections.abc import Callable

from sqlalchemy import Connection, delete, select

from daemon import postgres, schema
from daemon.config import Config
from daemon.database import Database
from daemon.errors import DaemonError
from daemon.presence import processes
from daemon.pulse import Pulse
from daemon.turns import note, noted, notes

log = logging.getLogger(__name__)
_ASKED = "reload"
_REFUSED = "reload refused "  # what the names of the notes begin with, and a process follows
_LOOK_S = 5.0  # whether another process was asked
_WORDS = 512  # characters that a note has room for

Reload = Callable[[Callable[[], None]], None]
"""Reads the configuration and has the process start anew; raises `DaemonError` where it is wrong.

What it is given is called in between, once the configuration is known to be right.
"""


class Reloading:
    """Reads the configuration again.

    Parameters
    ----------
    here
        Does so for this process.
    """

    def __init__(self, config: Config, database: Database, holder: str, here: Reload) -> None:
        self.refused = ""  # why it was not read again when this process was asked; "": it was
        self._database = database
        self._here = here
        self._who = f"{holder.partition(':')[0]} ({config.state_dir})"
        self._refused_note = f"{_REFUSED}{_drawn(holder)}"
        self._heeded = ""  # the latest request that this process knows of
        if database.shared:
            database.write(self._read_just_now)

    def _read_just_now(self, connection: Connection) -> None:
        self._heeded = noted(connection, _ASKED)
        holders = connection.execute(select(schema.processes.c.holder)).scalars()
        known = {_drawn(holder) for holder in holders}
        gone = [f"{_REFUSED}{who}" for who in notes(connection, _REFUSED) if who not in known]
        table = schema.turns
        connection.execute(delete(table).where(table.c.name.in_([self._refused_note, *gone])))

    def this_process(self) -> None:
        """Read it again here; raise `DaemonError` where it is wrong."""
        self._asked(lambda: None)

    def every_process(self) -> None:
        """Read it again everywhere; raise `DaemonError`, and ask nobody else, where it is wrong."""
        self._asked(self._ask_all)

    def _asked(self, agreed: Callable[[], None]) -> None:
        try:
            self._here(agreed)
        except DaemonError as error:
            self.refused = str(error)
            raise

    def _ask_all(self) -> None:
        if self._database.shared:
            self._heeded = secrets.token_hex(16)
            self._database.write(lambda c: _ask(c, self._heeded))

    def run(self, stopping: threading.Event, pulse: Pulse) -> None:
        """Heed what other processes were asked, until `stopping` is set."""
        while not stopping.wait(_LOOK_S):
            pulse()
            self.look()

    def look(self) -> None:
        """Heed what other processes were asked since the last look."""
        with self._database.read() as connection:
            asked = noted(connection, _ASKED)
        if asked != self._heeded:
            self._heed()
            self._heeded = asked

    def _heed(self) -> None:
        try:
            self._here(lambda: None)
        except DaemonError as error:
            log.error("not reloaded", extra={"action": "reload", "reason": str(error)})
            words = f"{self._who}: {error}"[:_WORDS]
            self._database.write(lambda c: note(c, self._refused_note, words))


def _ask(connection: Connection, request: str) -> None:
    """Ask all; who refused before is asked again."""
    note(connection, _ASKED, request)
    connection.execute(delete(schema.turns).where(schema.turns.c.name.like(f"{_REFUSED}%")))


def refusals(connection: Connection) -> dict[str, str]:
    """Return why processes that are there have not read their configuration again, by process."""
    found = notes(connection, _REFUSED)
    if not found:
        return {}
    seen = processes(connection, postgres.now_us(connection))
    there = {_drawn(each.holder) for each in seen if each.there}
    return {who: words for who, words in found.items() if who in there}


def _drawn(holder: str) -> str:
    """Return the part of a process's name that was drawn (`setup.holder`)."""
    return holder.rpartition(":")[2][:48]
