"""What the rows say of the node's state: for the command, the probes and the metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from daemon import schema
from daemon.lifecycle import UNCONFIRMED, UNREAD, DeliveryState, StudyState


def counts(connection: Connection) -> dict[str, int]:
    """Return the number of studies in each state; every state is listed."""
    found = tallied(connection, "study").get("", {})
    return {state.value: found.get(state, 0) for state in StudyState}


def tallied(connection: Connection, entity: str) -> dict[str, dict[str, int]]:
    """Return how many rows there are of an entity, by destination and state."""
    table = schema.tallies
    rows = connection.execute(
        select(table.c.destination, table.c.state, table.c.number).where(table.c.entity == entity)
    )
    found: dict[str, dict[str, int]] = {}
    for destination, state, number in rows:
        found.setdefault(destination, {})[state] = number
    return found


def oldest_waiting_s(connection: Connection, now_us: int) -> float | None:
    """Return for how long the study that waits longest has been under way, in seconds."""
    oldest = connection.execute(
        select(func.min(schema.studies.c.last_instance_us)).where(
            schema.studies.c.state.in_(UNREAD)
        )
    ).scalar()
    return None if oldest is None else max(0.0, (now_us - oldest) / 1e6)


def destinations(connection: Connection, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return per destination what is delivered, pending and parked, and the last failure."""
    found = tallied(connection, "delivery")
    names = [*names, *sorted(set(found) - set(names))]  # some may have left the configuration
    return [
        {
            "name": name,
            **{state.value: found.get(name, {}).get(state, 0) for state in DeliveryState},
            "last_failure": last_failure(connection, name),
        }
        for name in names
    ]


def last_failure(connection: Connection, destination: str, *, waiting: bool = False) -> str:
    """Return what went wrong last and is not over; `waiting`: of what is still to be sent."""
    table = schema.deliveries
    query = select(table.c.detail).where(table.c.destination == destination, schema.FAILED)
    if waiting:
        query = query.where(table.c.state.in_(UNCONFIRMED))
    found = connection.execute(query.order_by(table.c.id.desc()).limit(1)).scalar()
    return str(found or "")


def purged(connection: Connection) -> dict[str, Any]:
    """Return of how many studies images were deleted by retention, and when last."""
    table = schema.studies
    number = tallied(connection, "purged").get("", {}).get("", 0)
    last = select(func.max(table.c.purged_us)).where(table.c.purged_us.is_not(None))
    return {"studies": number, "last_us": connection.execute(last).scalar()}


@dataclass(frozen=True)
class Page:
    """Which studies are listed; everything left out: all of them."""

    state: str | None = None
    source_ae: str | None = None  # that sent their first instance
    since_us: int | None = None  # their first instance came then or later
    until_us: int | None = None  # and before that
    after: tuple[int, int] | None = None  # the `key` of the last of the page before
    most: int | None = None  # of them; None: all
    ids: tuple[int, ...] | None = None  # of their rows


ALL = Page()


def studies(connection: Connection, page: Page = ALL) -> list[dict[str, Any]]:
    """Return studies, the one that began to arrive last first.

    Without `Page.most` it is the shape of ``axnode studies --json``. A page is looked up by its
    place in an index, so that the thousandth takes no longer than the first.
    """
    table, members = schema.studies, schema.instances
    number = select(func.count()).where(members.c.study_id == table.c.id).scalar_subquery()
    query = (
        select(table, number.label("instances"))
        .where(*_conditions(page))
        .order_by(table.c.received_us.desc(), table.c.id.desc())
        .limit(page.most)
    )
    return [
        {
            "study_uid": row.study_uid,
            "state": row.state,
            "reason": row.reason,
            "instances": row.instances,
            "version": row.version,
            "source_ae": row.source_ae,
            "received_us": row.received_us,
            "last_instance_us": row.last_instance_us,
            "purged_us": row.purged_us,
            "key": [row.received_us, row.id],
        }
        for row in connection.execute(query)
    ]


def _conditions(page: Page) -> list[ColumnElement[bool]]:
    table = schema.studies
    conditions: list[ColumnElement[bool]] = []
    if page.state is not None:
        conditions.append(table.c.state == page.state)
    if page.source_ae is not None:
        conditions.append(table.c.source_ae == page.source_ae)
    if page.since_us is not None:
        conditions.append(table.c.received_us >= page.since_us)
    if page.until_us is not None:
        conditions.append(table.c.received_us < page.until_us)
    if page.ids is not None:
        conditions.append(table.c.id.in_(page.ids))
    if page.after is not None:
        conditions.append(tuple_(table.c.received_us, table.c.id) < page.after)
    return conditions
