"""A recording node behind the acceptor, and a peer that sends whatever bytes a test wants."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from dicom_io.acceptor import Acceptor, Limits, Peer, Rejection, Sink, StoreRequest
from dicom_io.syntaxes import RECEIVED_SOP_CLASSES, RECEIVED_TRANSFER_SYNTAXES

ACCEPT = dict.fromkeys(RECEIVED_SOP_CLASSES, RECEIVED_TRANSFER_SYNTAXES)


@dataclass
class MemorySink:
    """Keeps what it is given; raises what it is told to."""

    handler: "RecordingHandler"
    request: StoreRequest
    data: bytearray = field(default_factory=bytearray)
    end: str = ""  # "committed" or "discarded"

    def write(self, data: memoryview) -> None:
        """Keep the bytes, or raise."""
        if self.handler.write_error is not None:
            raise self.handler.write_error
        self.data += data
        self.handler.writing.set()
        self.handler.gate.wait(30)

    def commit(self) -> int:
        """End well, or raise."""
        if self.handler.commit_error is not None:
            raise self.handler.commit_error
        self.handler.before_commit()
        self.end += "committed"
        return self.handler.commit_status

    def discard(self) -> None:
        """End without an instance."""
        self.end += "discarded"


@dataclass
class RecordingHandler:
    """Takes everything in memory and remembers what it was told."""

    rejection: Rejection | None = None
    store_error: Exception | None = None
    write_error: Exception | None = None
    commit_error: Exception | None = None
    commit_status: int = 0x0000
    before_commit: Callable[[], None] = lambda: None
    peers: list[Peer] = field(default_factory=list)
    sinks: list[MemorySink] = field(default_factory=list)
    rejected: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    failed_titles: list[str] = field(default_factory=list)  # that their peers gave
    abuses: list[str] = field(default_factory=list)  # those of them that are worth an alert
    reports: list[tuple[int, bytes, str]] = field(default_factory=list)
    writing: threading.Event = field(default_factory=threading.Event)  # a first byte is here
    gate: threading.Event = field(default_factory=threading.Event)  # cleared: writes wait

    def __post_init__(self) -> None:
        self.gate.set()

    def associate(self, peer: Peer) -> Rejection | None:
        """Answer as the test says."""
        self.peers.append(peer)
        return self.rejection

    def store(self, request: StoreRequest) -> Sink:
        """Begin an instance in memory, or raise."""
        if self.store_error is not None:
            raise self.store_error
        sink = MemorySink(self, request)
        self.sinks.append(sink)
        return sink

    def context_rejected(
        self, peer: Peer, abstract_syntax: str, transfer_syntaxes: tuple[str, ...], reason: str
    ) -> None:
        """Remember it."""
        self.rejected.append((abstract_syntax, transfer_syntaxes, reason))

    def association_failed(
        self, address: str, reason: str, *, abuse: bool, calling_ae: str = ""
    ) -> None:
        """Remember it."""
        self.failures.append((address, reason))
        self.failed_titles.append(calling_ae)
        self.abuses += [reason] * abuse

    def event_report(
        self, peer: Peer, event_type_id: int, dataset: bytes, transfer_syntax_uid: str
    ) -> int:
        """Remember it."""
        self.reports.append((event_type_id, dataset, transfer_syntax_uid))
        return 0x0000

    @property
    def stored(self) -> list[MemorySink]:
        """Sinks that were committed, and only that."""
        return [sink for sink in self.sinks if sink.end == "committed"]


@contextmanager
def accepting(
    handler: RecordingHandler,
    limits: Limits | None = None,
    accept: Mapping[str, tuple[str, ...]] = ACCEPT,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Acceptor]:
    """Run an acceptor on a free loopback port."""
    acceptor = Acceptor(handler, accept, limits=limits, tls=tls)
    acceptor.start()
    try:
        yield acceptor
    finally:
        acceptor.stop(drain_s=5)


class RawPeer:
    """A TCP or TLS client that speaks in whole PDUs and sends any bytes."""

    def __init__(
        self, port: int, source: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.sock = socket.create_connection(
            ("127.0.0.1", port), timeout=15, source_address=(source, 0)
        )
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.was_reset = False  # the node closed on bytes that it had not read

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU; (0, b"") at the end of the connection."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", head)
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                piece = self.sock.recv(count - len(data))
            except ConnectionResetError:
                self.was_reset = True
                piece = b""
            if not piece:
                break
            data += piece
        return data

    def status(self) -> int:
        """Return the status of the next answer."""
        kind, body = self.receive()
        assert kind == 4, f"PDU type {kind}, body {body.hex()}"
        return command_elements(body[6:])[0x0900]

    def at_end(self) -> bool:
        """Say whether the node has closed the connection; waits for it."""
        return self.receive() == (0, b"")


def command_elements(data: bytes) -> dict[int, int]:
    """Two-byte elements of a command set, by element number."""
    found = {}
    position = 0
    while position < len(data):
        _, number, length = struct.unpack_from("<HHL", data, position)
        if length == 2:
            (found[number],) = struct.unpack_from("<H", data, position + 8)
        position += 8 + length
    return found
