"""Two hundred bad peers at once: nobody else notices, and their memory is bounded."""

import itertools
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests import builders_wire as wire
from tests.bad_inputs import CALLING, command, request
from tests.fakes_wire import RawPeer
from tests.footprint import MIB, forget_peak
from tests.peers import wait_until
from tests.reception_node import MODALITY, Modality, ReceptionNode

pytestmark = pytest.mark.integration

SOURCES = [{"ae_title": "US1", "host": MODALITY}, {"ae_title": CALLING}]
CROWD = 200
ADDRESSES = ("127.0.0.1", "127.0.0.3")
ROUND_S = 10.0  # a safety net; on an idle machine a round takes a few hundredths


def stall(peer: RawPeer) -> None:
    """Associate, and stop in mid-store."""
    peer.send(request())
    peer.send(wire.p_data((1, 3, command()), (1, 0, b"half")))


KINDS: tuple[Callable[[RawPeer], None], ...] = (
    lambda peer: None,  # silent
    lambda peer: peer.send(request()[:1]),  # trickles on
    lambda peer: peer.send(b"\x93\x11\xfe\x07" * 64),  # garbage
    lambda peer: peer.send(request()[:100]),  # half a PDU
    stall,
)
TRICKLES = 1  # among the kinds


class Crowd:
    """Peers of every kind; one that was thrown out comes back."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._addresses = itertools.cycle(ADDRESSES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._peers: list[RawPeer] = []
        self.renewed = 0

    def __enter__(self) -> Self:
        self._peers = [self._new(number) for number in range(CROWD)]
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        for peer in self._peers:
            peer.close()

    def _new(self, number: int) -> RawPeer:
        peer = RawPeer(self._port, next(self._addresses))
        with suppress(OSError):
            KINDS[number % len(KINDS)](peer)
        peer.sock.setblocking(False)
        return peer

    def _run(self) -> None:
        position = itertools.count(1)
        while not self._stop.wait(0.5):
            at = next(position)
            for number, peer in enumerate(self._peers):
                if number % len(KINDS) == TRICKLES:
                    with suppress(OSError):
                        peer.send(request()[at : at + 1])
                if _is_over(peer.sock):
                    peer.close()
                    self._peers[number] = self._new(number)
                    self.renewed += 1


def _is_over(sock: socket.socket) -> bool:
    try:
        while data := sock.recv(4096):
            if data[0] == 7:  # A-ABORT
                return True
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_a_modality_works_on_beside_two_hundred_bad_peers(tmp_path: Path) -> None:
    """``pytest -rP`` shows the figures."""
    with ReceptionNode(tmp_path, None, {"sources": SOURCES}) as node:
        node.warm_up()
        before = node.footprint()
        with Crowd(node.port) as crowd, Modality(node) as modality:
            time.sleep(12)  # longer than the deadline before association
            during = node.footprint()
        after = node.at_rest()
    assert len(modality.rounds_s) > 10
    assert crowd.renewed > CROWD / len(KINDS)  # garbage is thrown out at once, and comes back
    print(
        f"{len(modality.rounds_s)} rounds; longest wait for association "
        f"{max(modality.waits_s):.3f} s, longest round {max(modality.rounds_s):.3f} s; "
        f"{during.threads} threads, {(during.memory - before.memory) / MIB:.1f} MiB more during, "
        f"{(after.memory - before.memory) / MIB:.1f} MiB more after; {crowd.renewed} came back"
    )
    assert max(modality.waits_s) < ROUND_S
    assert during.threads > CROWD / 2
    assert after.threads == before.threads
    assert after.descriptors <= before.descriptors + 10  # of the database's pool
    assert during.memory - before.memory < 64 * MIB
    assert after.memory - before.memory < 32 * MIB


def test_memory_before_association_is_bounded_per_address(tmp_path: Path) -> None:
    """Sixty-four requests of a mebibyte, each but for its last byte."""
    length = 1 << 20
    with ReceptionNode(tmp_path, None, {"sources": SOURCES}) as node, ExitStack() as stack:
        node.warm_up()
        before = node.footprint()
        forget_peak(node.pid)
        peers = [stack.enter_context(RawPeer(node.port)) for _ in range(64)]
        for peer in peers:
            with suppress(OSError):  # thrown out
                peer.send(wire.pdu(1, bytes(length - 1), length=length))
        wait_until(lambda: sum(not _thrown_out(peer) for peer in peers) == 16)
        with Modality(node):
            pass
        growth = node.footprint().peak - before.memory
    print(f"{growth / MIB:.1f} MiB more at most")
    assert growth < 24 * MIB


def _thrown_out(peer: RawPeer) -> bool:
    peer.sock.setblocking(False)
    try:
        return peer.sock.recv(1, socket.MSG_PEEK) in (b"", b"\x07")
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_the_longest_request_takes_little_memory(tmp_path: Path) -> None:
    """As many items as are read at all, in a mebibyte."""
    syntaxes = [f"1.2.3.{number:050d}" for number in range(60)]
    contexts = [
        wire.context(n, wire.US_IMAGE, [*syntaxes, wire.EXPLICIT]) for n in range(1, 256, 2)
    ]
    asked = wire.associate_rq(contexts, calling=CALLING)
    assert len(asked) > 400_000
    with ReceptionNode(tmp_path, None, {"sources": SOURCES}) as node:
        node.warm_up()
        before = node.footprint()
        forget_peak(node.pid)
        with RawPeer(node.port) as peer:
            peer.send(asked)
            assert peer.receive()[0] == 2
        growth = node.footprint().peak - before.memory
    print(f"{len(asked)} bytes, {growth / MIB:.1f} MiB more at most")
    assert growth < 32 * MIB
