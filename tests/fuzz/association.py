"""A whole association: the first byte says how the node behind it behaves, the rest is the wire."""

import errno
import logging
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_io.admission import Admission
from dicom_io.association import Association
from dicom_io.errors import StoreRefused
from dicom_io.negotiation import Negotiator
from dicom_io.reception import CALLED_AE_UNKNOWN, Limits
from tests import builders_wire as wire
from tests.fakes_wire import ACCEPT, RecordingHandler

# Small caps, so that short inputs reach them. Nothing waits: the peer sends all and hangs up.
LIMITS = Limits(
    associate_bytes=20_000,
    pdu_bytes=8192,
    command_bytes=1024,
    dataset_bytes=16_384,
    report_bytes=4096,
)
_END_S = 30.0  # far longer than any input takes: the association did not end
_C_STORE_RSP = 0x8001
_P_DATA = 4


class Faults(logging.Handler):
    """Remembers the lines of unforeseen exceptions."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one line."""
        if vars(record).get("action") == "association_fault":
            self.lines.append(record.getMessage())


@contextmanager
def listening() -> Iterator[Faults]:
    """Collect faults while the context lasts."""
    faults, log = Faults(), logging.getLogger("dicom_io.acceptor")
    log.addHandler(faults)
    spread, log.propagate = log.propagate, False
    try:
        yield faults
    finally:
        log.removeHandler(faults)
        log.propagate = spread


def handler(kind: int) -> RecordingHandler:
    """Return a node of one temper; what it raises is what `Handler` allows."""
    full = OSError(errno.ENOSPC, "full")
    return (
        RecordingHandler(),
        RecordingHandler(write_error=full),
        RecordingHandler(commit_error=StoreRefused("no", 0xA700)),
        RecordingHandler(commit_error=full),
        RecordingHandler(store_error=StoreRefused("no", 0xA700)),
        RecordingHandler(commit_status=0x0111),
        RecordingHandler(rejection=CALLED_AE_UNKNOWN),
    )[kind % 7]


def check(data: bytes) -> None:
    """Let a peer send the bytes and hang up; see what was answered and what is left."""
    if not data:
        return
    node, stream = handler(data[0]), data[1:]
    admission = Admission(LIMITS)
    with listening() as faults:
        answers = _converse(node, stream, admission)
    assert not faults.lines, faults.lines
    assert admission.counts() == (0, 0)
    _sinks_have_ended(node)
    _only_what_was_committed_is_a_success(node, answers)
    _what_was_kept_was_sent(node, stream)


def _converse(node: RecordingHandler, stream: bytes, admission: Admission) -> bytes:
    """Serve the stream to its end; return all that the node sent."""
    ours, peers = socket.socketpair()
    negotiator = Negotiator(ACCEPT, LIMITS.pdu_bytes)
    association = Association(
        ours, "127.0.0.1", 1, node, negotiator, admission, LIMITS, threading.Event()
    )
    admission.connect(association.ticket)
    thread = threading.Thread(target=association.run, daemon=True)
    thread.start()
    with peers:
        peers.settimeout(_END_S)
        sender = threading.Thread(target=_send, args=(peers, stream), daemon=True)
        sender.start()
        answers = b"".join(iter(lambda: peers.recv(65_536), b""))
        sender.join(_END_S)
    thread.join(_END_S)
    assert not thread.is_alive(), "the association did not end"
    assert ours.fileno() == -1, "the socket was left open"
    return answers


def _send(peer: socket.socket, stream: bytes) -> None:
    try:
        peer.sendall(stream)
        peer.shutdown(socket.SHUT_WR)
    except OSError:  # the node has hung up
        return


def _sinks_have_ended(node: RecordingHandler) -> None:
    for sink in node.sinks:
        assert sink.end in ("committed", "discarded"), sink.end or "left open"


def _only_what_was_committed_is_a_success(node: RecordingHandler, answers: bytes) -> None:
    committed = Counter(s.request.sop_instance_uid for s in node.stored if not node.commit_status)
    succeeded = Counter(
        elements[0x1000].rstrip(b"\0").decode()
        for elements in _answered(answers)
        if elements[0x0100] == struct.pack("<H", _C_STORE_RSP) and elements[0x0900] == b"\0\0"
    )
    assert succeeded <= committed, f"answered {succeeded}, committed {committed}"


