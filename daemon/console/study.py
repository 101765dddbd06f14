"""One study: what was received, what was found, what was made of it, and where that went."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from daemon import schema
from daemon.errors import UnknownError
from daemon.lifecycle import FileState

_MOST_EVENTS = 500


@dataclass(frozen=True)
class Event:
    """A line of the timeline."""

    at_us: int
    entity: str  # study, analysis, delivery, instance
    action: str  # the state that it moved to, or what happened
    detail: str


@dataclass(frozen=True)
class ImageRow:
    """An image that was received."""

    number: int  # 1-based, in the order of arrival
    instance_id: int  # its row
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    source_ae: str
    received_us: int
    size: int  # bytes
    kept: bool  # its file is still here
    frame_numbers: tuple[int, ...]  # 1-based, that were analysed; empty: none
    notes: tuple[str, ...]
    excluded: tuple[str, ...]  # why it, or frames of it, were left out


@dataclass(frozen=True)
class NodeRow:
    """A lymph node of the latest version."""

    label: str
    laterality: str | None
    score: float
    long_axis: float
    short_axis: float
    area: float
    unit: str  # mm or px
    circularity: float | None
    margin_sharpness: float | None
    image_number: int | None  # of the image that it was measured on
    frame_number: int
    frames: int  # on which it is seen


@dataclass(frozen=True)
class SideRow:
    """A side of the body."""

    laterality: str | None
    nodes: tuple[int, ...]
    score: float | None
    evaluation: str | None  # only of bundles that are no demonstration


@dataclass(frozen=True)
class DeliveryRow:
    """An object's way to a destination."""

    destination: str
    state: str
    attempts: int
    status: int | None  # the peer's last C-STORE status
    detail: str
    delivered_us: int | None


@dataclass(frozen=True)
class ObjectRow:
    """A result object."""

    object_id: int
    role: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    size: int  # bytes
    kept: bool  # its file is still here
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True)
class VersionRow:
    """One version of the analysis."""

    version: int
    state: str
    reason: str
    created_us: int
    finished_us: int | None
    bundle: str  # name and version
    bundle_digest: str
    demonstration: bool
    operating_point: str
    threshold: float | None
    sides: tuple[SideRow, ...]
    nodes: tuple[NodeRow, ...]
    objects: tuple[ObjectRow, ...]


@dataclass(frozen=True)
class Study:
    """The whole page."""

    study_id: int
    study_uid: str
    state: str
    reason: str
    source_ae: str
    received_us: int
    last_instance_us: int
    purged_us: int | None
    images: tuple[ImageRow, ...]
    versions: tuple[VersionRow, ...]  # the latest first
    earlier_events: str  # why those before `events` are not there; "": these are all
    events: tuple[Event, ...]  # the oldest first


def study(connection: Connection, study_id: int) -> Study:
    """Gather the page.

    Raises
    ------
    UnknownError
        There is no such study.
    """
    row = connection.execute(
        select(schema.studies).where(schema.studies.c.id == study_id)
    ).one_or_none()
    if row is None:
        raise UnknownError("no such study is known")
    table = schema.analyses
    analyses = connection.execute(
        select(table).where(table.c.study_id == study_id).order_by(table.c.version.desc())
    ).all()
    summary = json.loads(analyses[0].summary) if analyses else {}
    images = _images(connection, study_id, summary)
    events = _events(connection, study_id)
    numbers = {image.sop_instance_uid: image.number for image in images}
    return Study(
        study_id=row.id,
        study_uid=row.study_uid,
        state=row.state,
        reason=row.reason,
        source_ae=row.source_ae,
        received_us=row.received_us,
        last_instance_us=row.last_instance_us,
        purged_us=row.purged_us,
        images=images,
        versions=tuple(_version(connection, analysis, numbers) for analysis in analyses),
        earlier_events=_why_not_all(events, row.received_us),
        events=events,
    )


def _events(connection: Connection, study_id: int) -> tuple[Event, ...]:
    table = schema.events
    rows = connection.execute(
        select(table)
        .where(table.c.study_id == study_id)
        .order_by(table.c.id.desc())
        .limit(_MOST_EVENTS)
    ).all()
    return tuple(Event(row.at_us, row.entity, row.action, row.detail) for row in reversed(rows))


