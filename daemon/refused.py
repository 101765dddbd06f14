"""Who was refused what, and what an admin does about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from daemon import schema

ASSOCIATION, CUT_SHORT = "association", "association cut short"
STOW = "STOW-RS request"
_WHOLE = (ASSOCIATION, CUT_SHORT, STOW)  # what is refused as a whole
_MOST = 2000  # that are looked at: twenty tools that offer all there is


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


def refusals(connection: Connection, own_title: str) -> tuple[Refusal, ...]:
    """Return what was refused; a tool that offers a hundred classes hides nobody's association."""
    table = schema.refusals
    latest = select(table).order_by(table.c.last_us.desc()).limit(_MOST)
    whole: list[Any] = []
    parts: dict[tuple[str, str, str], list[Any]] = {}
    for row in connection.execute(latest):
        same = row.address, row.calling_ae, row.reason
        (whole if row.what in _WHOLE else parts.setdefault(same, [])).append(row)
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


def remedy(reason: str, what: str, own_title: str) -> str:
    """Return what an admin does about a refusal."""
    for part, words in (
        ("is not among the [[sources]]", "list it under [[sources]], with its title as written"),
        ("may not call from this address", "correct the host of its [[sources]] entry"),
        (
            "no token",
            "give it the token of a [[users]] entry: axnode user NAME --role source",
        ),
        ("unencrypted", "set http.certificate and http.key, or http.proxy"),
        ("certificate_name", "correct its certificate_name, or give it the right certificate"),
        ("it called", f"set the called AE title to {own_title} on the modality"),
        ("transfer syntax", "have the modality send another transfer syntax, uncompressed at best"),
        ("abstract syntax", "nothing, unless a class of them holds ultrasound images: report it"),
        (
            "aborted the association",
            "it gave up by itself: mostly it did not propose the transfer syntax that its images "
            "are in (storescu: -xs, -xy, -xv, -xr)",
        ),
        ("disk", "make room, or lower node.disk_floor_gb"),
        ("requests at once", "have it send fewer at once"),
        ("busy", "have it send fewer at once, or raise node.max_associations"),
    ):
        if part in reason or part in what:
            return words
    return "see the reason; docs/conformance.md lists what is accepted"
