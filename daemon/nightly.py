"""What the calendar asks for once a night: retention, the sweep, and a look at certificates.

The calendar says that a night has come; the rows say whether its work is done. Until it is, some
process that does such work has the turn, or takes it: one that dies is followed by another, and a
database that was away is asked again. What fails is tried again, ever later (`daemon.nights`).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete

from daemon import certificates, config, nights, reconcile, schema
from daemon.bell import Bell
from daemon.certificates import Certificate
from daemon.clock import SECOND_US, Clock, seconds
from daemon.commitment import forget_answered
from daemon.database import Database
from daemon.errors import DaemonError
from daemon.pulse import Pulse
from daemon.retention import Retention
from daemon.spool import Folders
from daemon.store import forget_refusals
from daemon.timelines import Timelines
from daemon.turns import Turns, note, noted

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

log = logging.getLogger(__name__)
_REFUSALS = 10_000  # that are remembered
_REPORTED_US = seconds(30 * 86_400)  # after which nobody reports again on a request
_CHUNK = 1000  # requests deleted in one transaction
_LOOK_S = 120.0  # whether a night's work is left to be done
_TURN, _COME, _DONE = "nightly", "nightly come", "nightly done"  # the latter two are notes


class Nightly:
    """The night's work, one part after another.

    Parameters
    ----------
    watched
        Certificates whose end is told ahead.
    turns
        One process at a time does it.
    """

    def __init__(
        self,
        settings: config.Retention,
        database: Database,
        folders: Folders,
        watched: Sequence[Certificate],
        clock: Clock,
        turns: Turns,
    ) -> None:
        self._database = database
        self._spool = folders.spool
        self._kinds = (reconcile.instances(folders.spool), reconcile.objects(folders.objects))
        self._watched = watched
        self._clock = clock
        self._turns = turns
        self._retention = Retention(settings, database, folders.spool, folders.objects, clock)
        self._timelines = Timelines(settings.events_days, database, clock)
        self._come = ""  # the night that the calendar told of and no row tells of yet
        self.bell = Bell()

    def come(self) -> None:
        """Say that a night has come, that of today (UTC, by the clock that all processes go by)."""
        self._come = f"{datetime.fromtimestamp(self._clock() / 1e6, UTC):%Y-%m-%d}"
        self.bell.ring()

    def run(self, stopping: threading.Event, pulse: Pulse) -> None:
        """Do what the nights ask for until `stopping` is set; what is left is done later."""

        def go_on() -> bool:
            pulse()
            return not stopping.is_set()

        while go_on():
            self.bell.wait(_LOOK_S)
            if go_on():
                self.look(go_on)

    def look(self, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Do the work of a night where it is left to be done; tell whether all of it was.

        It ends as soon as `go_on` says no, or another process has the turn.

        Raises
        ------
        UnavailableError
            The database does not answer.
        """
        night = self._come
        if night:
            self._database.write(lambda c: note(c, _COME, night))
            self._come = ""
        if not self._turns.mine(_TURN):
            return False
        self._timelines.make_ahead()
        with self._database.read() as connection:
            night, done = noted(connection, _COME), noted(connection, _DONE)
            failure = nights.failure(connection)
        if night == done or (failure and failure.waits(night, self._clock())):
            return False
        try:
            return self.work(night, lambda: go_on() and self._turns.mine(_TURN))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try has to wait
            self._failed(night, _reason(error))
            return False

    def _failed(self, night: str, reason: str) -> None:
        now_us = self._clock()
        failure = self._database.write(lambda c: nights.failed(c, night, reason, now_us))
        extra = {
            "reason": reason,
            "times": failure.times,
            "again_s": (failure.due_us - now_us) // SECOND_US,
        }
        log.exception("the night's work failed", extra={"action": "nightly_failed", **extra})

    def work(self, night: str, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Do the work of one night, what is due most first; tell whether all of it was done."""
        self._retention.run(night, go_on)
        self._timelines.run(go_on)
        swept = {
            kind.words: reconcile.sweep(self._database, kind, go_on=go_on) for kind in self._kinds
        }
        self._database.write(lambda c: forget_refusals(c, _REFUSALS))
        before_us = self._clock() - _REPORTED_US
        while go_on() and self._database.write(lambda c: forget_answered(c, before_us, _CHUNK)):
            pass
        if not go_on():
            return False
        free = self._spool.free_bytes() // 2**30
        log.info("nightly check", extra={"action": "nightly", "free_gib": free, "swept": swept})
        certificates.log_expiry(self._watched, self._clock())
        self._database.write(lambda c: _done(c, night))
        return True


def _done(connection: Connection, night: str) -> None:
    """Note that a night's work is done; notes of single nights, as there were, go."""
    note(connection, _DONE, night)
    nights.forget(connection)
    connection.execute(delete(schema.turns).where(schema.turns.c.name.like("night %")))


def _reason(error: Exception) -> str:
    """Say in words what went wrong, without the path of a file."""
    if isinstance(error, DaemonError):
        return str(error)
    return getattr(error, "strerror", None) or type(error).__name__


def started_calendar(come: Callable[[], None]) -> "BackgroundScheduler":
    """Start a calendar that calls `come` once a night."""
    from apscheduler.schedulers.background import BackgroundScheduler

    calendar = BackgroundScheduler(timezone="UTC")
    # a machine that was asleep then makes up for one night, however many it missed
    calendar.add_job(come, "cron", hour=3, minute=17, coalesce=True, misfire_grace_time=None)
    calendar.start()
    return calendar
