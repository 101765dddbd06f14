"""Sockets of TLS: how they end, and what pynetdicom does not tell of them."""

import contextlib
import socket
import ssl
from typing import Final

from dicom_io.tls_failure import failure

HANDSHAKE_RECORD: Final = 0x16  # first byte of a TLS connection (RFC 8446 5.1)
# OpenSSL holds at most a ClientHello of 128 KiB and two records of 16 KiB for a peer that has not
# shown who it is.
HANDSHAKE_BYTES: Final = 160 << 10


def sever(sock: socket.socket) -> None:
    """End a connection from another thread.

    Not by a TLS socket's own `shutdown`: that drops the encryption first, and a thread that is
    reading or writing would go on with bare bytes.
    """
    with contextlib.suppress(OSError):  # it has ended by itself
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def say_goodbye(sock: socket.socket) -> None:
    """Send TLS's closing word, if the socket can take it at once; a plain one needs none."""
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(0)
        with contextlib.suppress(OSError, ValueError):  # the peer's own word is not waited for
            sock.unwrap()


class ClientSocket(ssl.SSLSocket):
    """A requestor's end, which keeps what went wrong: pynetdicom only logs it."""

    failure = ""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands."""
        try:
            super().do_handshake(block)
        except OSError as error:
            self.failure = failure(error)
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive; in TLS 1.3 the peer's verdict on our certificate comes after the handshake."""
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:
            self.failure = failure(error)
            raise


class Opening:
    """What pynetdicom takes for a context: wraps its socket, and remembers it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._refused = ""  # why there was no handshake at all
        self.sock: ssl.SSLSocket | None = None

    @property
    def failure(self) -> str:
        """Why TLS failed; "" while it has not."""
        return self._refused or getattr(self.sock, "failure", "")

    def wrap_socket(
        self, sock: socket.socket, server_side: bool, server_hostname: str
    ) -> ssl.SSLSocket:
        """Put TLS around a socket that is not connected yet."""
        try:
            server_hostname.encode("idna")
        except UnicodeError as error:  # pynetdicom survives an OSError only
            self._refused = f"{server_hostname!r} is no name that a certificate could be for"
            raise OSError(self._refused) from error
        self.sock = self._context.wrap_socket(
            sock, server_side=server_side, server_hostname=server_hostname
        )
        return self.sock
