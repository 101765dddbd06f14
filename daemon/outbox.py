"""The way to every destination: one thread sends, one asks for commitment where that is wanted."""

import ssl
import threading
from functools import partial

from daemon.asker import Asker
from daemon.audit_notes import Notes
from daemon.bell import Bell
from daemon.clock import Clock
from daemon.commitment import Reports, trust_stored
from daemon.config import Config, Destination
from daemon.database import Database
from daemon.deliver import Deliverer, park_unknown, remote
from daemon.spool import Spool
from daemon.threads import Threads


class Outbox:
    """Deliveries to the destinations of one configuration.

    Parameters
    ----------
    objects
        The folder of result objects.
    tls
        What destinations with TLS are opened in.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        objects: Spool,
        clock: Clock,
        reports: Reports,
        tls: ssl.SSLContext | None,
        notes: Notes,
    ) -> None:
        self._config = config
        self._database = database
        self._objects = objects
        self._clock = clock
        self._reports = reports
        self._notes = notes
        self._bells: list[Bell] = []  # of those that send
        self._askers: dict[str, Asker] = {}
        self.peers = {
            each.name: remote(each, config.node.ae_title, tls) for each in config.destinations
        }
        self.deliverers = {each.name: self._deliverer(each) for each in config.destinations}

    def start(self, threads: Threads, stopping: threading.Event) -> None:
        """Bring what waits in line with the destinations, and start their threads."""
        self.adopt()
        for name, deliverer in self.deliverers.items():
            threads.start(f"deliver-{name}", partial(deliverer.run, stopping))
        for name, asker in self._askers.items():
            threads.start(f"commitment-{name}", partial(asker.run, stopping))

    def ring(self) -> None:
        """Say that there are new deliveries."""
        for bell in self._bells:
            bell.ring()

    def wake(self) -> None:
        """Let no thread finish its pause, for the service stops."""
        self.ring()
        for asker in self._askers.values():
            asker.bell.ring()

    def _deliverer(self, destination: Destination) -> Deliverer:
        peer = self.peers[destination.name]
        asker, bell = None, Bell()
        if destination.storage_commitment:
            asker = Asker(peer, self._database, self._reports, self._clock)
            self._askers[destination.name] = asker
        self._bells.append(bell)
        return Deliverer(
            peer,
            self._database,
            self._objects,
            self._clock,
            notes=self._notes,
            asker=asker,
            bell=bell,
        )

    def adopt(self) -> None:
        """Bring deliveries that wait in line with the destinations of this configuration."""
        destinations, now = self._config.destinations, self._clock()
        names = [destination.name for destination in destinations]
        trusted = [d.name for d in destinations if not d.storage_commitment]
        self._database.write(lambda c: park_unknown(c, names, now))
        for file_hash in self._database.write(lambda c: trust_stored(c, trusted, now)):
            self._objects.remove(file_hash)
