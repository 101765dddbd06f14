"""The processes that work with the same rows, as they say themselves: roles, device, when seen.

A worker is there once its model is loaded. Nothing is decided by this: leases and turns are what
keeps processes apart. It is what a person looks at, and what tells that nobody analyses.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from daemon import __version__, schema
from daemon.clock import Clock, seconds
from daemon.database import Database
from daemon.pulse import Pulse
from daemon.roles import Role

_SAID_S = 10.0  # between two
GONE_S = 60.0  # not seen for so long: it has ended, or cannot reach the database
_FORGOTTEN_S = 7 * 86_400.0


@dataclass(frozen=True)
class Process:
    """What is known of one."""

    holder: str  # as `setup.holder` names it
    roles: tuple[str, ...]
    version: str  # of AxNode
    device: str  # where a worker's model runs; "": no worker, or it is not loaded
    together: int  # frames that the worker reads at once
    silent_s: float  # since it was seen last

    @property
    def there(self) -> bool:
        """Whether it was seen lately."""
        return self.silent_s < GONE_S


class Presence:
    """Says that this process is there, and forgets who has not been for a week.

    Parameters
    ----------
    device
        Gives where this process's model runs, and how many frames it reads at once.
    """

    def __init__(
        self,
        database: Database,
        holder: str,
        roles: Collection[Role],
        clock: Clock,
        device: Callable[[], tuple[str, int]],
    ) -> None:
        self._database = database
        self._holder = holder
        self._roles = ",".join(sorted(roles))
        self._clock = clock
        self._device = device
        self._started_us = clock()

    def run(self, stopping: threading.Event, pulse: Pulse) -> None:
        """Say so until `stopping` is set, and then that it is gone."""
        while not stopping.is_set():
            pulse()
            self.say()
            stopping.wait(_SAID_S)
        table = schema.processes
        mine = delete(table).where(table.c.holder == self._holder)
        self._database.write(lambda c: c.execute(mine) and None, alone=False)

    def say(self) -> None:
        """Say so once."""
        device, together = self._device()
        values = {
            "roles": self._roles,
            "version": __version__,
            "device": device,
            "together": together,
            "started_us": self._started_us,
            "seen_us": self._clock(),
        }
        self._database.write(lambda c: self._note(c, values), alone=False)

    def _note(self, connection: Connection, values: dict[str, object]) -> None:
        table = schema.processes
        note = insert(table).values(holder=self._holder, **values)
        connection.execute(note.on_conflict_do_update(index_elements=[table.c.holder], set_=values))
        old = self._clock() - seconds(_FORGOTTEN_S)
        connection.execute(delete(table).where(table.c.seen_us < old))


def processes(connection: Connection, now_us: int) -> Sequence[Process]:
    """Return those that are, or lately were, there; none where one process does everything."""
    table = schema.processes
    return [
        Process(
            row.holder,
            tuple(row.roles.split(",")),
            row.version,
            row.device,
            row.together,
            max(0.0, (now_us - row.seen_us) / 1e6),
        )
        for row in connection.execute(select(table).order_by(table.c.holder))
    ]
