"""Those that the node talks to: modalities that push, PACS that receive, and who was refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from daemon import schema, status
from daemon.config import Config

_MOST_REFUSALS = 500  # of a kind that are looked at: five tools that offer all there is


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
    ae_title: str
    host: str
    port: int
    tls: bool
    storage_commitment: bool
    last_delivered_us: int | None
    pending: int
    parked: int
    last_failure: str


@dataclass(frozen=True)
class Refusal:
    """What a peer was refused; classes that it was refused for the same reason are one."""

    address: str
    calling_ae: str
    what: str
    classes: tuple[str, ...]  # SOP classes, where there are several
    transfer_syntaxes: str
    reason: str
    count: int
    last_us: int
    remedy: str


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
    refusals = _refusals(connection, config.node.ae_title)
    return Peers(
        sources=_sources(connection, config, refusals),
        destinations=_destinations(connection, config),
        refusals=refusals,
        secured=config.tls.on,
        certificates=tuple(certificates),
    )


def _refusals(connection: Connection, own_title: str) -> tuple[Refusal, ...]:
    """Return what was refused; a tool that offers a hundred classes hides nobody's association."""
    table = schema.refusals
    latest = select(table).order_by(table.c.last_us.desc()).limit(_MOST_REFUSALS)
    whole = connection.execute(latest.where(table.c.what == "association")).all()
    parts: dict[tuple[str, str, str], list[Any]] = {}
    for row in connection.execute(latest.where(table.c.what != "association")):
        parts.setdefault((row.address, row.calling_ae, row.reason), []).append(row)
    groups = [*([row] for row in whole), *parts.values()]
    return tuple(_refusal([row._mapping for row in rows], own_title) for rows in groups)


def _refusal(rows: Sequence[RowMapping], own_title: str) -> Refusal:
    """Put rows of one peer and one reason, the latest first, into one."""
    first, several = rows[0], len(rows) > 1
    return Refusal(
        address=first["address"],
        calling_ae=first["calling_ae"],
        what=f"{len(rows)} classes" if several else first["what"],
        classes=tuple(sorted(row["what"] for row in rows)) if several else (),
        transfer_syntaxes="" if several else first["transfer_syntaxes"],
        reason=first["reason"],
        count=max(row["count"] for row in rows),
        last_us=first["last_us"],
        remedy=remedy(first["reason"], first["what"], own_title),
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
            ae_title=each.ae_title,
            host=each.host,
            port=each.port,
            tls=each.tls,
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


def remedy(reason: str, what: str, own_title: str) -> str:
    """Return what an admin does about a refusal."""
    for part, words in (
        ("is not among the [[sources]]", "list it under [[sources]], with its title as written"),
        ("may not call from this address", "correct the host of its [[sources]] entry"),
        ("certificate_name", "correct its certificate_name, or give it the right certificate"),
        ("it called", f"set the called AE title to {own_title} on the modality"),
        ("transfer syntax", "have the modality send another transfer syntax, uncompressed at best"),
        ("abstract syntax", "nothing, unless a class of them holds ultrasound images: report it"),
        ("disk", "make room, or lower node.disk_floor_gb"),
        ("busy", "have it send fewer at once, or raise node.max_associations"),
    ):
        if part in reason or part in what:
            return words
    return "see the reason; docs/conformance.md lists what is accepted"
