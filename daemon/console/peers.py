"""Those that the node talks to: modalities that push, PACS that receive, and who was refused."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from daemon import schema, status
from daemon.config import Config
from daemon.refused import Refusal, refusals


@dataclass(frozen=True)
class SourceRow:
    """A modality that may push, or has pushed."""

    ae_title: str
    host: str  # "": any address
    configured: bool
    last_study_us: int | None  # began to arrive; None: none ever did
    refused: int  # times, of what is still remembered


@dataclass(frozen=True)
class DestinationRow:
    """A PACS."""

    name: str
    place: str  # title, host and port, or the address of its DICOMweb
    tls: bool
    storage_commitment: bool
    last_delivered_us: int | None
    pending: int
    parked: int
    last_failure: str


@dataclass(frozen=True)
class Peers:
    """The whole page."""

    sources: tuple[SourceRow, ...]
    destinations: tuple[DestinationRow, ...]
    refusals: tuple[Refusal, ...]  # associations first, then the latest
    secured: bool  # DICOM goes over TLS where it is asked for
    certificates: tuple[str, ...]  # in words, with their end


def peers(connection: Connection, config: Config, certificates: Sequence[str]) -> Peers:
    """Gather the page."""
    refused = refusals(connection, config.node.ae_title)
    return Peers(
        sources=_sources(connection, config, refused),
        destinations=_destinations(connection, config),
        refusals=refused,
        secured=config.tls.on,
        certificates=tuple(certificates),
    )


def _sources(
    connection: Connection, config: Config, refusals: Sequence[Refusal]
) -> tuple[SourceRow, ...]:
    table = schema.studies
    newest = select(table.c.source_ae, func.max(table.c.received_us)).group_by(table.c.source_ae)
    latest = {title: at_us for title, at_us in connection.execute(newest)}
    refused: dict[str, int] = {}
    for each in refusals:
        refused[each.calling_ae] = refused.get(each.calling_ae, 0) + each.count
    configured = [(source.ae_title, source.host or "", True) for source in config.sources]
    named = {title for title, _, _ in configured}
    others = [(title, "", False) for title in sorted(latest) if title and title not in named]
    return tuple(
        SourceRow(title, host, known, latest.get(title), refused.get(title, 0))
        for title, host, known in [*configured, *others]
    )


def _destinations(connection: Connection, config: Config) -> tuple[DestinationRow, ...]:
    names = [destination.name for destination in config.destinations]
    counts = {item["name"]: item for item in status.destinations(connection, names)}
    return tuple(
        DestinationRow(
            name=each.name,
            place=each.place,
            tls=each.tls or (each.dicomweb or "").startswith("https:"),
            storage_commitment=each.storage_commitment,
            last_delivered_us=_last_delivered(connection, each.name),
            pending=counts[each.name]["pending"] + counts[each.name]["stored"],
            parked=counts[each.name]["parked"],
            last_failure=counts[each.name]["last_failure"],
        )
        for each in config.destinations
    )


def _last_delivered(connection: Connection, destination: str) -> int | None:
    table = schema.deliveries
    found = connection.execute(
        select(table.c.delivered_us)
        .where(table.c.destination == destination, table.c.state == "delivered")
        .order_by(table.c.due_us.desc())
        .limit(1)
    ).scalar()
    return None if found is None else int(found)
