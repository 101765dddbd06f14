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


def stands_in(connection: Connection, delivery_id: int, now_us: int) -> bool:
    """Return whether pictures stand in for a refused object; those of a SEG are queued first.

    They stand in for a SEG where its analysis has some, and for a presentation state where a
    Secondary Capture goes to the same destination.
    """
    deliveries, objects = schema.deliveries, schema.objects
    refused = connection.execute(
        select(objects.c.role, objects.c.analysis_id, deliveries.c.destination)
        .join(objects, objects.c.id == deliveries.c.object_id)
        .where(deliveries.c.id == delivery_id)
    ).one()
    made, queued = _pictures(connection, refused.analysis_id, refused.destination)
    if refused.role == "seg":
        for object_id in sorted(made.keys() - queued):
            connection.execute(
                insert(deliveries).values(
                    object_id=object_id,
                    destination=refused.destination,
                    state=DeliveryState.PENDING,
                    due_us=now_us,
                )
            )
        return bool(made)
    return refused.role == "pr" and any(made[object_id] == "sc" for object_id in queued)


def _pictures(
    connection: Connection, analysis_id: int, destination: str
) -> tuple[dict[int, str], set[int]]:
    """Return the roles of an analysis's pictures by id, and which are queued to a destination."""
    deliveries, objects = schema.deliveries, schema.objects
    rows = connection.execute(
        select(objects.c.id, objects.c.role).where(
            objects.c.analysis_id == analysis_id, objects.c.role.in_(_PICTURES)
        )
    )
    made = {row.id: str(row.role) for row in rows}
    queued = connection.execute(
        select(deliveries.c.object_id).where(
            deliveries.c.object_id.in_(made), deliveries.c.destination == destination
        )
    )
    return made, set(queued.scalars())
