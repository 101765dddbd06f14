"""Two hundred bad peers of mixed kinds, which come back whenever they are thrown out."""

import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests import builders_wire as wire
from tests.bad_inputs import addressed
from tests.fakes_wire import RawPeer
from tests.misbehaviour import command, request

CROWD = 200
ADDRESSES = ("127.0.0.1", "127.0.0.3")


def stall(peer: RawPeer, asked: bytes) -> None:
    """Associate, and stop in mid-store."""
    peer.send(asked)
    peer.send(wire.p_data((1, 3, command()), (1, 0, b"half")))


KINDS: tuple[Callable[[RawPeer, bytes], None], ...] = (
    lambda peer, asked: None,  # silent
    lambda peer, asked: peer.send(asked[:1]),  # trickles on
    lambda peer, asked: peer.send(b"\x93\x11\xfe\x07" * 64),  # garbage
    lambda peer, asked: peer.send(asked[:100]),  # half a PDU
    stall,
)
TRICKLES = 1  # among the kinds


class Crowd:
    """Peers of every kind; one that was thrown out comes back."""

    def __init__(self, port: int, called: str = "AXNODE") -> None:
        self._port = port
        self._request = addressed(request(), called)
        self._addresses = itertools.cycle(ADDRESSES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._peers: dict[int, RawPeer] = {}
        self.renewed = 0

    def __enter__(self) -> Self:
        for number in range(CROWD):
            if not self._open(number):
                break  # the receiver takes no more
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
        for peer in self._peers.values():
            peer.close()

    def _open(self, number: int) -> bool:
        try:
            peer = RawPeer(self._port, next(self._addresses))
        except OSError:
            return False
        with suppress(OSError):
            KINDS[number % len(KINDS)](peer, self._request)
        peer.sock.setblocking(False)
        self._peers[number] = peer
        return True

    def _run(self) -> None:
        position = itertools.count(1)
        while not self._stop.wait(0.5):
            at = next(position)
            for number, peer in list(self._peers.items()):
                if number % len(KINDS) == TRICKLES:
                    with suppress(OSError):
                        peer.send(self._request[at : at + 1])
                if _is_over(peer.sock):
                    peer.close()
                    self.renewed += self._open(number)


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
