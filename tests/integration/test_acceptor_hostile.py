"""The acceptor against peers that break every rule, byte by byte over loopback."""

import errno
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from dicom_io.acceptor import Acceptor, Limits, Rejection
from dicom_io.errors import DicomIOError, IdentifierMismatch, StoreRefused
from tests import builders_wire as wire
from tests.fakes_wire import ACCEPT, RawPeer, RecordingHandler, accepting, command_elements
from tests.peers import chunks, wait_until

pytestmark = pytest.mark.integration

QUICK = Limits(
    associate_s=0.4, pdu_s=0.4, message_gap_s=0.4, idle_s=0.4, dataset_s=0.4, linger_s=0.2
)
IMAGE_CONTEXT = wire.context(1, wire.US_IMAGE, [wire.EXPLICIT])
ECHO_CONTEXT = wire.context(3, wire.VERIFICATION, [wire.IMPLICIT])
ASSOCIATE = wire.associate_rq([IMAGE_CONTEXT, ECHO_CONTEXT])
ECHO = wire.p_data((3, 3, wire.command(0x0030)))
STORE = wire.command(0x0001, sop_class=wire.US_IMAGE, instance="1.2.3.4", has_data_set=True)
ABORTED = 7
REJECTED = 3


@pytest.fixture
def handler() -> RecordingHandler:
    return RecordingHandler()


@pytest.fixture
def node(handler: RecordingHandler) -> Iterator[Acceptor]:
    with accepting(handler, replace(Limits(), linger_s=0.2)) as acceptor:
        yield acceptor


def associated(port: int, request: bytes = ASSOCIATE) -> RawPeer:
    peer = RawPeer(port)
    peer.send(request)
    kind, body = peer.receive()
    assert kind == 2, f"PDU type {kind}, body {body.hex()}"
    return peer


def store(peer: RawPeer, data: bytes, command: bytes = STORE) -> int:
    peer.send(wire.p_data((1, 3, command), (1, 2, data)))
    return peer.status()


def cut_while_sending(peer: RawPeer, pieces: Iterable[bytes], pause_s: float = 0) -> bool:
    """Send piece after piece; say whether the node hung up before the last."""
    for piece in pieces:
        try:
            peer.send(piece)
        except OSError:
            return True
        time.sleep(pause_s)
    return False


# Before association


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        wire.pdu(0xFF, b"x"),
        wire.p_data((1, 3, b"x")),
        wire.pdu(5, bytes(4)),
        wire.pdu(1, b"", length=0xFFFFFFFF),
        wire.pdu(1, b"x" * 60),
        wire.associate_rq([ECHO_CONTEXT, ECHO_CONTEXT]),
        wire.associate_rq(
            [wire.context(n % 256, wire.VERIFICATION, [wire.IMPLICIT]) for n in range(1, 401, 2)]
        ),
    ],
)
def test_what_is_no_association_request_is_aborted(
    node: Acceptor, handler: RecordingHandler, first: bytes
) -> None:
    with RawPeer(node.port) as peer:
        peer.send(first)
        assert peer.receive()[0] == ABORTED
        assert peer.at_end()
    wait_until(lambda: len(handler.failures) == 1)
    assert handler.failures[0][0] == "127.0.0.1"
    assert handler.failed_titles == [""]


def test_an_abort_at_once_is_a_failed_association(
    node: Acceptor, handler: RecordingHandler
) -> None:
    with RawPeer(node.port) as peer:
        peer.send(wire.pdu(7, bytes(4)))
        peer.receive()
    wait_until(lambda: len(handler.failures) == 1)


def test_silence_is_closed_and_counts_as_nothing(handler: RecordingHandler) -> None:
    with accepting(handler, QUICK) as node, RawPeer(node.port) as peer:
        assert peer.at_end()
        assert node.associations == 0
    assert handler.failures == []


def test_a_trickled_request_is_cut(handler: RecordingHandler) -> None:
    """Bytes that keep coming do not move the deadline."""
    with accepting(handler, QUICK) as node, RawPeer(node.port) as peer:
        assert cut_while_sending(peer, chunks(ASSOCIATE, 1), pause_s=0.05)
    assert "in time" in handler.failures[0][1]


