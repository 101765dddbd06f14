"""PDUs on a socket (PS3.8 section 9.3), read under deadlines and byte caps."""

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from dicom_io.reception import Rejection
from dicom_io.tls import names
from dicom_io.tls_failure import failure
from dicom_io.tls_socket import say_goodbye

A_ASSOCIATE_RQ: Final = 0x01
A_ASSOCIATE_RJ: Final = 0x03
P_DATA_TF: Final = 0x04
A_RELEASE_RQ: Final = 0x05
A_RELEASE_RP: Final = 0x06
A_ABORT: Final = 0x07

# A-ABORT reasons of the service provider (PS3.8 9.3.8)
NOT_SPECIFIED: Final = 0
UNRECOGNISED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
INVALID_PARAMETER: Final = 6

HEADER_BYTES: Final = 6
_TICK_S = 0.25  # how often a waiting thread looks at its deadline and at the stop flag
_TICK = struct.pack("@ll", 0, int(_TICK_S * 1e6))  # as struct timeval
_LINGER_BYTES = 4 << 20  # that are read past for a peer that goes on sending
_FIRST_BUFFER = 4096  # a silent connection costs no more than this
_HEADER = struct.Struct(">BxL")
_PDV = struct.Struct(">LBB")


class Cut(Exception):
    """The association ends here; `abort_reason` is what the peer is told, None: nothing."""

    def __init__(self, message: str, abort_reason: int | None = None) -> None:
        super().__init__(message)
        self.abort_reason = abort_reason

    @property
    def abuse(self) -> bool:
        """Whether the peer broke the protocol; a lost line or a time-out is not that."""
        return self.abort_reason not in (None, NOT_SPECIFIED)


class HandshakeFailed(Cut):
    """The peer did not prove who it is, or speaks another TLS; it hears that from TLS itself."""

    @property
    def abuse(self) -> bool:
        """A failed node authentication is always worth an alert (PS3.15 A.5.3.10)."""
        return True


class Stopping(Exception):
    """The node is stopping and no message is under way."""


