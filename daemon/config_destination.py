"""The list ``[[destinations]]``: the PACS that receive the results, by DIMSE or by DICOMweb."""

from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from daemon.config_table import AETitle, Table
from daemon.config_tls import CertificateName
from daemon.errors import ConfigError

Secret = Annotated[str, StringConstraints(min_length=1)]


class Destination(Table):
    """A PACS that receives the results."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,32}$")]
    ae_title: AETitle = ""  # with host and port: by C-STORE
    host: str = ""
    port: Annotated[int, Field(ge=1, le=65535)] = 0
    storage_commitment: bool = False
    draws_seg: bool = True  # false: its viewer does not, and `auto` sends pictures
    tls: bool = False
    certificate_name: CertificateName | None = None  # left out: its host
    # its DICOMweb service, without /studies, in place of title, host and port: by STOW-RS
    dicomweb: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")] | None = None
    user: Secret | None = None  # of `dicomweb`
    password: Secret | None = None
    token: Secret | None = None  # bearer, in place of user and password

    @property
    def machine(self) -> str:
        """Name or address of its machine."""
        return (urlsplit(self.dicomweb).hostname or "") if self.dicomweb else self.host

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return self.dicomweb or f"{self.ae_title} at {self.host}:{self.port}"


def check(destinations: Sequence[Destination]) -> None:
    """Raise `ConfigError` where one is reached in no way, or in two."""
    for number, each in enumerate(destinations):
        key = f"configuration: destinations.{number}"
        dimse = {"ae_title": each.ae_title, "host": each.host, "port": each.port}
        only_dimse = {
            **dimse,
            "storage_commitment": each.storage_commitment,
            "tls": each.tls,
            "certificate_name": each.certificate_name,
        }
        only_web = {"user": each.user, "password": each.password, "token": each.token}
        if each.dicomweb is None:
            _none(key, only_web, "only with dicomweb")
            _all(key, dimse)
        else:
            _none(key, only_dimse, "not with dicomweb")
            if (each.user is None) != (each.password is None):
                raise ConfigError(f"{key}.user: user and password go together")
            if each.user is not None and each.token is not None:
                raise ConfigError(f"{key}.token: either user and password, or a token")


def _none(key: str, values: Mapping[str, object], words: str) -> None:
    for name, value in values.items():
        if value:
            raise ConfigError(f"{key}.{name}: {words}")


def _all(key: str, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if not value:
            raise ConfigError(f"{key}.{name}: missing; or name the PACS's dicomweb service")
