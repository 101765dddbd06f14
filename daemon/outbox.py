"""The way to every destination: one thread sends, one asks for commitment where that is wanted."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, select

from daemon import schema
from daemon.asker import Asker
from daemon.bell import Bell
from daemon.commitment import trust_stored
from daemon.common import Common
from daemon.config_destination import Destination
from daemon.deliver import Deliverer
from daemon.events import move_delivery
from daemon.lifecycle import UNCONFIRMED, DeliveryState
from daemon.rest import settle_study
from daemon.threads import Threads
from daemon.ways import peer
from dicom_io.scu import Remote


class Outbox:
    """Deliveries to the destinations of one configuration."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._bells: list[Bell] = []  # of those that send
        self._askers: dict[str, Asker] = {}
        config, tls = common.config, common.tls
        self.peers = {
            each.name: peer(each, config, tls.client if tls else None)
            for each in config.destinations
        }
        self.deliverers = {each.name: self._deliverer(each) for each in config.destinations}

    def start(self, threads: Threads) -> None:
        """Bring what waits in line with the destinations, and start their threads.

        One process at a time sends to a destination.
        """
        self.adopt()
        turns, stopping = self._common.turns, self._common.stopping
        for name, deliverer in self.deliverers.items():
            mine = partial(turns.mine, f"deliver {name}")
            threads.start(f"deliver-{name}", partial(deliverer.run, stopping, mine=mine))
        for name, asker in self._askers.items():
            mine = partial(turns.mine, f"ask {name}")
            threads.start(f"commitment-{name}", partial(asker.run, stopping, mine=mine))

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
        common, there = self._common, self.peers[destination.name]
        asker, bell = None, Bell()
        if destination.storage_commitment and isinstance(there, Remote):
            asker = Asker(there, common.database, common.reports, common.clock)
            self._askers[destination.name] = asker
        self._bells.append(bell)
        return Deliverer(
            there,
            common.database,
            common.folders.objects,
            common.clock,
            notes=common.notes,
            asker=asker,
            bell=bell,
        )

    def adopt(self) -> None:
        """Bring deliveries that wait in line with the destinations of this configuration."""
        common = self._common
        database, now = common.database, common.clock()
        destinations = common.config.destinations
        names = [destination.name for destination in destinations]
        trusted = [d.name for d in destinations if not d.storage_commitment]
        database.write(lambda c: park_unknown(c, names, now))
        for file_hash in database.write(lambda c: trust_stored(c, trusted, now)):
            common.folders.objects.remove(file_hash)


def park_unknown(connection: Connection, names: Sequence[str], now_us: int) -> None:
    """Park what waits for destinations that are no longer configured: nobody would send it.

    What they stored and did not commit to waits too: nobody would ask.
    """
    table, objects, analyses = schema.deliveries, schema.objects, schema.analyses
    tallies = schema.tallies  # which know of every destination that there was
    unknown = select(tallies.c.destination).where(
        tallies.c.entity == "delivery", tallies.c.destination.not_in(names)
    )
    rows = connection.execute(
        select(table.c.id, table.c.destination, analyses.c.study_id)
        .join(objects, objects.c.id == table.c.object_id)
        .join(analyses, analyses.c.id == objects.c.analysis_id)
        .where(table.c.state.in_(UNCONFIRMED), table.c.destination.in_(unknown))
    ).all()
    for row in rows:
        words = f"destination {row.destination} is no longer configured"
        move_delivery(connection, row.id, DeliveryState.PARKED, words, now_us)
        settle_study(connection, row.study_id, now_us)