def _answered(answers: bytes) -> Iterator[dict[int, bytes]]:
    """Read the node's command sets; every byte it sends must make sense."""
    command = b""
    for kind, body in _pdus(answers):
        assert kind in (2, 3, 4, 6, 7), f"the node sent PDU type {kind}"
        for _, control, value in _values(body) if kind == _P_DATA else ():
            assert control & 1, "the node sent a data set"
            command += value
            if control & 2:
                yield _elements(command)
                command = b""


def _pdus(stream: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 6 <= len(stream):
        kind, length = struct.unpack_from(">BxL", stream, position)
        yield kind, stream[position + 6 : position + 6 + length]
        position += 6 + length


def _values(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    position = 0
    while position + 6 <= len(body):
        length, context, control = struct.unpack_from(">LBB", body, position)
        yield context, control, body[position + 6 : position + 4 + length]
        position += 4 + length


def _elements(command: bytes) -> dict[int, bytes]:
    found, position = {}, 0
    while position < len(command):
        _, number, length = struct.unpack_from("<HHL", command, position)
        found[number] = command[position + 8 : position + 8 + length]
        position += 8 + length
    return found


def _what_was_kept_was_sent(node: RecordingHandler, stream: bytes) -> None:
    """Every committed data set is one that the peer sent, whole and unmixed."""
    if not node.stored:
        return
    sent, data = set(), b""
    for kind, body in _pdus(stream):
        for _, control, value in _values(body) if kind == _P_DATA else ():
            if control & 1:
                continue
            data += value
            if control & 2:
                sent.add(data)
                data = b""
    assert {bytes(sink.data) for sink in node.stored} <= sent


def seeds() -> Iterator[bytes]:
    """Associations of every kind of message, and of every way to end."""
    contexts = [
        wire.context(1, wire.VERIFICATION, [wire.IMPLICIT, wire.EXPLICIT]),
        wire.context(3, wire.US_IMAGE, [wire.JPEG, wire.EXPLICIT]),
        wire.context(5, wire.COMMITMENT, [wire.IMPLICIT]),
        wire.context(7, "1.2.3", [wire.IMPLICIT]),
    ]
    items = wire.role(wire.COMMITMENT, scu=False, scp=True) + wire.user_name(b"me", respond=True)
    ask, done = wire.associate_rq(contexts, user_items=items), wire.pdu(5, bytes(4))
    echo = wire.p_data((1, 3, wire.command(0x30)))
    store = wire.command(1, sop_class=wire.US_IMAGE, instance="1.2.3.4", has_data_set=True)
    dataset = wire.dataset()
    whole = wire.p_data((3, 3, store), (3, 2, dataset))
    pieces = (
        wire.p_data((3, 1, store[:20]))
        + wire.p_data((3, 3, store[20:]), (3, 0, dataset[:9]))
        + wire.p_data((3, 0, dataset[9:99]), (3, 2, dataset[99:]))
    )
    report = wire.command(0x100, sop_class=wire.COMMITMENT, has_data_set=True, event_type=1)
    told = wire.p_data((5, 3, report), (5, 2, wire.dataset(wire.IMPLICIT)))
    cancel = wire.p_data((1, 3, wire.command(0x0FFF, message_id=None)))
    narrow = wire.associate_rq(contexts, maximum=7)
    for kind in range(7):
        yield bytes((kind,)) + ask + echo + whole + pieces + told + cancel + done
    yield b"\0" + narrow + echo + whole + done
    yield b"\0" + ask + whole[:-20]
    yield b"\0" + ask + wire.pdu(7, bytes(4))
    yield b"\0" + wire.associate_rq(contexts, application_context="1.2.3") + done
    yield b"\0" + wire.associate_rq(contexts, version=2)
    yield b"\0" + wire.p_data((1, 3, wire.command(0x30)))
    yield b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def seed_of(file: Path) -> bytes | None:
    """Real files say nothing about associations."""
    return None
