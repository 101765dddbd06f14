"""TLS for both ends of an association: contexts, names in certificates, failures in words.

The profile is BCP 195 (RFC 9325), which PS3.15 B.12 asks for: TLS 1.2 or newer, authenticated
ciphers with forward secrecy, no renegotiation, no compression. Both sides show a certificate.
"""

import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dicom_io.errors import TlsSetupError

HANDSHAKE_RECORD: Final = 0x16  # first byte of a TLS connection (RFC 8446 5.1)
# OpenSSL holds at most a ClientHello of 128 KiB and two records of 16 KiB for a peer that has not
# shown who it is.
HANDSHAKE_BYTES: Final = 160 << 10

# RFC 9325 4.2; the suites of TLS 1.3 are all good, and Python leaves them to OpenSSL
CIPHERS: Final = ":".join(
    f"ECDHE-{key}-AES{size}"
    for size in ("256-GCM-SHA384", "128-GCM-SHA256")
    for key in ("ECDSA", "RSA")
)

_NO_TLS = "no TLS: the peer does not speak it on this port"
_OLD_TLS = "the peer offers nothing newer than TLS 1.1"
_NO_CIPHER = "no cipher suite in common; the peer's TLS is too old or its key of another kind"
_HUNG_UP = "the peer hung up in the TLS handshake; its log says why"
# OpenSSL's reasons for an error of its own, in words
_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no client certificate: the peer showed none",
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "VERSION_TOO_LOW": _OLD_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer wants another version of TLS than 1.2 or 1.3",
    "NO_SHARED_CIPHER": _NO_CIPHER,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NO_CIPHER,
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": _HUNG_UP,
}
# Alerts by which a peer says that it does not trust the certificate it was shown (RFC 8446 6.2)
_DISTRUST: Final = (
    "BAD_CERTIFICATE",
    "UNSUPPORTED_CERTIFICATE",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "ACCESS_DENIED",
    "CERTIFICATE_REQUIRED",
)
_FOREIGN = "is from an authority that is not in tls.ca"
_SELF_SIGNED = "is self-signed and not in tls.ca"
# What OpenSSL finds wrong with a certificate (X509_V_ERR_...), in words
_FAULTS: Final = {
    2: _FOREIGN,
    9: "is not valid yet; compare the clocks",
    10: "has expired",
    18: _SELF_SIGNED,
    19: "ends in a self-signed authority that is not in tls.ca",
    20: _FOREIGN,
    21: _FOREIGN,
    26: "is not made for this end of TLS (extended key usage)",
}
_OTHER_NAME: Final = (62, 64)  # of a host, of an address


@dataclass(frozen=True)
class TlsFiles:
    """What a node shows and what it trusts; all PEM."""

    certificate: Path  # the node's, then those between it and its authority
    key: Path  # not encrypted
    ca: Path  # trusted: authorities, or the peers' own certificates


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context of an acceptor, which asks every peer for a certificate.

    Raises
    ------
    TlsSetupError
        A file cannot be used; says which and why.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    # without tickets no TLS 1.3 session is resumed: every association shows its certificate
    context.num_tickets = 0
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context of a requestor; a peer's certificate must be for the name asked for.

    Raises
    ------
    TlsSetupError
        A file cannot be used; says which and why.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, files)
    # many devices have a common name only; it counts where there is no subjectAltName
    context.hostname_checks_common_name = True
    context.sslsocket_class = ClientSocket
    return context


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.verify_mode = ssl.CERT_REQUIRED
    # a peer's own certificate may be what is trusted, not only its authority's
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "certificate", files.certificate)  # readable?
    _load_own(context, files)
    _trust(context, "ca", files.ca)
    return context


def _trust(context: ssl.SSLContext, setting: str, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise TlsSetupError(setting, f"{path} holds no PEM certificate") from error
    except OSError as error:
        raise _unreadable(setting, path, error) from error


def _unreadable(setting: str, path: Path, error: OSError) -> TlsSetupError:
    return TlsSetupError(setting, f"cannot read {path} ({error.strerror})")


def _load_own(context: ssl.SSLContext, files: TlsFiles) -> None:
    def no_password() -> str:
        raise TlsSetupError(
            "key", f"{files.key} is encrypted; store it without a password (openssl pkey -in … )"
        )

    try:
        context.load_cert_chain(files.certificate, files.key, password=no_password)
    except ssl.SSLError as error:
        raise _own_fault(files, error) from error
    except OSError as error:  # the certificate has been read before
        raise _unreadable("key", files.key, error) from error


def _own_fault(files: TlsFiles, error: ssl.SSLError) -> TlsSetupError:
    # a key of another kind than the certificate's finds "no certificate assigned"
    if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return TlsSetupError(
            "key", f"{files.key} does not belong to the certificate {files.certificate}"
        )
    if not error.reason:  # the PEM reader names none
        return TlsSetupError("key", f"{files.key} holds no PEM private key")
    words = error.reason.lower().replace("_", " ")
    return TlsSetupError("certificate", f"{files.certificate} cannot be used ({words})")


def names(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Return the names that a certificate holds, in lower case.

    They are the DNS names and addresses of subjectAltName; where it has none, the common name.

    Parameters
    ----------
    certificate
        As `ssl.SSLSocket.getpeercert` returns it.
    """
    alternatives = certificate.get("subjectAltName", ())
    found = [value for kind, value in alternatives if kind in ("DNS", "IP Address")]
    if not found:
        subject = [pair for part in certificate.get("subject", ()) for pair in part]
        found = [value for kind, value in subject if kind == "commonName"]
    return frozenset(value.lower() for value in found)


def failure(error: OSError) -> str:
    """Say in one line why a handshake failed."""
    if isinstance(error, TimeoutError):
        return "no answer to the TLS handshake in time"
    if not isinstance(error, ssl.SSLError):
        return _HUNG_UP
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrusted(error)
    reason = error.reason or ""
    alert = reason.rpartition("_ALERT_")[2]
    if alert in _DISTRUST:
        return f"the peer does not trust our certificate ({alert.lower().replace('_', ' ')})"
    return _REASONS.get(reason) or f"TLS failed ({reason.lower().replace('_', ' ')})"


def _distrusted(error: ssl.SSLCertVerificationError) -> str:
    whose = "the peer's certificate"
    if error.verify_code in _OTHER_NAME:
        said = error.verify_message.rstrip(".").rpartition("certificate ")[2]
        return f"{whose} {said}; give a name that it holds as certificate_name"
    fault = _FAULTS.get(error.verify_code)
    return f"{whose} {fault or f'is refused: {error.verify_message}'}"


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
            self.sock = self._context.wrap_socket(
                sock, server_side=server_side, server_hostname=server_hostname
            )
        except ValueError as error:  # pynetdicom survives an OSError only
            self._refused = f"{server_hostname!r} is no name that a certificate could be for"
            raise OSError(self._refused) from error
        return self.sock
