"""Pictures in place of a SEG: where they go from the start, and where after a refusal."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select

from daemon import schema
from daemon.config import Config
from daemon.config_results import go_at_once
from daemon.lifecycle import UNCONFIRMED, DeliveryState

_PICTURES = ("sc", "pr")  # roles of objects that show contours where a SEG does not
_ON_ITS_WAY = (*UNCONFIRMED, DeliveryState.DELIVERED)


def destinations_for(role: str, config: Config, chosen: Collection[str] | None = None) -> list[str]:
    """Return the destinations to which an object of this role is queued as soon as it is built.

    `chosen` names those that a rule has chosen; None: none did, and all of them are meant.
    """
    results = config.results
    setting = {"sc": results.secondary_capture, "pr": results.presentation_state}.get(role, "on")
    return [
        each.name
        for each in config.destinations
        if (setting == "on" or not each.draws_seg) and (chosen is None or each.name in chosen)
    ]


def wanted(config: Config) -> str:
    """Return whether pictures could go anywhere: `never`, `with_nodes` or `always`.

    They could without a node where they go at once, and only with one where they wait for a SEG
    that is refused.
    """
    setting = config.results.secondary_capture
    if go_at_once(setting, config.destinations):
        return "always"
    may_wait = setting == "auto" and config.results.seg and config.destinations
    return "with_nodes" if may_wait else "never"


def stands_in(connection: Connection, delivery_id: int, now_us: int) -> bool:
    """Return whether pictures stand in for a refused object; those of a SEG are queued first.

    They stand in for a SEG where its analysis has some, and for a presentation state where a
    Secondary Capture goes to the same destination. One that was refused itself stands in for
    nothing.
    """
    deliveries, objects = schema.deliveries, schema.objects
    refused = connection.execute(
        select(objects.c.role, objects.c.analysis_id, deliveries.c.destination)
        .join(objects, objects.c.id == deliveries.c.object_id)
        .where(deliveries.c.id == delivery_id)
    ).one()
    pictures = _pictures(connection, refused.analysis_id, refused.destination)
    if refused.role == "seg":
        for picture in pictures:
            if picture.state is None:
                queue(connection, picture.id, refused.destination, now_us)
        return any(picture.state in (None, *_ON_ITS_WAY) for picture in pictures)
    captures = [picture for picture in pictures if picture.role == "sc"]
    return refused.role == "pr" and any(p.state in _ON_ITS_WAY for p in captures)


def release(connection: Connection, study_id: int) -> list[str]:
    """Forget the pictures of a study at rest that nobody asked for; return their files' names.

    They are large, and every destination has taken the SEG by now.
    """
    objects, deliveries = schema.objects, schema.deliveries
    queued = select(deliveries.c.id).where(deliveries.c.object_id == objects.c.id).exists()
    rows = connection.execute(
        select(objects.c.id, objects.c.file_hash)
        .join(schema.analyses, schema.analyses.c.id == objects.c.analysis_id)
        .where(schema.analyses.c.study_id == study_id, objects.c.role.in_(_PICTURES), ~queued)
    ).all()
    connection.execute(delete(objects).where(objects.c.id.in_([row.id for row in rows])))
    return [str(row.file_hash) for row in rows]


def _pictures(connection: Connection, analysis_id: int, destination: str) -> Sequence[Any]:
    """Return id and role of an analysis's pictures, and how their delivery stands; None: none."""
    deliveries, objects = schema.deliveries, schema.objects
    here = and_(deliveries.c.object_id == objects.c.id, deliveries.c.destination == destination)
    return connection.execute(
        select(objects.c.id, objects.c.role, deliveries.c.state)
        .join(deliveries, here, isouter=True)
        .where(objects.c.analysis_id == analysis_id, objects.c.role.in_(_PICTURES))
        .order_by(objects.c.id)
    ).all()


def queue(connection: Connection, object_id: int, destination: str, now_us: int) -> None:
    """Have an object sent to a destination."""
    connection.execute(
        insert(schema.deliveries).values(
            object_id=object_id,
            destination=destination,
            state=DeliveryState.PENDING,
            due_us=now_us,
        )
    )