def _why_not_all(events: Sequence[Event], received_us: int) -> str:
    if len(events) == _MOST_EVENTS:
        return f"only the latest {_MOST_EVENTS} events are shown"
    if not events or events[0].at_us > received_us:  # which the first event of a study tells
        return "earlier events were deleted (retention.events_days)"
    return ""


def _images(connection: Connection, study_id: int, summary: dict[str, Any]) -> tuple[ImageRow, ...]:
    table = schema.instances
    rows = connection.execute(
        select(table).where(table.c.study_id == study_id).order_by(table.c.id)
    ).all()
    read = {image["sop_instance_uid"]: image for image in summary.get("images", ())}
    excluded: dict[str, list[str]] = {}
    for item in summary.get("exclusions", ()):
        frame = f"frame {item['frame_number']}: " if item["frame_number"] else ""
        excluded.setdefault(item["sop_instance_uid"], []).append(f"{frame}{item['words']}")
    return tuple(
        ImageRow(
            number=number,
            instance_id=row.id,
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            source_ae=row.source_ae,
            received_us=row.received_us,
            size=row.size,
            kept=row.file == FileState.KEPT,
            frame_numbers=_frame_numbers(read.get(row.sop_instance_uid, {})),
            notes=tuple(read.get(row.sop_instance_uid, {}).get("notes", ())),
            excluded=tuple(excluded.get(row.sop_instance_uid, ())),
        )
        for number, row in enumerate(rows, 1)
    )


def _frame_numbers(image: dict[str, Any]) -> tuple[int, ...]:
    """Return which frames were read; summaries of AxNode 0.1 before the console say how many."""
    return tuple(image.get("frame_numbers", range(1, image.get("frames", 0) + 1)))


def _version(connection: Connection, row: Any, numbers: dict[str, int]) -> VersionRow:
    found = json.loads(row.summary)
    bundle, point = found.get("bundle", {}), found.get("operating_point", {})
    return VersionRow(
        version=row.version,
        state=row.state,
        reason=row.reason,
        created_us=row.created_us,
        finished_us=row.finished_us,
        bundle=f"{bundle['name']} {bundle['version']}" if bundle else "",
        bundle_digest=row.bundle_digest,
        demonstration=bool(bundle.get("demonstration", False)),
        operating_point=point.get("name", ""),
        threshold=point.get("threshold"),
        sides=tuple(
            SideRow(side["laterality"], tuple(side["nodes"]), side["score"], side["evaluation"])
            for side in found.get("sides", ())
        ),
        nodes=tuple(_node(node, numbers) for node in found.get("nodes", ())),
        objects=_objects(connection, row.id),
    )


def _node(node: dict[str, Any], numbers: dict[str, int]) -> NodeRow:
    return NodeRow(
        label=node["label"],
        laterality=node["laterality"],
        score=node["score"],
        long_axis=node["long_axis"],
        short_axis=node["short_axis"],
        area=node["area"],
        unit=node["unit"],
        circularity=node["circularity"],
        margin_sharpness=node["margin_sharpness"],
        image_number=numbers.get(node["sop_instance_uid"]),
        frame_number=node["key_frame"],
        frames=len(node["frames"]),
    )


def _objects(connection: Connection, analysis_id: int) -> tuple[ObjectRow, ...]:
    objects, deliveries = schema.objects, schema.deliveries
    ways: dict[int, list[DeliveryRow]] = {}
    for row in connection.execute(
        select(deliveries)
        .join(objects, objects.c.id == deliveries.c.object_id)
        .where(objects.c.analysis_id == analysis_id)
        .order_by(deliveries.c.destination)
    ):
        way = DeliveryRow(
            row.destination, row.state, row.attempts, row.status, row.detail, row.delivered_us
        )
        ways.setdefault(row.object_id, []).append(way)
    rows = connection.execute(
        select(objects).where(objects.c.analysis_id == analysis_id).order_by(objects.c.id)
    )
    return tuple(
        ObjectRow(
            object_id=row.id,
            role=row.role,
            sop_class_uid=row.sop_class_uid,
            sop_instance_uid=row.sop_instance_uid,
            series_instance_uid=row.series_instance_uid,
            size=row.size,
            kept=row.file == FileState.KEPT,
            deliveries=tuple(ways.get(row.id, ())),
        )
        for row in rows
    )
