"""Moves of the state machines; each is checked against its table and leaves an event row."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, delete, insert, select, update

from daemon import schema
from daemon.lifecycle import (
    ANALYSIS,
    DELIVERY,
    STUDY,
    AnalysisState,
    DeliveryState,
    StudyState,
    check_move,
)

State = TypeVar("State", bound=StrEnum)
CONFLICT = "conflict"
"""Action of an event: other content came under a known SOP Instance UID."""


def record(
    connection: Connection,
    now_us: int,
    entity: str,
    entity_id: int | None,
    action: str,
    *,
    study_id: int | None = None,
    detail: str = "",
) -> None:
    """Write one event of the timeline."""
    connection.execute(
        insert(schema.events).values(
            at_us=now_us,
            study_id=study_id,
            entity=entity,
            entity_id=entity_id,
            action=action,
            detail=detail,
        )
    )


def move_study(
    connection: Connection, study_id: int, new: StudyState, reason: str, now_us: int, **values: Any
) -> None:
    """Move a study; `values` are further columns to set. Its nights at rest are counted anew."""
    values = {"reason": reason, "moved_night": schema.NIGHTS, **values}
    _move(connection, schema.studies, STUDY, StudyState, study_id, new, values)
    record(connection, now_us, "study", study_id, new, study_id=study_id, detail=reason)


def move_analysis(
    connection: Connection,
    analysis_id: int,
    new: AnalysisState,
    reason: str,
    now_us: int,
    **values: Any,
) -> None:
    """Move an analysis; `values` are further columns to set."""
    table = schema.analyses
    _move(
        connection, table, ANALYSIS, AnalysisState, analysis_id, new, {"reason": reason, **values}
    )
    study_id = connection.execute(
        select(table.c.study_id).where(table.c.id == analysis_id)
    ).scalar()
    record(connection, now_us, "analysis", analysis_id, new, study_id=study_id, detail=reason)


def move_delivery(
    connection: Connection,
    delivery_id: int,
    new: DeliveryState,
    detail: str,
    now_us: int,
    **values: Any,
) -> None:
    """Move a delivery; `values` are further columns to set.

    A request for storage commitment that it waited to hear of does not concern it any more.
    """
    table, links = schema.deliveries, schema.commitment_deliveries
    connection.execute(delete(links).where(links.c.delivery_id == delivery_id))
    _move(
        connection, table, DELIVERY, DeliveryState, delivery_id, new, {"detail": detail, **values}
    )
    where = connection.execute(
        select(schema.analyses.c.study_id, table.c.destination)
        .join(schema.objects, schema.objects.c.analysis_id == schema.analyses.c.id)
        .join(table, table.c.object_id == schema.objects.c.id)
        .where(table.c.id == delivery_id)
    ).one()
    text = f"{where.destination}: {detail}"
    record(connection, now_us, "delivery", delivery_id, new, study_id=where.study_id, detail=text)


def _move(
    connection: Connection,
    table: Table,
    machine: Mapping[State, frozenset[State]],
    states: type[State],
    row_id: int,
    new: State,
    values: dict[str, Any],
) -> None:
    old = connection.execute(select(table.c.state).where(table.c.id == row_id)).scalar_one()
    check_move(machine, states(old), new)
    connection.execute(update(table).where(table.c.id == row_id).values(state=new, **values))
