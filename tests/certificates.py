"""Authorities and certificates for tests, made on the spot; nobody else trusts them."""

import itertools
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dicom_io.tls import TlsFiles, client_context, server_context

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
LOOPBACK = ("localhost", "127.0.0.1")
NODE = "node.example.org"
US1 = "us1.example.org"
US2 = "us2.example.org"
_NUMBERS = itertools.count(1)


def a_name(common_name: str) -> x509.Name:
    """Return a subject."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def alternative(name: str) -> x509.GeneralName:
    """Return an address or DNS name of subjectAltName."""
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    def trusting(self, ca: Path) -> TlsFiles:
        """Return the set-up of a peer that shows this certificate and trusts that file."""
        return TlsFiles(self.certificate, self.key, ca)


class Authority:
    """A certificate authority whose files lie in `folder`."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = a_name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        certificate = (
            _builder(self._name, self._name, self._key, now - timedelta(1), now + timedelta(1000))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        common_name: str,
        alternatives: Sequence[str] | None = None,
        *,
        days: float = 365,
        age_days: float = 1,
        purposes: Sequence[x509.ObjectIdentifier] = (
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.CLIENT_AUTH,
        ),
        key: Key | None = None,
        self_signed: bool = False,
    ) -> Issued:
        """Make a certificate that was made `age_days` ago and is good for `days` from now.

        `alternatives` are the names of its subjectAltName; None: its common name and loopback.
        """
        own = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        subject = a_name(common_name)
        held = (common_name, *LOOPBACK) if alternatives is None else alternatives
        builder = _builder(
            subject,
            subject if self_signed else self._name,
            own,
            now - timedelta(age_days),
            now + timedelta(days),
        )
        if held:
            general = [alternative(name) for name in held]
            builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        signed = builder.sign(own if self_signed else self._key, hashes.SHA256())
        return self._write(common_name, signed, own)

    def _write(self, name: str, certificate: x509.Certificate, key: Key) -> Issued:
        stem = f"{name.replace('*', 'any')}-{next(_NUMBERS)}"
        issued = Issued(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        issued.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        issued.key.write_bytes(key_pem(key))
        issued.key.chmod(0o600)
        return issued


@dataclass(frozen=True)
class Site:
    """A hospital with an authority of its own, a node, and modalities."""

    authority: Authority
    node: Issued
    us1: Issued
    us2: Issued

    @property
    def ca(self) -> Path:
        """What everybody here trusts."""
        return self.authority.file

    def server(self) -> ssl.SSLContext:
        """Return the node's context for its port."""
        return server_context(self.node.trusting(self.ca))

    def client(self, issued: Issued | None = None) -> ssl.SSLContext:
        """Return a context that shows a certificate, US1's by default."""
        return client_context((issued or self.us1).trusting(self.ca))

    def orthanc(self, issued: Issued) -> dict[str, Any]:
        """Return the settings of an Orthanc that shows a certificate."""
        return {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(issued.certificate),
            "DicomTlsPrivateKey": str(issued.key),
            "DicomTlsTrustedCertificates": str(self.ca),
        }


def a_site(folder: Path) -> Site:
    """Make a hospital's certificates, with keys of the kind that every peer knows."""
    authority = Authority(folder)
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(3)]
    names = (NODE, US1, US2)
    node, us1, us2 = (authority.issue(n, key=k) for n, k in zip(names, keys, strict=True))
    return Site(authority, node, us1, us2)


def key_pem(key: Key, password: bytes | None = None) -> bytes:
    """Return a private key as PEM, encrypted where there is a password."""
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
