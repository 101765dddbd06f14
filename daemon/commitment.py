"""Storage commitment by destinations: what waits for it, and what a report changes (PS3.4 J).

A request is a row before it goes out, so that its report is known whenever and however it comes. A
delivery that waits too long is asked about anew, under another transaction; a report on an earlier
one counts as long as the delivery still waits.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, exists, select, update

from daemon import failpoints, schema
from daemon.clock import Clock
from daemon.database import Database
from daemon.errors import UnavailableError
from daemon.events import move_delivery
from daemon.lifecycle import DeliveryState
from daemon.rest import settle_and_release
from daemon.retry import RetryPolicy, Verdict
from daemon.spool import Spool
from dicom_io import commitment
from dicom_io.commitment import Reference, Report
from dicom_io.errors import CommitmentRefused
from dicom_io.scu import Outcome

log = logging.getLogger(__name__)
RESEND = RetryPolicy(first_s=60.0, attempts=5)
"""When bytes that the peer does not commit to are sent again; the fifth failure parks."""
# failure reasons that the same bytes would meet again
_FOR_GOOD = (commitment.CLASS_INSTANCE_CONFLICT, commitment.CLASS_NOT_SUPPORTED)


@dataclass(frozen=True)
class Stored:
    """A delivery that waits for commitment."""

    delivery_id: int
    analysis_id: int
    study_id: int
    attempts: int  # requests made so far
    resends: int  # made so far
    detail: str
    reference: Reference


def stored(connection: Connection, condition: ColumnElement[bool]) -> list[Stored]:
    """Return deliveries that wait for commitment, those of one analysis together."""
    table, objects, analyses = schema.deliveries, schema.objects, schema.analyses
    rows = connection.execute(
        select(
            table.c.id,
            analyses.c.id,
            analyses.c.study_id,
            table.c.attempts,
            table.c.resends,
            table.c.detail,
            objects.c.sop_class_uid,
            objects.c.sop_instance_uid,
        )
        .join(objects, objects.c.id == table.c.object_id)
        .join(analyses, analyses.c.id == objects.c.analysis_id)
        .where(table.c.state == DeliveryState.STORED, condition)
        .order_by(analyses.c.id, table.c.id)
    )
    return [Stored(*row[:6], Reference(*row[6:])) for row in rows]


def asked_in(connection: Connection, transaction_uid: str) -> list[Stored]:
    """Return what still waits to hear of a request."""
    links, requests = schema.commitment_deliveries, schema.commitments
    members = (
        select(links.c.delivery_id)
        .join(requests, requests.c.id == links.c.commitment_id)
        .where(requests.c.transaction_uid == transaction_uid)
    )
    return stored(connection, schema.deliveries.c.id.in_(members))


class Reports:
    """Takes the reports of destinations.

    Parameters
    ----------
    objects
        The folder of result objects: pictures that nobody needs any more are removed from it.
    """

    def __init__(self, database: Database, objects: Spool, clock: Clock) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock

    def take(
        self, names: Collection[str], event_type_id: int, dataset: bytes, transfer_syntax_uid: str
    ) -> int:
        """Take the report of a peer that speaks for these destinations; return its status.

        A second report on one transaction changes nothing and is answered with success.
        """
        try:
            report = commitment.read_report(event_type_id, dataset, transfer_syntax_uid)
            unwanted = self._database.write(lambda c: _apply(c, names, report, self._clock()))
        except CommitmentRefused as error:
            self._refused(str(error), error.status)
            return error.status
        except UnavailableError as error:  # the peer may repeat its report
            self._refused(str(error), commitment.PROCESSING_FAILURE)
            return commitment.PROCESSING_FAILURE
        failpoints.reach("commitment.reported")
        for file_hash in unwanted:
            self._objects.remove(file_hash)
        log.info(
            "storage commitment reported",
            extra={
                "action": "event_report",
                "committed": len(report.committed),
                "failed": len(report.failed),
            },
        )
        return commitment.SUCCESS

    def _refused(self, reason: str, status: int) -> None:
        extra = {"action": "event_report", "status": f"0x{status:04X}", "reason": reason}
        log.warning("storage commitment report refused", extra=extra)


def _apply(
    connection: Connection, names: Collection[str], report: Report, now_us: int
) -> list[str]:
    """Move what a report names; return the names of files that nobody needs any more."""
    table = schema.commitments
    known = connection.execute(
        select(table.c.id).where(
            table.c.transaction_uid == report.transaction_uid, table.c.destination.in_(names)
        )
    ).first()
    if known is None:
        raise CommitmentRefused(
            "its transaction is none that this node began with its sender",
            commitment.INVALID_ARGUMENT,
        )
    waiting = {item.reference: item for item in asked_in(connection, report.transaction_uid)}
    kept = [waiting[reference] for reference in report.committed if reference in waiting]
    lost = [(waiting[reference], why) for reference, why in report.failed if reference in waiting]
    for item in kept:
        state, words = DeliveryState.DELIVERED, "stored and committed"
        move_delivery(connection, item.delivery_id, state, words, now_us, delivered_us=now_us)
    for item, why in lost:
        _fail(connection, item, why, now_us)
    studies = {item.study_id for item in (*kept, *(item for item, _ in lost))}
    return [name for study in studies for name in settle_and_release(connection, study, now_us)]


def _fail(connection: Connection, item: Stored, reason: int, now_us: int) -> None:
    """Send again what the peer does not commit to, or park it."""
    words = f"the peer does not commit to it: {commitment.reason_words(reason)}"
    if reason == commitment.DUPLICATE_TRANSACTION:  # it is asked again in its time
        table = schema.deliveries
        this = table.c.id == item.delivery_id
        connection.execute(update(table).where(this).values(detail=words))
        return
    resends = item.resends + 1
    verdict = RESEND.judge(Outcome.TRANSIENT, resends)
    if reason in _FOR_GOOD or verdict is Verdict.PARK:
        move_delivery(connection, item.delivery_id, DeliveryState.PARKED, words, now_us)
        return
    due = now_us + RESEND.wait_us(resends)
    state = DeliveryState.PENDING
    move_delivery(
        connection, item.delivery_id, state, words, now_us, attempts=0, resends=resends, due_us=due
    )


def trust_stored(connection: Connection, names: Collection[str], now_us: int) -> list[str]:
    """Let what waits for commitment of these destinations be delivered: nobody asks any more.

    Returns the names of files that nobody needs any more.
    """
    waiting = stored(connection, schema.deliveries.c.destination.in_(names))
    words = "stored; storage commitment is no longer asked for"
    for item in waiting:
        state = DeliveryState.DELIVERED
        move_delivery(connection, item.delivery_id, state, words, now_us, delivered_us=now_us)
    studies = {item.study_id for item in waiting}
    return [name for study in studies for name in settle_and_release(connection, study, now_us)]


def forget_answered(connection: Connection, before_us: int, most: int) -> int:
    """Delete requests of which nothing is waited for, made before a time; return how many."""
    table, links = schema.commitments, schema.commitment_deliveries
    waits = exists().where(links.c.commitment_id == table.c.id)
    over = select(table.c.id).where(table.c.asked_us < before_us, ~waits)
    oldest = over.order_by(table.c.id).limit(most)
    return connection.execute(delete(table).where(table.c.id.in_(oldest))).rowcount
