"""A sender that times every C-STORE: the same bytes and the same clock for every receiver.

Nothing is encoded while it sends, so that its threads are in the kernel nearly all the time: only
the first PDU of an instance differs from those of its neighbours, by the UID.
"""

import itertools
import threading
import time
from collections.abc import Sequence

from tests import builders_wire as wire
from tests.fakes_wire import RawPeer
from tests.peers import chunks
from tests.reception_node import MODALITY

_LONGEST_PDU = 131072  # that DCMTK's senders send, whatever the receiver offers
_PATIENCE_S = 120.0


class TimedSender:
    """One association that stores instance after instance.

    Parameters
    ----------
    port, title
        The receiver's.
    syntax
        Transfer syntax of the data set.
    dataset
        An instance as bytes.
    placeholder
        The SOP Instance UID in it, near its beginning; each instance gets another of this length.
    """

    def __init__(
        self, port: int, title: str, syntax: str, dataset: bytes, placeholder: str
    ) -> None:
        self._placeholder = placeholder
        self._peer = RawPeer(port, MODALITY)
        self._peer.sock.settimeout(_PATIENCE_S)
        proposed = wire.context(1, wire.US_IMAGE, [syntax])
        self._peer.send(wire.associate_rq([proposed], called=title))
        kind, body = self._peer.receive()
        assert kind == 2, f"PDU type {kind}"
        at = body.index(b"\x51\0\0\4") + 4  # maximum length (PS3.8 D.1)
        room = min(int.from_bytes(body[at : at + 4], "big") or _LONGEST_PDU, _LONGEST_PDU) - 6
        self._first, *rest = chunks(dataset, room)
        assert placeholder.encode() in self._first
        pdus = [wire.p_data((1, 2 * (piece is rest[-1]), piece)) for piece in rest]
        self._rest = b"".join(pdus)

    def store(self, uid: str) -> float:
        """Store an instance; return the seconds from its first byte to its success."""
        command = wire.command(0x0001, sop_class=wire.US_IMAGE, instance=uid, has_data_set=True)
        first = self._first.replace(self._placeholder.encode(), uid.encode())
        head = wire.p_data((1, 3, command)) + wire.p_data((1, 0 if self._rest else 2, first))
        started = time.perf_counter()
        self._peer.send(head)
        self._peer.send(self._rest)
        status = self._peer.status()
        seconds = time.perf_counter() - started
        assert status == 0, f"0x{status:04X}"
        return seconds

    def release(self) -> None:
        """Release the association."""
        self._peer.send(wire.pdu(5, bytes(4)))
        self._peer.receive()
        self._peer.close()


def send(senders: Sequence[TimedSender], uids: Sequence[str]) -> list[float]:
    """Store all instances over the senders at once; return the seconds of each C-STORE."""
    queue, lock = iter(uids), threading.Lock()
    times: list[list[float]] = [[] for _ in senders]

    def work(sender: TimedSender, took: list[float]) -> None:
        while True:
            with lock:
                uid = next(queue, None)
            if uid is None:
                return
            took.append(sender.store(uid))

    pairs = zip(senders, times, strict=True)
    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sender in senders:
        sender.release()
    return list(itertools.chain.from_iterable(times))
