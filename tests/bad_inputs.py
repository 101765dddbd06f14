"""Bad inputs by the byte, and what comes back: one list for the tests and for the comparison.

Every input is one peer's whole behaviour after its TCP connection. Those that need an association
first propose one; the others begin with bytes of their own.
"""

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests import builders_wire as wire
from tests.fakes_wire import RawPeer, command_elements
from tests.misbehaviour import (
    CALLING,
    CT,
    DEFLATED,
    DICOMDIR,
    UID,
    Act,
    TookAll,
    bomb,
    command,
    drown,
    endless,
    flood,
    image,
    request,
    say,
    store,
    trickle,
)
from tests.peers import chunks


@dataclass(frozen=True)
class BadInput:
    """A peer that misbehaves."""

    row: int  # of the table of bad inputs
    name: str
    reply: str  # the node's, as `play` words it; several where timing decides: "A-ABORT|reset"
    act: Act | None  # None: its request is the whole of it
    request: bytes | None = None  # the association it asks for first
    cut: bool = False  # it hangs up without waiting for an answer


@dataclass(frozen=True)
class Reply:
    """What came back."""

    words: str  # such as "A-ABORT", "RJ 1/1/7", "0xC000", "accepted", "closed", "silence"
    seconds: float  # until it came; the whole patience where nothing did


def play(case: BadInput, port: int, patience_s: float, called: str = "AXNODE") -> Reply:
    """Misbehave, and return what came back first."""
    with RawPeer(port) as peer:
        peer.sock.settimeout(patience_s)
        started = time.monotonic()
        words = "accepted"
        if case.request is not None:
            peer.send(addressed(case.request, called))
            words = _read(peer)
            started = time.monotonic()
        if words == "accepted" and case.act is not None:
            try:
                case.act(peer)
            except TimeoutError:
                return Reply("no longer reads", time.monotonic() - started)
            except TookAll:
                return Reply("took all", time.monotonic() - started)
            except OSError:  # it hung up
                pass
            words = "" if case.cut else _read(peer)
        return Reply(words, time.monotonic() - started)


def addressed(request: bytes, called: str) -> bytes:
    """Return an association request with another called AE title."""
    return request.replace(b"AXNODE".ljust(16), called.encode().ljust(16), 1)


def _read(peer: RawPeer) -> str:
    try:
        kind, body = peer.receive()
    except TimeoutError:
        return "silence"
    except OSError:
        return "reset"
    words = {0: "reset" if peer.was_reset else "closed", 6: "released", 7: "A-ABORT"}
    if kind == 2:
        return "accepted" if _accepted(body) else "context refused"
    if kind == 3:
        return f"RJ {body[1]}/{body[2]}/{body[3]}"
    if kind == 4:
        return f"0x{command_elements(body[6:])[0x0900]:04X}"
    return words.get(kind, f"PDU {kind}")


def _accepted(body: bytes) -> bool:
    """Whether context 1 of an A-ASSOCIATE-AC was accepted."""
    position = 68
    while position < len(body):
        kind, length = struct.unpack_from(">BxH", body, position)
        if kind == 0x21 and body[position + 4] == 1:
            return body[position + 6] == 0
        position += 4 + length
    return False


