"""What the calendar asks for once a night: retention, the sweep, and a look at certificates."""

import logging
import threading

from daemon import certificates, config, reconcile
from daemon.certificates import TlsSetup
from daemon.clock import Clock
from daemon.database import Database
from daemon.retention import Retention
from daemon.spool import Folders

log = logging.getLogger(__name__)


class Nightly:
    """The night's work, one part after another.

    Parameters
    ----------
    tls
        The node's certificates; None: it has none.
    stopping
        Set when the service stops: the rest waits for the next night.
    """

    def __init__(
        self,
        settings: config.Retention,
        database: Database,
        folders: Folders,
        tls: TlsSetup | None,
        clock: Clock,
        stopping: threading.Event,
    ) -> None:
        self._database = database
        self._spool = folders.spool
        self._kinds = (reconcile.instances(folders.spool), reconcile.objects(folders.objects))
        self._tls = tls
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
        free = self._spool.free_bytes() // 2**30
        log.info("nightly check", extra={"action": "nightly", "free_gib": free, "swept": swept})
        if self._tls is not None:
            certificates.log_expiry(self._tls, self._clock())