class Pdv(NamedTuple):
    """A presentation data value (PS3.8 9.3.5.1, E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class PduStream:
    """Buffered PDUs of one connection.

    One buffer is reused for everything, so a body is valid until the next read. A read waits for a
    short tick: deadlines are looked at whenever bytes arrive or a tick passes. On a plain socket
    the kernel counts the tick, which costs no extra system call per read. The socket may be one of
    TLS that has not shaken hands yet: nothing is sent before it has.
    """

    def __init__(self, sock: socket.socket, stopping: Callable[[], bool]) -> None:
        self._sock = sock
        self._stopping = stopping
        self._buffer = bytearray(_FIRST_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self.heard = False  # whether the peer has sent anything
        self._plain = not isinstance(sock, ssl.SSLSocket)
        self._open = self._plain  # whether PDUs can be sent
        if self._plain:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TICK)
        self._tick_s = None if self._plain else _TICK_S
        sock.settimeout(self._tick_s)

    def peek(self, deadline: float, late: str) -> int:
        """Wait for the first byte of the connection and return it, below TLS and unread."""
        while True:
            self._check(deadline, late, may_stop=True)
            try:
                first = socket.socket.recv(self._sock, 1, socket.MSG_PEEK)
            except TimeoutError:
                continue
            except OSError as error:
                raise Cut(f"the connection was lost ({type(error).__name__})") from error
            if not first:
                raise Cut("the peer closed the connection at once")
            self.heard = True
            return first[0]

    def shake_hands(self, deadline: float, late: str) -> frozenset[str]:
        """Do the TLS handshake; return the names in the peer's certificate."""
        if not isinstance(self._sock, ssl.SSLSocket):
            raise TypeError("the connection is not one of TLS")
        while not self._open:
            self._check(deadline, late, may_stop=True)
            try:
                self._sock.do_handshake()
                self._open = True
            except TimeoutError:
                continue
            except OSError as error:
                raise HandshakeFailed(failure(error)) from error
        return names(self._sock.getpeercert() or {})

    def await_byte(
        self,
        seconds: float,
        what: str,
        *,
        may_stop: bool = False,
        on_tick: Callable[[], None] = lambda: None,
    ) -> int:
        """Wait for the next PDU to begin and return its type.

        With `may_stop`, the wait ends in Stopping when the node stops. `on_tick` is called now and
        then while nothing comes.
        """
        deadline = time.monotonic() + seconds
        self._fill(1, deadline, what, may_stop=may_stop, on_tick=on_tick)
        return self._buffer[self._start]

    def header(self, deadline: float) -> tuple[int, int]:
        """Read type and length of a PDU."""
        self._fill(HEADER_BYTES, deadline, "the PDU header did not arrive in time")
        kind, length = _HEADER.unpack_from(self._view, self._start)
        self._start += HEADER_BYTES
        return kind, length

    def body(self, length: int, deadline: float) -> memoryview:
        """Read the rest of a PDU; the view is valid until the next read."""
        self._fill(length, deadline, "the PDU did not arrive in time")
        start = self._start
        self._start += length
        return self._view[start : self._start]

    def grow(self, size: int) -> None:
        """Make room for PDUs of up to `size` bytes."""
        buffer = bytearray(size)
        kept = self._end - self._start
        buffer[:kept] = self._view[self._start : self._end]
        self._buffer, self._view = buffer, memoryview(buffer)
        self._start, self._end = 0, kept

    @property
    def capacity(self) -> int:
        """Bytes of the buffer."""
        return len(self._buffer)

    def _fill(
        self,
        count: int,
        deadline: float,
        late: str,
        *,
        may_stop: bool = False,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait until `count` bytes are in the buffer."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + count > len(self._buffer):
            kept = self._end - self._start
            self._buffer[:kept] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, kept
        while self._end - self._start < count:
            self._check(deadline, late, may_stop=may_stop)
            self._receive(on_tick)

    def _check(self, deadline: float, late: str, *, may_stop: bool) -> None:
        if may_stop and self._stopping():
            raise Stopping
        if time.monotonic() > deadline:
            raise Cut(late, NOT_SPECIFIED)

    def _receive(self, on_tick: Callable[[], None]) -> None:
        try:
            received = self._sock.recv_into(self._view[self._end :])
        except (TimeoutError, BlockingIOError):
            on_tick()
            return
        except OSError as error:
            raise Cut(f"the connection was lost ({type(error).__name__})") from error
        if not received:
            raise Cut("the peer closed the connection without a release")
        self.heard = True
        self._end += received

    def send(self, data: bytes, seconds: float) -> None:
        """Send all of `data`."""
        if not self._open:
            raise Cut("there is nobody to answer before the TLS handshake")
        try:
            sent = self._send_at_once(data) if self._plain else 0
            if sent < len(data):
                self._sock.settimeout(seconds)
                self._sock.sendall(data[sent:])
                self._sock.settimeout(self._tick_s)
        except TimeoutError as error:
            raise Cut("the peer does not read our answers") from error
        except OSError as error:
            raise Cut(f"the connection was lost ({type(error).__name__})") from error

    def _send_at_once(self, data: bytes) -> int:
        """Send what the kernel takes without waiting, in one system call; return how much."""
        try:
            return self._sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def linger(self, seconds: float) -> None:
        """Let the peer read our last PDU: closing on unread bytes would reset the connection."""
        deadline = time.monotonic() + seconds
        room = _LINGER_BYTES
        say_goodbye(self._sock)
        try:
            # from here on below TLS: what still comes is thrown away
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
            while room > 0 and (left := deadline - time.monotonic()) > 0:
                self._sock.settimeout(left)
                received = socket.socket.recv_into(self._sock, self._view)
                if not received:
                    return
                room -= received
        except OSError:  # time-outs included: the peer had its chance
            return


def data_values(body: memoryview) -> Iterator[Pdv]:
    """Yield the presentation data values of a P-DATA-TF body."""
    position = 0
    while position < len(body):
        if position + _PDV.size > len(body):
            raise Cut("a P-DATA-TF ends within an item", INVALID_PARAMETER)
        length, context_id, control = _PDV.unpack_from(body, position)
        end = position + 4 + length
        if length < 2 or end > len(body):
            raise Cut("a presentation data value has a wrong length", INVALID_PARAMETER)
        data = body[position + _PDV.size : end]
        yield Pdv(context_id, bool(control & 1), bool(control & 2), data)
        position = end


def command_pdus(context_id: int, command: bytes, peer_maximum: int) -> bytes:
    """Encode a command set in PDUs that the peer can take; 0 means that it takes any length."""
    return _pdus(context_id, command, peer_maximum, 1)


def data_pdus(context_id: int, dataset: bytes, peer_maximum: int) -> bytes:
    """Encode a data set in PDUs that the peer can take; 0 means that it takes any length."""
    return _pdus(context_id, dataset, peer_maximum, 0)


def _pdus(context_id: int, data: bytes, peer_maximum: int, control: int) -> bytes:
    """Encode fragments; `control` is the message control header of all but the last (PS3.8 E.2)."""
    room = max(peer_maximum - _PDV.size, 1) if peer_maximum else len(data)
    pieces = [data[start : start + room] for start in range(0, len(data), room)]
    return b"".join(
        _HEADER.pack(P_DATA_TF, len(piece) + _PDV.size)
        + _PDV.pack(len(piece) + 2, context_id, control | 2 * (number == len(pieces)))
        + piece
        for number, piece in enumerate(pieces, 1)
    )


def release_response() -> bytes:
    """Encode an A-RELEASE-RP (PS3.8 9.3.7)."""
    return _HEADER.pack(A_RELEASE_RP, 4) + bytes(4)


def reject(rejection: Rejection) -> bytes:
    """Encode an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    values = (0, rejection.result, rejection.source, rejection.reason)
    return _HEADER.pack(A_ASSOCIATE_RJ, 4) + bytes(values)


def abort(reason: int) -> bytes:
    """Encode an A-ABORT of the service provider (PS3.8 9.3.8)."""
    return _HEADER.pack(A_ABORT, 4) + bytes((0, 0, 2, reason))
