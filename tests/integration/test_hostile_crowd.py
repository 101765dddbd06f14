"""Two hundred bad peers at once: nobody else notices, and their memory is bounded."""

import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests import builders_wire as wire
from tests.crowd import CROWD, KINDS, Crowd
from tests.fakes_wire import RawPeer
from tests.footprint import MIB, forget_peak
from tests.misbehaviour import CALLING
from tests.peers import wait_until
from tests.reception_node import MODALITY, Modality, ReceptionNode

pytestmark = pytest.mark.integration

SOURCES = [{"ae_title": "US1", "host": MODALITY}, {"ae_title": CALLING}]
ROUND_S = 10.0  # a safety net; on an idle machine a round takes a few hundredths


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