def test_a_long_request_is_read_and_a_longer_one_is_not(handler: RecordingHandler) -> None:
    contexts = [
        wire.context(n, wire.US_IMAGE, [f"1.2.3.{i:050d}" for i in range(60)])
        for n in range(1, 128, 2)
    ]
    with accepting(handler) as node:
        request = wire.associate_rq([*contexts, wire.context(129, wire.US_IMAGE, [wire.JPEG])])
        assert len(request) > 200_000
        associated(node.port, request).close()
    with (
        accepting(handler, Limits(associate_bytes=100_000, linger_s=0.2)) as node,
        RawPeer(node.port) as peer,
    ):
        peer.send(request[:6])
        assert peer.receive()[0] == ABORTED
    assert "larger" in handler.failures[-1][1]


def test_memory_before_association_is_capped_per_address(handler: RecordingHandler) -> None:
    limits = Limits(pending_bytes_per_address=150_000, linger_s=0.2)
    with accepting(handler, limits) as node, RawPeer(node.port) as first:
        first.send(wire.pdu(1, b"x", length=100_000))
        wait_until(lambda: held(node) == 100_000)
        with RawPeer(node.port) as second:
            second.send(wire.pdu(1, b"x", length=100_000))
            assert second.receive()[0] == ABORTED
        associated(node.port).close()


def held(node: Acceptor) -> int:
    """Bytes reserved before association."""
    return sum(node._admission._bytes.values())


# Rejection


def test_a_wrong_application_context_is_rejected(node: Acceptor, handler: RecordingHandler) -> None:
    with RawPeer(node.port) as peer:
        peer.send(wire.associate_rq(application_context="1.2.840.10008.3.1.1.2"))
        assert peer.receive() == (REJECTED, bytes((0, 1, 1, 2)))
        assert peer.at_end()
    assert handler.peers == []
    assert handler.failures == [("127.0.0.1", "application context name not supported")]


@pytest.mark.parametrize("numbers", [(1, 1, 7), (1, 1, 3), (2, 3, 1)])
def test_the_nodes_rejection_reaches_the_peer(
    node: Acceptor, handler: RecordingHandler, numbers: tuple[int, int, int]
) -> None:
    handler.rejection = Rejection(*numbers, "not here")
    with RawPeer(node.port) as peer:
        # bytes behind the request must not turn the rejection into a reset, which some
        # systems let overtake it
        peer.send(ASSOCIATE + ECHO * 2000)
        assert peer.receive() == (REJECTED, bytes((0, *numbers)))
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.at_end()
        assert not peer.was_reset
    assert (handler.peers[0].calling_ae, handler.peers[0].called_ae) == ("US1", "AXNODE")
    assert handler.failures == []  # it knows its own rejections


def test_limits_are_rejected_as_transient(handler: RecordingHandler) -> None:
    with accepting(handler, Limits(max_associations=2, linger_s=0.2)) as node:
        first, second = associated(node.port), associated(node.port)
        with RawPeer(node.port) as third:
            third.send(ASSOCIATE)
            assert third.receive() == (REJECTED, bytes((0, 2, 3, 2)))
        wait_until(lambda: handler.failures == [("127.0.0.1", "local limit exceeded")])
        first.close()
        wait_until(lambda: node.associations == 1)
        associated(node.port).close()
        second.close()


def test_one_address_does_not_take_every_place(handler: RecordingHandler) -> None:
    with (
        accepting(handler, Limits(max_associations_per_address=1, linger_s=0.2)) as node,
        associated(node.port),
        RawPeer(node.port) as second,
        RawPeer(node.port, source="127.0.0.2") as other,
    ):
        second.send(ASSOCIATE)
        assert second.receive()[0] == REJECTED
        other.send(ASSOCIATE)
        assert other.receive()[0] == 2


def test_two_hundred_silent_sockets_keep_nobody_out(handler: RecordingHandler) -> None:
    with accepting(handler, replace(Limits(), max_connections=100, linger_s=0.2)) as node:
        crowd = [RawPeer(node.port) for _ in range(200)]
        with associated(node.port) as peer:
            peer.send(ECHO)
            assert peer.status() == 0
        for one in crowd:
            one.close()


