"""What the rows say of the node's state: for the command, the probes and the metrics."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from daemon import schema
from daemon.lifecycle import DeliveryState, StudyState

_WAITING = (DeliveryState.PENDING, DeliveryState.STORED, DeliveryState.PARKED)


def counts(connection: Connection) -> dict[str, int]:
    """Return the number of studies in each state; every state is listed."""
    rows = connection.execute(
        select(schema.studies.c.state, func.count()).group_by(schema.studies.c.state)
    )
    found = {str(state): int(count) for state, count in rows}
    return {state.value: found.get(state.value, 0) for state in StudyState}


def oldest_waiting_s(connection: Connection, now_us: int) -> float | None:
    """Return for how long the study that waits longest has been under way, in seconds."""
    waiting = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYSING)
    oldest = connection.execute(
        select(func.min(schema.studies.c.last_instance_us)).where(
            schema.studies.c.state.in_(waiting)
        )
    ).scalar()
    return None if oldest is None else max(0.0, (now_us - oldest) / 1e6)


def destinations(connection: Connection, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return per destination what is delivered, pending and parked, and the last failure."""
    table = schema.deliveries
    known = connection.execute(select(table.c.destination).distinct()).scalars()
    names = [*names, *sorted(set(known) - set(names))]  # some may have left the configuration
    return [
        {
            "name": name,
            **{state.value: _count(connection, name, state) for state in DeliveryState},
            "last_failure": connection.execute(
                select(table.c.detail)
                .where(table.c.destination == name, table.c.state.in_(_WAITING))
                .where(table.c.attempts > 0, table.c.detail != "")
                .order_by(table.c.id.desc())
                .limit(1)
            ).scalar()
            or "",
        }
        for name in names
    ]


def _count(connection: Connection, name: str, state: DeliveryState) -> int:
    table = schema.deliveries
    return connection.execute(
        select(func.count()).where(table.c.destination == name, table.c.state == state)
    ).scalar_one()


def refusals(connection: Connection, most: int = 20) -> list[dict[str, Any]]:
    """Return the latest associations and presentation contexts that were refused."""
    table = schema.refusals
    rows = connection.execute(select(table).order_by(table.c.last_us.desc()).limit(most))
    keep = ("address", "calling_ae", "what", "transfer_syntaxes", "reason", "count")
    return [{key: getattr(row, key) for key in keep} for row in rows]


def purged(connection: Connection) -> dict[str, Any]:
    """Return of how many studies images were deleted by retention, and when last."""
    table = schema.studies
    number, last_us = connection.execute(
        select(func.count(table.c.purged_us), func.max(table.c.purged_us))
    ).one()
    return {"studies": number, "last_us": last_us}


def studies(connection: Connection, state: str | None = None) -> list[dict[str, Any]]:
    """Return every study, latest first: the shape of ``axnode studies --json``."""
    table, members = schema.studies, schema.instances
    number = select(func.count()).where(members.c.study_id == table.c.id).scalar_subquery()
    query = select(table, number.label("instances")).order_by(table.c.last_instance_us.desc())
    if state is not None:
        query = query.where(table.c.state == state)
    return [
        {
            "study_uid": row.study_uid,
            "state": row.state,
            "reason": row.reason,
            "instances": row.instances,
            "version": row.version,
            "last_instance_us": row.last_instance_us,
            "purged_us": row.purged_us,
        }
        for row in connection.execute(query)
    ]
