"""The list ``[[sources]]``: who may push."""

from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from daemon.config_table import Address, AETitle, Table
from daemon.config_tls import CertificateName
from daemon.errors import ConfigError
from daemon.loopback import is_loopback

if TYPE_CHECKING:
    from daemon.config import Config


class Source(Table):
    """A modality that may push."""

    ae_title: AETitle
    host: Address | None = None  # left out: any address
    port: Annotated[int, Field(ge=1, le=65535)] | None = None  # where it hears commitment reports
    assume_axilla: bool = False  # it pushes nothing but axillary studies
    certificate_name: CertificateName | None = None  # left out: any certificate of tls.ca

    def is_at(self, address: str) -> bool:
        """Tell whether a caller's address is this source's."""
        return self.host is None or ip_address(self.host) == ip_address(address)

    def holds(self, names: frozenset[str] | None) -> bool:
        """Tell whether a caller's certificate, by the names in it, is this source's."""
        return self.certificate_name is None or self.certificate_name in (names or ())


def guard_open_door(config: "Config", host: str) -> None:
    """Refuse to listen beyond this machine for anybody, unless that is said to be meant.

    Raises
    ------
    ConfigError
        `host`, where the node is to listen, is not loopback, and nobody says who may push.
    """
    if not config.sources and not config.allow_any_source and not is_loopback(host):
        raise ConfigError(
            "configuration: the node listens beyond loopback and no [[sources]] are listed: "
            "list the modalities that may push, or set allow_any_source = true"
        )
