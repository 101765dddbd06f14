"""What `/metrics` shows, by name and labels; no UID and nothing about a person is among them."""

from collections.abc import Sequence

from sqlalchemy import Connection

from daemon import status
from daemon.certificates import Certificate, expiry_s

_SHOWN = ("pending", "stored", "delivered", "parked")


def rows(connection: Connection, destinations: Sequence[str], now_us: int) -> dict[str, float]:
    """Return what the rows say."""
    values: dict[str, float] = {
        f'axnode_studies{{state="{state}"}}': number
        for state, number in status.counts(connection).items()
    }
    values["axnode_oldest_waiting_seconds"] = status.oldest_waiting_s(connection, now_us) or 0.0
    for item in status.destinations(connection, destinations):
        for state in _SHOWN:
            key = f'axnode_deliveries{{destination="{item["name"]}",state="{state}"}}'
            values[key] = item[state]
    return values


def certificates(watched: Sequence[Certificate], now_us: int) -> dict[str, float]:
    """Return for how long each certificate is still good."""
    return {
        f'axnode_certificate_expiry_seconds{{setting="{setting.removeprefix("tls.")}"}}': left
        for setting, left in expiry_s(watched, now_us).items()
    }
