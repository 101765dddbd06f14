"""A night's work that fails: how often, why, and when it is tried again.

A note of the rows, so that a process that takes the work over waits as long, and all can tell.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete

from daemon import schema
from daemon.clock import seconds
from daemon.retry import RetryPolicy
from daemon.turns import note, noted

_FAILED = "nightly failed"  # name of the note
_ROOM = 512  # characters of a note
_LONGEST_S = 3600.0
_POLICY = RetryPolicy(first_s=120.0, longest_s=_LONGEST_S)  # it never gives up


@dataclass(frozen=True)
class Failure:
    """What is known of it."""

    night: str  # that it was tried for last
    times: int  # in a row
    due_us: int  # when it is tried again, unless another night comes before
    reason: str  # in words; nothing about a person

    def waits(self, night: str, now_us: int) -> bool:
        """Tell whether it is too early to try again; a clock that was set makes nobody wait."""
        return night == self.night and now_us < self.due_us <= now_us + seconds(_LONGEST_S)


def failure(connection: Connection) -> Failure | None:
    """Return what is wrong with the night's work; None: nothing, as far as it was tried."""
    said = noted(connection, _FAILED)
    if not said:
        return None
    night, times, due_us, reason = said.split(" ", 3)
    return Failure(night, int(times), int(due_us), reason)


def failed(connection: Connection, night: str, reason: str, now_us: int) -> Failure:
    """Note that it has failed once more; return what is known now."""
    before = failure(connection)
    times = before.times + 1 if before else 1
    now = Failure(night, times, now_us + _POLICY.wait_us(times), reason)
    note(connection, _FAILED, f"{night} {times} {now.due_us} {reason}"[:_ROOM])
    return now


def forget(connection: Connection) -> None:
    """Note that it works."""
    connection.execute(delete(schema.turns).where(schema.turns.c.name == _FAILED))
