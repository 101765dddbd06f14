"""Which troubles of the rows somebody was told of: notes of the rows, for whoever tells next."""

from dataclasses import dataclass

from sqlalchemy import delete

from daemon import schema
from daemon.database import Database
from daemon.troubles import Trouble
from daemon.turns import note, notes

_MARK = "told "  # what the names of these notes begin with
_ROOM = 512  # characters of a note


@dataclass(frozen=True)
class Rows:
    """The book that all processes with the same rows keep (`daemon.notify.Book`)."""

    database: Database

    def read(self) -> dict[str, Trouble]:
        """Return them by their keys; what to do about them nobody asks any more."""
        with self.database.read() as connection:
            found = notes(connection, _MARK)
        return {key: _trouble(key, said) for key, said in found.items()}

    def begun(self, trouble: Trouble) -> None:
        """Add one, or change it."""
        said = f"{trouble.number}{'!' if trouble.serious else ''} {trouble.words}"
        self.database.write(lambda c: note(c, _MARK + trouble.key, said[:_ROOM]))

    def over(self, key: str) -> None:
        """Take one out."""
        table = schema.turns
        gone = delete(table).where(table.c.name == _MARK + key)
        self.database.write(lambda c: c.execute(gone) and None)


def _trouble(key: str, said: str) -> Trouble:
    head, _, words = said.partition(" ")
    return Trouble(key, words, "", head.endswith("!"), number=int(head.rstrip("!")))