_REQUEST = request()
_CONTEXTS = [wire.context(n % 256, wire.VERIFICATION, [wire.IMPLICIT]) for n in range(1, 401, 2)]
_ECHO = wire.context(1, wire.VERIFICATION, [wire.IMPLICIT])
_TRUNCATED = wire.sub_item(0x20, bytes(4) + wire.sub_item(0x30, b"1.2", length=400))
_LATE = image()[: len(image()) // 2]


def catalogue(trickled_s: float = 0.05, endless_bytes: int = 200 << 20) -> list[BadInput]:
    """List the bad inputs that one peer can send.

    Parameters
    ----------
    trickled_s
        Between two bytes of what is trickled.
    endless_bytes
        Where the peer that sends without end gives up.
    """

    def single_bytes() -> Iterator[bytes]:
        return chunks(_REQUEST * 1000, 1)

    def small_pdus() -> Iterator[bytes]:
        yield wire.p_data((1, 3, command()))
        while True:
            yield wire.p_data((1, 0, b"dd"))

    def case(row: int, name: str, reply: str, act: Act, asks: bytes | None = None) -> BadInput:
        return BadInput(row, name, reply, act, asks)

    def stores(row: int, name: str, reply: str, act: Act, *syntaxes: str) -> BadInput:
        return BadInput(row, name, reply, act, request(*syntaxes))

    def asks(row: int, name: str, reply: str, pdu: bytes) -> BadInput:
        return BadInput(row, name, reply, None, pdu)

    return [
        case(1, "silence after the connection", "closed", say()),
        case(2, "A-ASSOCIATE-RQ of 4 GiB", "A-ABORT", say(wire.pdu(1, b"", length=0xFFFFFFFF))),
        case(3, "A-ASSOCIATE-RQ, a byte at a time", "A-ABORT", trickle(single_bytes, trickled_s)),
        stores(3, "data set, two bytes at a time", "A-ABORT", trickle(small_pdus, trickled_s)),
        case(4, "silence in mid A-ASSOCIATE-RQ", "A-ABORT", say(_REQUEST[:100])),
        stores(4, "silence in mid P-DATA-TF", "A-ABORT", say(wire.p_data((1, 3, command()))[:-9])),
        stores(4, "silence in mid data set", "A-ABORT", flood(list(endless(16_000)))),
        case(5, "PDU of type 0xFF", "A-ABORT", say(wire.pdu(0xFF, b"x"))),
        case(
            5, "TLS hello", "A-ABORT", say(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(506))
        ),
        case(6, "HTTP GET", "A-ABORT", say(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")),
        case(6, "P-DATA-TF first", "A-ABORT", say(wire.p_data((1, 3, command())))),
        case(6, "A-RELEASE-RQ first", "A-ABORT", say(wire.pdu(5, bytes(4)))),
        case(6, "truncated sub-item", "A-ABORT", say(wire.associate_rq([_TRUNCATED]))),
        asks(7, "wrong application context", "RJ 1/1/2", _with_context("1.2.840.10008.3.1.1.2")),
        case(8, "wrong called AE title", "RJ 1/1/7", say(request(called="NOBODY"))),
        asks(8, "unknown calling AE title", "RJ 1/1/3", request(calling="STRANGER")),
        asks(8, "known AE title, wrong address", "RJ 1/1/3", request(calling="US1")),
        asks(
            9, "200 presentation contexts", "A-ABORT", wire.associate_rq(_CONTEXTS, calling=CALLING)
        ),
        asks(
            9, "duplicate context IDs", "A-ABORT", wire.associate_rq([_ECHO] * 2, calling=CALLING)
        ),
        stores(10, "PDVs without end", "A-ABORT|reset", drown(endless_bytes)),
        stores(
            10,
            "PDU longer than advertised",
            "A-ABORT",
            say(wire.pdu(4, bytes(300_000), length=1 << 28)),
        ),
        BadInput(11, "cut in mid-store", "", flood(list(endless(64_000))), _REQUEST, cut=True),
        stores(12, "random bytes as data set", "0xC000", store(b"\x93\x11\xfe\x07" * 3000)),
        stores(12, "empty data set", "0xC000", store(b"")),
        stores(12, "C-STORE without data set", "0xC000", say(wire.p_data((1, 3, _WITHOUT)))),
        stores(12, "element of 4 GiB", "0xC000", store(image(extra=_HUGE))),
        stores(12, "pixel data too short", "0xC000", store(image(rows=4000))),
        stores(
            13, "SOP Instance UID ../../x", "0x0117", store(image(instance="../../x"), "../../x")
        ),
        stores(13, "SOP Instance UID ..", "0x0117", store(image(instance=".."), "..")),
        stores(13, "SOP Instance UID of 66", "0x0117", store(image(instance=_LONG), _LONG)),
        stores(13, "UID ../../x in the data set", "0x0117", store(image(instance="../../x"))),
        stores(13, "UID ../../x in the command", "0x0117", store(image(instance=None), "../../x")),
        stores(14, "another UID in the command", "0xA900", store(image(), "1.2.7.2")),
        stores(14, "another class in the data set", "0xA900", store(image(sop_class=CT))),
        stores(15, "400 sequences nested", "0xC000", store(image(extra=wire.nested(400)))),
        stores(15, "3,000 sequences nested", "0xC000", store(image(extra=wire.nested(3000)))),
        stores(16, "deflated bomb", "context refused", lambda p: store(bomb())(p), DEFLATED),
        stores(16, "deflated bomb as plain", "0xC000", lambda p: store(bomb())(p)),
        asks(23, "DICOMDIR", "context refused", request(sop_class=DICOMDIR)),
        asks(23, "CT image", "context refused", request(sop_class=CT)),
    ]


_LONG = "1." * 32 + "11"
_HUGE = wire.element(0x00081030, b"UT", b"x" * 64, length=0xFFFFFFFE)
_WITHOUT = wire.command(0x0001, sop_class=wire.US_IMAGE, instance=UID)


def _with_context(name: str) -> bytes:
    context = wire.context(1, wire.US_IMAGE, [wire.EXPLICIT])
    return wire.associate_rq([context], calling=CALLING, application_context=name)