# Messages


def test_a_store_reaches_the_sink_whole(node: Acceptor, handler: RecordingHandler) -> None:
    data = wire.dataset()
    with associated(node.port) as peer:
        peer.send(wire.p_data((1, 1, STORE[:20])))
        peer.send(wire.p_data((1, 3, STORE[20:]), (1, 0, data[:7])))
        for piece in chunks(data[7:], 5):
            peer.send(wire.p_data((1, 0, piece)))
        peer.send(wire.p_data((1, 2, b"")))
        assert peer.status() == 0
        peer.send(wire.pdu(5, bytes(4)))
        assert peer.receive() == (6, bytes(4))
        assert peer.at_end()
    (sink,) = handler.stored
    assert bytes(sink.data) == data
    assert sink.request.sop_instance_uid == "1.2.3.4"
    assert sink.request.transfer_syntax_uid == wire.EXPLICIT
    assert handler.failures == []


@pytest.mark.parametrize(
    ("field", "error", "status"),
    [
        ("store_error", StoreRefused("full", 0xA700), 0xA700),
        ("store_error", OSError(errno.ENOSPC, "full"), 0xA700),
        ("write_error", OSError(errno.ENOSPC, "full"), 0xA700),
        ("write_error", OSError(errno.EIO, "broken"), 0x0110),
        ("commit_error", IdentifierMismatch("not the same"), 0xA900),
        ("commit_error", OSError(errno.EDQUOT, "quota"), 0xA700),
    ],
)
def test_a_failure_becomes_its_status_and_the_association_goes_on(
    node: Acceptor, handler: RecordingHandler, field: str, error: Exception, status: int
) -> None:
    setattr(handler, field, error)
    with associated(node.port) as peer:
        assert store(peer, wire.dataset()) == status
        setattr(handler, field, None)
        assert store(peer, wire.dataset()) == 0
    assert [s.end for s in handler.sinks][-1] == "committed"
    assert all(s.end == "discarded" for s in handler.sinks[:-1])


@pytest.mark.parametrize(
    ("field", "answered"), [("store_error", False), ("write_error", False), ("commit_error", True)]
)
def test_an_unforeseen_failure_ends_the_association_only(
    node: Acceptor,
    handler: RecordingHandler,
    caplog: pytest.LogCaptureFixture,
    field: str,
    answered: bool,
) -> None:
    setattr(handler, field, RuntimeError("Doe^Jane"))
    with associated(node.port) as peer:
        peer.send(wire.p_data((1, 3, STORE), (1, 2, wire.dataset())))
        if answered:
            assert peer.status() == 0x0110
        assert peer.receive()[0] == ABORTED
    setattr(handler, field, None)
    with associated(node.port) as peer:
        assert store(peer, wire.dataset()) == 0
    assert [s.end for s in handler.sinks if s.end != "committed"] == ["discarded"] * (
        len(handler.sinks) - 1
    )
    assert "RuntimeError" in caplog.text
    assert "Doe" not in caplog.text


@pytest.mark.parametrize(
    ("instance", "sop_class", "status"),
    [
        ("../../x", wire.US_IMAGE, 0x0117),
        ("..", wire.US_IMAGE, 0x0117),
        ("1." * 32 + "1", wire.US_IMAGE, 0x0117),
        ("", wire.US_IMAGE, 0xC000),
        ("1.2", "", 0xC000),
        ("1.2", "1.2.840.10008.5.1.4.1.1.2", 0x0122),
    ],
)
def test_a_wrong_command_is_refused_before_the_node_sees_it(
    node: Acceptor, handler: RecordingHandler, instance: str, sop_class: str, status: int
) -> None:
    command = wire.command(0x0001, sop_class=sop_class, instance=instance, has_data_set=True)
    with associated(node.port) as peer:
        assert store(peer, wire.dataset(), command) == status
        assert store(peer, wire.dataset()) == 0
    assert len(handler.sinks) == 1


def test_a_store_without_data_set_is_refused(node: Acceptor) -> None:
    command = wire.command(0x0001, sop_class=wire.US_IMAGE, instance="1.2")
    with associated(node.port) as peer:
        peer.send(wire.p_data((1, 3, command)))
        assert peer.status() == 0xC000


