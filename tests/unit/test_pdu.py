import socket
import threading
import time
from collections.abc import Iterator

import pytest

from dicom_io.pdu import Cut, PduStream, Stopping, abort, command_pdus, data_values, reject
from dicom_io.reception import CALLED_AE_UNKNOWN
from tests import builders_wire as wire
from tests.peers import chunks


@pytest.fixture
def pair() -> Iterator[tuple[PduStream, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield PduStream(near, lambda: False), far


def soon() -> float:
    return time.monotonic() + 10


def test_pdus_are_read_one_after_another(pair: tuple[PduStream, socket.socket]) -> None:
    stream, far = pair
    far.sendall(wire.pdu(4, b"one") + wire.pdu(5, bytes(4)))

    assert stream.await_byte(10, "late") == 4
    kind, length = stream.header(soon())
    assert (kind, bytes(stream.body(length, soon()))) == (4, b"one")
    assert stream.header(soon()) == (5, 4)


def test_a_pdu_in_pieces_across_the_end_of_the_buffer(
    pair: tuple[PduStream, socket.socket],
) -> None:
    stream, far = pair
    bodies = [bytes([n]) * 3000 for n in range(9)]  # the first buffer holds one and a third
    whole = b"".join(wire.pdu(4, body) for body in bodies)
    sender = threading.Thread(target=lambda: [far.sendall(p) for p in chunks(whole, 701)])
    sender.start()
    for body in bodies:
        _, length = stream.header(soon())
        assert bytes(stream.body(length, soon())) == body
    sender.join()


def test_growing_keeps_what_was_read(pair: tuple[PduStream, socket.socket]) -> None:
    stream, far = pair
    far.sendall(wire.pdu(1, b"x" * 9000)[:100])
    _, length = stream.header(soon())
    stream.grow(length + 6)
    far.sendall(wire.pdu(1, b"x" * 9000)[100:])

    assert bytes(stream.body(length, soon())) == b"x" * 9000


def test_a_deadline_cuts_a_trickle(pair: tuple[PduStream, socket.socket]) -> None:
    stream, far = pair
    far.sendall(b"\1\0\0")

    with pytest.raises(Cut, match="in time"):
        stream.header(time.monotonic() + 0.05)


def test_a_deadline_cuts_silence(pair: tuple[PduStream, socket.socket]) -> None:
    stream, _ = pair
    ticks: list[None] = []

    with pytest.raises(Cut, match="silence"):
        stream.await_byte(0.6, "silence", on_tick=lambda: ticks.append(None))
    assert ticks


def test_an_answer_that_does_not_fit_at_once_arrives_whole(
    pair: tuple[PduStream, socket.socket],
) -> None:
    stream, far = pair
    answer = bytes(range(256)) * 20_000  # more than the kernel holds
    got = bytearray()

    def read() -> None:
        time.sleep(0.05)  # the sender has to wait
        while len(got) < len(answer):
            got.extend(far.recv(65536))

    reader = threading.Thread(target=read)
    reader.start()
    stream.send(answer, 10)
    reader.join()
    assert got == answer
    far.sendall(wire.pdu(5, bytes(4)))
    assert stream.await_byte(10, "late") == 5


def test_a_peer_that_does_not_read_is_cut(pair: tuple[PduStream, socket.socket]) -> None:
    stream, _ = pair

    with pytest.raises(Cut, match="does not read our answers"):
        stream.send(bytes(5 << 20), 0.1)


def test_stopping_spares_a_pdu_that_has_begun() -> None:
    near, far = socket.socketpair()
    with near, far:
        stream = PduStream(near, lambda: True)
        with pytest.raises(Stopping):
            stream.await_byte(10, "late", may_stop=True)
        far.sendall(wire.pdu(4, b"x"))
        stream.header(soon())
        assert bytes(stream.body(1, soon())) == b"x"


def test_the_peers_end_is_a_cut(pair: tuple[PduStream, socket.socket]) -> None:
    stream, far = pair
    far.close()

    with pytest.raises(Cut) as caught:
        stream.await_byte(10, "late")
    assert caught.value.abort_reason is None
    assert not stream.heard


def test_data_values_of_a_pdu() -> None:
    body = wire.p_data((1, 3, b"command"), (1, 0, b""), (1, 2, b"data"))[6:]

    values = list(data_values(memoryview(body)))

    assert [(v.is_command, v.is_last, bytes(v.data)) for v in values] == [
        (True, True, b"command"),
        (False, False, b""),
        (False, True, b"data"),
    ]


@pytest.mark.parametrize(
    "body", [b"\0", b"\0\0\0\1\1\0", b"\0\0\0\0\1\0", b"\xff\xff\xff\xff\1\0x", b"\0\0\0\4\1\0x"]
)
def test_data_values_out_of_bounds(body: bytes) -> None:
    with pytest.raises(Cut):
        list(data_values(memoryview(body)))


@pytest.mark.parametrize("maximum", [0, 16384, 64, 7])
def test_a_command_is_cut_to_what_the_peer_takes(maximum: int) -> None:
    command = bytes(range(200))
    encoded = command_pdus(3, command, maximum)

    joined, position, last = b"", 0, False
    while position < len(encoded):
        length = int.from_bytes(encoded[position + 2 : position + 6])
        assert not maximum or length <= maximum
        assert not last
        for value in data_values(memoryview(encoded)[position + 6 : position + 6 + length]):
            joined, last = joined + bytes(value.data), value.is_last
        position += 6 + length
    assert (joined, last) == (command, True)


def test_short_pdus_by_the_letter() -> None:
    """PS3.8 9.3.4 and 9.3.8."""
    assert reject(CALLED_AE_UNKNOWN) == bytes.fromhex("03000000000400010107")
    assert abort(6) == bytes.fromhex("07000000000400000206")
