"""Work that one process at a time does, where several have the same rows: each name is a turn.

A turn is held for twenty seconds and held on to while its holder lives; a holder that is gone loses
it. Whoever loses it without noticing, for example in a network that is cut, may do a piece of work
twice, and every piece bears that. Beside the turns lie notes, of what all processes are to know.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, or_, select, update
from sqlalchemy import insert as insert_new
from sqlalchemy.dialects.postgresql import insert

from daemon import schema
from daemon.clock import Clock, seconds
from daemon.database import Database

HELD_S = 20.0
_RENEWED_S = 5.0  # before it is held on to
_ASKED_S = 2.0  # between two tries for one that somebody else holds


@dataclass
class _Known:
    """What is known of a turn."""

    mine: bool
    since_s: float  # monotonic


class Turns:
    """The turns of one process.

    Parameters
    ----------
    holder
        Names the process; another one has another name.
    clock
        The one that all processes go by.
    """

    def __init__(
        self,
        database: Database,
        holder: str,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._holder = holder
        self._clock = clock
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def mine(self, name: str) -> bool:
        """Tell whether it is this process's turn; take it where nobody has it.

        Raises
        ------
        UnavailableError
            The database does not answer.
        """
        if not self._database.shared:
            return True  # this process is the only one
        now = self._monotonic()
        with self._lock:
            known = self._known.get(name)
        if known is not None and now - known.since_s < (_RENEWED_S if known.mine else _ASKED_S):
            return known.mine
        mine = self._database.write(lambda c: self._take(c, name), alone=False)
        with self._lock:
            self._known[name] = _Known(mine, now)
        return mine

    def _take(self, connection: Connection, name: str) -> bool:
        table, now = schema.turns, self._clock()
        until = now + seconds(HELD_S)
        free = or_(
            table.c.holder == self._holder,
            table.c.until_us < now,
            table.c.until_us > now + seconds(2 * HELD_S),  # of a clock that was set
        )
        taken = insert(table).values(name=name, holder=self._holder, until_us=until)
        taken = taken.on_conflict_do_update(
            index_elements=[table.c.name],
            set_={"holder": self._holder, "until_us": until},
            where=free,
        )
        return connection.execute(taken.returning(table.c.name)).first() is not None

    def give_up(self) -> None:
        """Let others have all turns at once, for this process ends."""
        if self._database.shared and self._known:
            table = schema.turns
            self._database.write(
                lambda c: c.execute(delete(table).where(table.c.holder == self._holder)) and None,
                alone=False,
            )


def noted(connection: Connection, name: str) -> str:
    """Return what all processes are to know of under a name that is no turn; "": nothing."""
    table = schema.turns
    query = select(table.c.holder).where(table.c.name == name)
    return str(connection.execute(query).scalar() or "")


def notes(connection: Connection, beginning: str) -> dict[str, str]:
    """Return the notes whose names have a beginning, by what follows it."""
    table = schema.turns
    query = select(table.c.name, table.c.holder).where(table.c.name.like(f"{beginning}%"))
    return {row.name.removeprefix(beginning): row.holder for row in connection.execute(query)}


def note(connection: Connection, name: str, words: str) -> None:
    """Let all processes know something, at most 512 characters, under a name that is no turn."""
    table = schema.turns
    changed = update(table).where(table.c.name == name).values(holder=words)
    if not connection.execute(changed).rowcount:
        connection.execute(insert_new(table).values(name=name, holder=words, until_us=0))


def free(connection: Connection, names: Iterable[str], now_us: int) -> list[str]:
    """Return which of these turns no process has."""
    table = schema.turns
    held = select(table.c.name).where(table.c.until_us >= now_us)
    taken = set(connection.execute(held).scalars())
    return [name for name in names if name not in taken]