def test_unknown_commands_are_refused_with_and_without_a_data_set(node: Acceptor) -> None:
    with associated(node.port) as peer:
        peer.send(wire.p_data((1, 3, wire.command(0x0021, has_data_set=True)), (1, 2, b"query")))
        assert peer.status() == 0x0211
        peer.send(wire.p_data((1, 3, wire.command(0x0150))))
        assert peer.status() == 0x0211
        peer.send(wire.p_data((1, 3, wire.command(0x0FFF, message_id=None))))  # C-CANCEL
        peer.send(ECHO)
        assert peer.status() == 0


def test_an_event_report_reaches_the_node(node: Acceptor, handler: RecordingHandler) -> None:
    request = wire.associate_rq(
        [wire.context(5, wire.COMMITMENT, [wire.IMPLICIT])],
        user_items=wire.role(wire.COMMITMENT, scu=False, scp=True),
    )
    report = wire.uid(0x00081195, "1.2.3", wire.IMPLICIT)
    command = wire.command(
        0x0100,
        sop_class=wire.COMMITMENT,
        instance="1.2.840.10008.1.20.1.1",
        has_data_set=True,
        event_type=1,
    )
    with associated(node.port, request) as peer:
        peer.send(wire.p_data((5, 3, command), (5, 2, report)))
        kind, body = peer.receive()
        elements = command_elements(body[6:])
        assert (kind, elements[0x0900], elements[0x0100], elements[0x1002]) == (4, 0, 0x8100, 1)
    assert handler.reports == [(1, report, wire.IMPLICIT)]


@pytest.mark.parametrize(
    "data",
    [
        wire.p_data((1, 2, b"data before command")),
        wire.p_data((9, 3, STORE)),
        wire.p_data((1, 3, STORE), (3, 2, b"x")),
        wire.p_data((1, 3, STORE), (1, 3, STORE)),
        wire.p_data((1, 1, STORE[:9]), (1, 2, b"x")),
        wire.p_data((1, 3, b"no command at all")),
        wire.p_data((1, 3, wire.command(0x0001, message_id=None))),
        wire.p_data((1, 3, wire.command(0x8001))),
        wire.pdu(4, b""),
        wire.pdu(4, b"\0\0\0\1\1\3"),
        wire.pdu(4, b"x", length=200_000),
        wire.pdu(1, b"x"),
        wire.pdu(9, b"x"),
        wire.p_data((1, 1, b"c" * 60_000)) * 2,
    ],
)
def test_breaches_in_mid_association_are_aborted(
    node: Acceptor, handler: RecordingHandler, data: bytes
) -> None:
    with associated(node.port) as peer:
        peer.send(data)
        assert peer.receive()[0] == ABORTED
        assert peer.at_end()
    wait_until(lambda: len(handler.failures) == 1)
    assert handler.failed_titles == ["US1"]
    assert handler.stored == []
    assert all(sink.end == "discarded" for sink in handler.sinks)


def test_endless_data_are_aborted_at_the_cap(handler: RecordingHandler) -> None:
    with (
        accepting(handler, Limits(dataset_bytes=300_000, linger_s=0.2)) as node,
        associated(node.port) as peer,
    ):
        peer.send(wire.p_data((1, 3, STORE)))
        endless = itertools.repeat(wire.p_data((1, 0, b"d" * 30_000)), 10_000)
        assert cut_while_sending(peer, endless)
    assert handler.sinks[0].end == "discarded"
    assert len(handler.sinks[0].data) <= 300_000


def test_a_cut_in_mid_store_leaves_nothing(node: Acceptor, handler: RecordingHandler) -> None:
    with associated(node.port) as peer:
        assert store(peer, wire.dataset()) == 0
        peer.send(wire.p_data((1, 3, STORE), (1, 0, b"half")))
        wait_until(lambda: len(handler.sinks) == 2 and handler.sinks[1].data == b"half")
    wait_until(lambda: handler.sinks[1].end == "discarded")
    assert handler.sinks[0].end == "committed"


