"""Who calls, and what that gives leave to do: push instances, or report on storage commitment."""

import socket
from dataclasses import replace

from daemon.config import Config
from daemon.config_destination import Destination
from daemon.config_source import Source
from dicom_io.acceptor import CALLED_AE_UNKNOWN, CALLING_AE_UNKNOWN, Peer, Rejection


class Callers:
    """Tells peers by title, address and certificate, as the configuration names them."""

    def __init__(self, config: Config) -> None:
        self._own = config.node.ae_title
        self._sources = config.sources
        self._committing = [d for d in config.destinations if d.storage_commitment]

    def judge(self, peer: Peer) -> Rejection | None:
        """Admit or reject a peer by who it is (PS3.8 9.3.4)."""
        if peer.called_ae != self._own:
            words = f"it called {peer.called_ae}; this node is {self._own}"
            return replace(CALLED_AE_UNKNOWN, message=words)
        if self.may_push(peer) or self.may_report_for(peer):
            return None
        words = f"{peer.calling_ae} {self._strangeness(peer)}"
        return replace(CALLING_AE_UNKNOWN, message=words)

    def _strangeness(self, peer: Peer) -> str:
        """Say why a peer is nobody that may call."""
        sources = [source for source in self._sources if source.ae_title == peer.calling_ae]
        committing = [d for d in self._committing if d.ae_title == peer.calling_ae]
        if not sources and not committing:
            return "is not among the [[sources]]"
        here = any(source.is_at(peer.address) for source in sources)
        if not here and not any(_is_at(d, peer.address) for d in committing):
            return "may not call from this address"
        return f"shows the certificate of {peer.certificate}, which is not its certificate_name"

    def source(self, peer: Peer) -> Source | None:
        """Return the configured source that a peer is."""
        return next(
            (
                source
                for source in self._sources
                if source.ae_title == peer.calling_ae
                and source.is_at(peer.address)
                and source.holds(peer.certificate_names)
            ),
            None,
        )

    def listed(self, calling_ae: str, address: str) -> Source | None:
        """Return the source of a title and an address, whichever certificate it shows."""
        return next(
            (s for s in self._sources if s.ae_title == calling_ae and s.is_at(address)), None
        )

    def with_token(self, title: str, address: str) -> Peer:
        """Return the peer that has shown a source's token, which stands for its certificate too."""
        source = self.listed(title, address)
        name = source.certificate_name if source else None
        return Peer(address, title, self._own, "", None if name is None else frozenset({name}))

    def may_push(self, peer: Peer) -> bool:
        """Tell whether a peer may store instances: anyone, where no sources are listed."""
        return not self._sources or self.source(peer) is not None

    def may_report_for(self, peer: Peer) -> list[str]:
        """Return the names of the destinations on whose behalf a peer may report.

        One with the title, address and certificate of a destination that is asked to commit. A PACS
        that reports from another address is listed among the sources too.
        """
        named = [d for d in self._committing if d.ae_title == peer.calling_ae]
        if self.may_push(peer):
            return [d.name for d in named]
        return [d.name for d in named if _is_at(d, peer.address) and _holds(d, peer)]


def _holds(destination: Destination, peer: Peer) -> bool:
    """Tell whether a peer's certificate, where it had to show one, is a destination's."""
    wanted = destination.certificate_name or destination.host.lower()
    shown = peer.certificate_names
    # what is sent to it is sent to a wildcard's holder too (RFC 9525 6.3)
    return shown is None or not shown.isdisjoint({wanted, f"*.{wanted.partition('.')[2]}"})


def _is_at(destination: Destination, address: str) -> bool:
    """Tell whether an address is a destination's, whose host may be a name."""
    try:
        found = socket.getaddrinfo(destination.host, destination.port, type=socket.SOCK_STREAM)
    except OSError:  # a name that cannot be resolved now is nobody's
        return False
    return address in {str(item[4][0]) for item in found}
