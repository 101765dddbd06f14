"""Pictures in place of a SEG: where they go from the start, and where after a refusal."""

from sqlalchemy import Connection, insert, select

from daemon import schema
from daemon.config import Config
from daemon.lifecycle import DeliveryState

_PICTURES = ("sc", "pr")  # roles of objects that show contours where a SEG does not


def destinations_for(role: str, config: Config) -> list[str]:
    """Return the destinations to which an object of this role is queued as soon as it is built."""
    results = config.results
    setting = {"sc": results.secondary_capture, "pr": results.presentation_state}.get(role, "on")
    return [d.name for d in config.destinations if setting == "on" or not d.draws_seg]


def queue(connection: Connection, delivery_id: int, now_us: int) -> bool:
    """Queue the pictures that go with a SEG to the destination that refuses it.

    Returns
    -------
    bool
        Whether pictures stand in for it: the delivery was a SEG's, and its analysis has some.
    """
    deliveries, objects = schema.deliveries, schema.objects
    refused = connection.execute(
        select(objects.c.role, objects.c.analysis_id, deliveries.c.destination)
        .join(objects, objects.c.id == deliveries.c.object_id)
        .where(deliveries.c.id == delivery_id)
    ).one()
    if refused.role != "seg":
        return False
    pictures = set(
        connection.execute(
            select(objects.c.id).where(
                objects.c.analysis_id == refused.analysis_id, objects.c.role.in_(_PICTURES)
            )
        ).scalars()
    )
    queued = connection.execute(
        select(deliveries.c.object_id).where(
            deliveries.c.object_id.in_(pictures), deliveries.c.destination == refused.destination
        )
    ).scalars()
    for object_id in sorted(pictures.difference(queued)):
        connection.execute(
            insert(deliveries).values(
                object_id=object_id,
                destination=refused.destination,
                state=DeliveryState.PENDING,
                due_us=now_us,
            )
        )
    return bool(pictures)