def test_a_release_in_mid_store_leaves_nothing(node: Acceptor, handler: RecordingHandler) -> None:
    with associated(node.port) as peer:
        peer.send(wire.p_data((1, 3, STORE), (1, 0, b"half")) + wire.pdu(5, bytes(4)))
        assert peer.receive() == (6, bytes(4))
        assert peer.at_end()
    assert [sink.end for sink in handler.sinks] == ["discarded"]


# Deadlines of messages


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "silence"),
        (wire.p_data((1, 3, STORE), (1, 0, b"half")), "silence"),
        (wire.p_data((1, 1, STORE[:8])), "silence"),
        (wire.p_data((1, 3, STORE), (1, 2, b"data"))[:-2], "in time"),
    ],
)
def test_silence_is_cut(handler: RecordingHandler, data: bytes, words: str) -> None:
    with accepting(handler, QUICK) as node, associated(node.port) as peer:
        peer.send(data)
        assert peer.receive()[0] == ABORTED
    assert words in handler.failures[0][1]
    assert handler.stored == []
    assert all(sink.end == "discarded" for sink in handler.sinks)


def test_a_data_set_that_trickles_is_cut(handler: RecordingHandler) -> None:
    """Each PDU is in time and no gap is long, yet the data set would never end."""
    limits = replace(QUICK, message_gap_s=5, pdu_s=5)
    with accepting(handler, limits) as node, associated(node.port) as peer:
        peer.send(wire.p_data((1, 3, STORE)))
        endless = itertools.repeat(wire.p_data((1, 0, b"d")), 1000)
        assert cut_while_sending(peer, endless, pause_s=0.02)
    assert "slowly" in handler.failures[0][1]
    assert handler.sinks[0].end == "discarded"


# The end


def test_stop_lets_a_message_finish_and_aborts_the_idle(handler: RecordingHandler) -> None:
    go = threading.Event()
    reached = threading.Event()

    def wait() -> None:
        reached.set()
        go.wait(10)

    handler.before_commit = wait
    with accepting(handler, replace(Limits(), linger_s=0.2)) as node:
        idle, busy = associated(node.port), associated(node.port)
        busy.send(wire.p_data((1, 3, STORE), (1, 2, wire.dataset())))
        assert reached.wait(10)
        stopper = threading.Thread(target=node.stop, args=(10,))
        stopper.start()
        assert idle.receive()[0] == ABORTED
        go.set()
        assert busy.status() == 0
        assert busy.receive()[0] == ABORTED
        stopper.join()
        idle.close()
        busy.close()
    assert len(handler.stored) == 1
    assert handler.failures == []


def test_stop_does_not_wait_for_ever(handler: RecordingHandler) -> None:
    with accepting(handler) as node, associated(node.port) as peer:
        peer.send(wire.p_data((1, 3, STORE), (1, 0, b"half")))
        wait_until(lambda: bool(handler.sinks))
        node.stop(drain_s=0.2)
        assert handler.sinks[0].end == "discarded"
        assert not [t for t in threading.enumerate() if t.name.startswith("assoc-")]


def test_a_taken_port_is_said_in_one_line(node: Acceptor, handler: RecordingHandler) -> None:
    second = Acceptor(handler, ACCEPT, port=node.port)
    with pytest.raises(DicomIOError, match=f"127.0.0.1:{node.port}.*choose another"):
        second.start()


def test_a_listener_can_be_handed_over(handler: RecordingHandler) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    acceptor = Acceptor(handler, ACCEPT, listener=listener)
    acceptor.start()
    with associated(port) as peer:
        peer.send(ECHO)
        assert peer.status() == 0
    acceptor.stop(1)


def test_threads_and_descriptors_return_to_where_they_were(handler: RecordingHandler) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def serving() -> bool:
        return any(thread.name.startswith("assoc-") for thread in threading.enumerate())

    with accepting(handler, replace(Limits(), linger_s=0.2)) as node:
        associated(node.port).close()
        wait_until(lambda: not serving())
        files = descriptors()
        for number in range(60):
            peer = associated(node.port)
            if number % 3:
                assert store(peer, wire.dataset()) == 0
            peer.close()
        wait_until(lambda: not serving() and descriptors() == files)
