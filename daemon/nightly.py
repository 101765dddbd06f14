"""What the calendar asks for once a night: retention, the sweep, and a look at certificates."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from daemon import certificates, config, reconcile
from daemon.certificates import Certificate
from daemon.clock import Clock
from daemon.database import Database
from daemon.retention import Retention
from daemon.spool import Folders
from daemon.store import forget_refusals

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

log = logging.getLogger(__name__)
_REFUSALS = 10_000  # that are remembered


class Nightly:
    """The night's work, one part after another.

    Parameters
    ----------
    watched
        Certificates whose end is told ahead.
    stopping
        Set when the service stops: the rest waits for the next night.
    """

    def __init__(
        self,
        settings: config.Retention,
        database: Database,
        folders: Folders,
        watched: Sequence[Certificate],
        clock: Clock,
        stopping: threading.Event,
    ) -> None:
        self._database = database
        self._spool = folders.spool
        self._kinds = (reconcile.instances(folders.spool), reconcile.objects(folders.objects))
        self._watched = watched
        self._clock = clock
        self._stopping = stopping
        self._retention = Retention(
            settings, database, folders.spool, folders.objects, clock, stopping
        )

    def run(self) -> None:
        """Do it all; what comes first is what is due most."""
        self._retention.run()
        swept = {
            kind.words: reconcile.sweep(self._database, kind, stopping=self._stopping)
            for kind in self._kinds
        }
        self._database.write(lambda c: forget_refusals(c, _REFUSALS))
        free = self._spool.free_bytes() // 2**30
        log.info("nightly check", extra={"action": "nightly", "free_gib": free, "swept": swept})
        certificates.log_expiry(self._watched, self._clock())


def started_calendar(nightly: Callable[[], None]) -> "BackgroundScheduler":
    """Start a calendar that calls `nightly` once a night."""
    from apscheduler.schedulers.background import BackgroundScheduler

    calendar = BackgroundScheduler(timezone="UTC")
    # a machine that was asleep then makes up for one night, however many it missed
    calendar.add_job(nightly, "cron", hour=3, minute=17, coalesce=True, misfire_grace_time=None)
    calendar.start()
    return calendar
