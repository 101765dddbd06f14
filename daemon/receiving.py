"""The part of a service that takes images, assembles studies and commits to storage."""

import ssl
from functools import partial

from daemon import systemd
from daemon.assemble import Assembler
from daemon.callers import Callers
from daemon.certificates import TlsSetup
from daemon.common import Common
from daemon.config import Config
from daemon.config_source import guard_open_door
from daemon.custody import Custody
from daemon.eligibility import by_headers
from daemon.errors import UnavailableError
from daemon.hints import ANALYSES
from daemon.pulse import Pulse
from daemon.receive import Reception
from daemon.teller import Teller
from daemon.threads import Threads
from dicom_io.acceptor import Acceptor
from dicom_io.errors import DicomIOError
from dicom_io.reception import Limits


class Receiving:
    """Reception with its port, assembly, and answers about storage commitment."""

    def __init__(self, common: Common) -> None:
        self._common = common
        config, database, clock = common.config, common.database, common.clock
        spool = common.folders.spool
        self.assembler = Assembler(
            config,
            database,
            clock,
            by_headers(spool, config.rules),
            common.bundles.named,
            common.recipe,
            queued=partial(common.hints.tell, ANALYSES),
        )
        self.teller: Teller | None = None
        provider = None
        if config.node.storage_commitment_scp:
            callers = Callers(config)
            provider = Custody(callers, database, spool, clock)
            title = config.node.ae_title
            self.teller = Teller(title, callers, provider, database, clock, self._sources_tls())
        self.reception = Reception(config, database, spool, clock, common.reports, common.notes)
        self.acceptor = acceptor(config, self.reception, provider, common.tls)

    def _sources_tls(self) -> ssl.SSLContext | None:
        """Return what modalities are called back in: what they call in."""
        tls = self._common.tls
        return tls.client if tls and self._common.config.tls.receive else None

    def open(self) -> None:
        """Open the port.

        Raises
        ------
        UnavailableError
            It cannot be had.
        """
        try:
            self.acceptor.start()
        except DicomIOError as error:
            raise UnavailableError(str(error)) from error

    def start(self, threads: Threads) -> None:
        """Start the threads."""
        threads.start("assembler", self._assemble)
        if self.teller is not None:
            mine = partial(self._common.turns.mine, "commitment")
            run = partial(self.teller.run, self._common.stopping, mine=mine)
            threads.start("commitment", run)

    def _assemble(self, pulse: Pulse) -> None:
        stopping = self._common.stopping
        while not stopping.is_set():
            pulse()
            if not self._common.turns.mine("assemble") or not self.assembler.sweep():
                stopping.wait(self.assembler.pause_s)


def acceptor(
    config: Config, reception: Reception, provider: Custody | None, tls: TlsSetup | None
) -> Acceptor:
    """Return what listens on the node's port, or on the socket that systemd hands over."""
    listener = systemd.listener()
    if listener is not None:
        guard_open_door(config, listener.getsockname()[0])
    return Acceptor(
        reception,
        reception.accepted,
        config.node.host,
        config.node.port,
        Limits(max_associations=config.node.max_associations),
        listener,
        tls=tls.server if tls else None,
        provider=provider,
    )
