"""The table ``[tls]`` and what the other tables may say of certificates."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import StringConstraints

from daemon.config_table import Table
from daemon.errors import ConfigError

if TYPE_CHECKING:
    from daemon.config import Config

FILES = ("certificate", "key", "ca")
CREDENTIALS = "CREDENTIALS_DIRECTORY"  # where systemd puts what LoadCredential= names
FilePath = Annotated[str, StringConstraints(min_length=1)]
CertificateName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[^\x00-\x1f]{1,255}$", to_lower=True),
]
"""A name that a certificate must hold; see `dicom_io.tls.names`."""


class Tls(Table):
    """What the node shows and trusts; none of the files named: no TLS."""

    certificate: FilePath | None = None  # PEM, with those between it and its authority
    key: FilePath | None = None  # PEM, not encrypted
    ca: FilePath | None = None  # PEM: authorities, or the peers' own certificates
    receive: bool = True  # false: plain DICOM is received, and TLS is for destinations only

    @property
    def on(self) -> bool:
        """Whether there is TLS at all."""
        return self.certificate is not None


def with_credentials(data: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Put the folder of systemd's credentials into the paths that name it.

    Where systemd has set none the name stays, for only some commands read the files.
    """
    folder = environ.get(CREDENTIALS)
    if folder is None:
        return dict(data)
    return {
        name: _filled(table, folder) if name in ("tls", "http") else table
        for name, table in data.items()
    }


def _filled(table: Any, folder: str) -> Any:
    if not isinstance(table, Mapping):
        return table
    return {
        key: value.replace(f"${CREDENTIALS}", folder) if isinstance(value, str) else value
        for key, value in table.items()
    }


def check(config: "Config") -> None:
    """Raise `ConfigError` where certificates are asked for and there can be none."""
    tls = config.tls
    given = [key for key in FILES if getattr(tls, key) is not None]
    if given and len(given) < len(FILES):
        (missing, *_) = (key for key in FILES if key not in given)
        raise _wrong(f"tls.{missing}", "missing; TLS needs certificate, key and ca")
    if (config.http.certificate is None) != (config.http.key is None):
        missing = "key" if config.http.key is None else "certificate"
        raise _wrong(f"http.{missing}", "missing; HTTPS needs certificate and key")
    for number, source in enumerate(config.sources):
        if source.certificate_name is not None and not (tls.on and tls.receive):
            raise _wrong(
                f"sources.{number}.certificate_name", "the node receives without TLS; set [tls]"
            )
    for number, destination in enumerate(config.destinations):
        path = f"destinations.{number}"
        if destination.tls and not tls.on:
            raise _wrong(f"{path}.tls", "there is no certificate to show; set [tls]")
        if destination.certificate_name is not None and not destination.tls:
            raise _wrong(f"{path}.certificate_name", "only with tls = true")


def _wrong(key: str, words: str) -> ConfigError:
    return ConfigError(f"configuration: {key}: {words}")
