"""Certificates: whether they can be used, until when, and what ``[tls]`` makes of its own."""

import logging
import os
import ssl
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from daemon.clock import SECOND_US
from daemon.config import Config
from daemon.config_tls import CREDENTIALS, FILES, Tls
from daemon.errors import ConfigError
from dicom_io import tls
from dicom_io.errors import TlsSetupError
from dicom_io.tls import TlsFiles

log = logging.getLogger(__name__)
WARN_S: Final = 30 * 86400.0  # ahead of a certificate's end
_DAY_S = 86400.0


@dataclass(frozen=True)
class Certificate:
    """A certificate that the node shows or trusts."""

    setting: str  # the key that names its file: tls.certificate, tls.ca or http.certificate
    name: str  # the first that it holds
    begins_us: int  # UTC
    ends_us: int  # UTC

    def left_s(self, now_us: int) -> float:
        """Return for how long it is still good, in seconds; negative once it has expired."""
        return (self.ends_us - now_us) / SECOND_US

    def ends_soon(self, now_us: int) -> bool:
        """Tell whether it is time to renew it."""
        return self.left_s(now_us) < WARN_S

    def words(self, now_us: int) -> str:
        """Say whose it is and when it ends."""
        day = datetime.fromtimestamp(self.ends_us / SECOND_US, UTC).date()
        days = int(self.left_s(now_us) // _DAY_S)
        when = f"expires on {day}, in {days} days" if days >= 0 else f"expired on {day}"
        return f"{self.setting}: the certificate of {self.name} {when}"


@dataclass(frozen=True)
class TlsSetup:
    """What the service needs for TLS."""

    server: ssl.SSLContext | None  # None: the node receives without TLS
    client: ssl.SSLContext
    certificates: tuple[Certificate, ...]  # the node's own first


def load(config: Config, now_us: int) -> TlsSetup | None:
    """Read the certificates and build the contexts; None without ``[tls]``.

    Raises
    ------
    ConfigError
        A file cannot be used, or the node's certificate is not good now; names the key.
    """
    files = _files(config.tls)
    if files is None:
        return None
    own = _read("tls.certificate", files.certificate)
    _check_valid(own[0], now_us)
    trusted = _read("tls.ca", files.ca)
    try:
        server = tls.server_context(files) if config.tls.receive else None
        client = tls.client_context(files)
    except TlsSetupError as error:
        raise ConfigError(f"tls.{error.setting}: {error}") from error
    return TlsSetup(server, client, (*own, *trusted))


def watched(config: Config, tls: TlsSetup | None) -> tuple[Certificate, ...]:
    """Return every certificate whose end a person has to know of: those of `tls`, and HTTPS'.

    Raises
    ------
    ConfigError
        The file of ``http.certificate`` cannot be read.
    """
    pages = config.http.certificate
    https = _read("http.certificate", Path(pages)) if pages else ()
    return (*(tls.certificates if tls else ()), *https)


def expiry_s(certificates: Sequence[Certificate], now_us: int) -> dict[str, float]:
    """Return seconds until the first certificate of each setting ends."""
    left: dict[str, float] = {}
    for one in certificates:
        left[one.setting] = min(one.left_s(now_us), left.get(one.setting, float("inf")))
    return left


def log_expiry(certificates: Sequence[Certificate], now_us: int) -> None:
    """Write a line for each certificate, and a warning for one that ends soon."""
    for one in certificates:
        soon = one.ends_soon(now_us)
        log.log(
            logging.WARNING if soon else logging.INFO,
            "%s%s",
            one.words(now_us),
            "; renew it and restart the service" if soon else "",
            extra={"action": "certificate", "days": int(one.left_s(now_us) // _DAY_S)},
        )


def key_is_open(table: Tls) -> bool:
    """Tell whether every user of this machine can read the private key."""
    return table.key is not None and bool(os.stat(table.key).st_mode & stat.S_IROTH)


def _files(table: Tls) -> TlsFiles | None:
    if table.certificate is None or table.key is None or table.ca is None:
        return None
    for setting in FILES:
        if str(getattr(table, setting)).startswith(f"${CREDENTIALS}"):
            raise ConfigError(
                f"tls.{setting}: {CREDENTIALS} is not set; systemd sets it for the service "
                "(LoadCredential=), and for a command you set it to the folder of the files"
            )
    return TlsFiles(Path(table.certificate), Path(table.key), Path(table.ca))


def _read(setting: str, path: Path) -> Sequence[Certificate]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {path} ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(
            f"{setting}: {path} holds no PEM certificate, or a damaged one"
        ) from error
    return [
        Certificate(
            setting,
            _name(one),
            _microseconds(one.not_valid_before_utc),
            _microseconds(one.not_valid_after_utc),
        )
        for one in found
    ]


def _microseconds(when: datetime) -> int:
    return int(when.timestamp()) * SECOND_US


def _name(certificate: x509.Certificate) -> str:
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    found = [*_dns_names(certificate), *(str(one.value) for one in common)]
    return found[0] if found else certificate.subject.rfc4514_string()


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):  # none, or none that can be read
        return []
    return held.value.get_values_for_type(x509.DNSName)


def _check_valid(own: Certificate, now_us: int) -> None:
    if own.left_s(now_us) <= 0:
        raise ConfigError(f"{own.words(now_us)}: renew it, or correct this machine's clock")
    if own.begins_us > now_us:
        day = datetime.fromtimestamp(own.begins_us / SECOND_US, UTC).date()
        raise ConfigError(
            f"tls.certificate: the certificate of {own.name} begins on {day}: wait, or correct "
            "this machine's clock"
        )
