"""What TLS an association may have, at both ends, and the names in certificates.

The profile is BCP 195 (RFC 9325), which PS3.15 B.12 asks for: TLS 1.2 or newer, authenticated
ciphers with forward secrecy, no renegotiation, no compression. Both sides show a certificate.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from dicom_io.errors import TlsSetupError
from dicom_io.tls_socket import ClientSocket

# RFC 9325 4.2; the suites of TLS 1.3 are all good, and Python leaves them to OpenSSL
CIPHERS: Final = ":".join(
    f"ECDHE-{key}-AES{size}"
    for size in ("256-GCM-SHA384", "128-GCM-SHA256")
    for key in ("ECDSA", "RSA")
)


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
    # Without tickets no TLS 1.3 session is resumed: every association shows its certificate. Those
    # of TLS 1.2 stay: its sessions would be kept in memory instead.
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
            "key", f"{files.key} is encrypted; store it without a password (openssl pkey)"
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
    found = [value for kind, value in alternatives if kind == "DNS"]
    found += [_address(value) for kind, value in alternatives if kind == "IP Address"]
    if not found:
        subject = [pair for part in certificate.get("subject", ()) for pair in part]
        found = [value for kind, value in subject if kind == "commonName"]
    return frozenset(value.lower() for value in found if value.isprintable())


def _address(text: str) -> str:
    """Return an address as people write it: OpenSSL gives IPv6 at full length."""
    try:
        return str(ip_address(text))
    except ValueError:  # "<invalid>"
        return text
