"""Storage commitment to modalities: requests, and what is true of the files they name (PS3.4 J).

A request is a row before it is answered, and its result before anybody hears it: a crash loses
neither. An instance is committed when its file has been read again and has the hash that names it;
from then on it must not be purged (`instances.committed_us`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, insert, select, update

from daemon import failpoints, integrity, schema
from daemon.callers import Callers
from daemon.clock import Clock, seconds
from daemon.database import Database
from daemon.errors import UnavailableError
from daemon.events import CONFLICT
from daemon.lifecycle import FileState
from daemon.spool import Spool
from dicom_io import commitment
from dicom_io.acceptor import EventReport, Peer
from dicom_io.commitment import Reference, Report, Request
from dicom_io.errors import CommitmentRefused

log = logging.getLogger(__name__)
NOT_AUTHORISED = 0x0124  # PS3.7 annex C, Refused: Not Authorized
HERE_FIRST_S = 10.0
"""How long a result is kept for the association that asked, before we call back ourselves."""
_PIECE = 1 << 20  # bytes read at once


class Custody:
    """What the acceptor asks (`dicom_io.acceptor.CommitmentProvider`), and a look at the files."""

    def __init__(self, callers: Callers, database: Database, spool: Spool, clock: Clock) -> None:
        self._callers = callers
        self._database = database
        self._spool = spool
        self._clock = clock

    def request(
        self, peer: Peer, action_type_id: int, dataset: bytes, transfer_syntax_uid: str
    ) -> tuple[int, int | None]:
        """Record a request; return the status of the N-ACTION, and the request's number."""
        if not self._callers.may_push(peer):
            return NOT_AUTHORISED, None
        try:
            asked = commitment.read_request(action_type_id, dataset, transfer_syntax_uid)
            number = self._database.write(lambda c: _record(c, peer, asked, self._clock()))
        except CommitmentRefused as error:
            self._refused(str(error))
            return error.status, None
        except UnavailableError as error:
            self._refused(str(error))
            return commitment.PROCESSING_FAILURE, None
        failpoints.reach("custody.recorded")
        extra = {"action": "commitment_request", "instances": len(asked.references)}
        log.info("storage commitment requested", extra=extra)
        return commitment.SUCCESS, number

    def _refused(self, reason: str) -> None:
        extra = {"action": "commitment_request", "reason": reason}
        log.warning("storage commitment request refused", extra=extra)

    def result(self, number: int, transfer_syntax_uid: str) -> EventReport | None:
        """Return the result of a request for the association that asked."""
        table = schema.commitment_requests
        with self._database.read() as connection:
            ready = connection.execute(
                select(table.c.id).where(
                    table.c.id == number,
                    table.c.verified_us.is_not(None),
                    table.c.ended_us.is_(None),
                    table.c.attempts == 0,  # else we call back, or have done so
                )
            ).first()
            if ready is None:
                return None
            found = report(connection, number)
        data = commitment.encoded(commitment.report_dataset(found), transfer_syntax_uid)
        return EventReport(commitment.event_type(found), data)

    def heard(self, number: int, status: int) -> None:
        """Take the answer of the association that asked; one that failed is told again."""
        failpoints.reach("custody.told")
        try:
            self._database.write(lambda c: note_answer(c, number, status, self._clock()))
        except UnavailableError as error:  # it is told again
            log.warning("answer not noted", extra={"action": "commitment", "reason": str(error)})

    def verify_next(self, alive: Callable[[], None] = lambda: None) -> bool:
        """Look at the files of the oldest request that waits for it; tell whether there was one."""
        table = schema.commitment_requests
        with self._database.read() as connection:
            number = connection.execute(
                select(table.c.id)
                .where(table.c.verified_us.is_(None), table.c.ended_us.is_(None))
                .order_by(table.c.due_us, table.c.id)
                .limit(1)
            ).scalar()
            named = [] if number is None else _named(connection, number)
        if number is None:
            return False
        found = [(item, self._look(item, alive)) for item in named]
        self._database.write(lambda c: _verdict(c, number, found, self._spool, self._clock()))
        failpoints.reach("custody.verified")
        return True

    def _look(self, item: "_Named", alive: Callable[[], None]) -> int:
        """Return what keeps us from committing, as a Failure Reason; 0: nothing."""
        if item.instance_id is None:
            return commitment.NO_SUCH_INSTANCE
        if item.kept_class != item.reference.sop_class_uid:
            return commitment.CLASS_INSTANCE_CONFLICT
        if item.disputed:  # what its sender would forget may be other bytes than those kept
            return commitment.PROCESSING_FAILURE
        path = self._spool.path(item.instance_hash)
        try:
            whole = not integrity.fault(path, item.instance_hash, integrity.instance_digest)
        except OSError:
            whole = False
        alive()
        if not whole:
            extra = {"action": "damaged", "instance": item.instance_id}
            log.error("a spooled file is damaged or gone; restore it from a backup", extra=extra)
        return 0 if whole else commitment.PROCESSING_FAILURE


@dataclass(frozen=True)
class _Named:
    """An instance that a request names, and what is known under its UID."""

    ordinal: int
    reference: Reference
    instance_id: int | None  # None: it is not known
    instance_hash: str
    kept_class: str
    disputed: bool  # other content came under its UID


def _record(connection: Connection, peer: Peer, asked: Request, now_us: int) -> int:
    """Write a request; the same one again is looked at, and told, again."""
    table = schema.commitment_requests
    same = (table.c.source_ae == peer.calling_ae) & (
        table.c.transaction_uid == asked.transaction_uid
    )
    number: int | None = connection.execute(select(table.c.id).where(same)).scalar()
    values: dict[str, Any] = {"address": peer.address, "asked_us": now_us, "due_us": now_us}
    if number is not None:
        if _references(connection, number) != list(asked.references):
            words = "its transaction was used for another request"
            raise CommitmentRefused(words, commitment.INVALID_ARGUMENT)
        anew = {"verified_us": None, "ended_us": None, "attempts": 0, "detail": ""}
        connection.execute(update(table).where(table.c.id == number).values(**values, **anew))
        return number
    who = {"source_ae": peer.calling_ae, "transaction_uid": asked.transaction_uid}
    result = connection.execute(insert(table).values(**values, **who))
    number = int(result.inserted_primary_key[0])  # type: ignore[index]
    rows = [
        {
            "request_id": number,
            "ordinal": ordinal,
            "sop_class_uid": reference.sop_class_uid,
            "sop_instance_uid": reference.sop_instance_uid,
        }
        for ordinal, reference in enumerate(asked.references)
    ]
    connection.execute(insert(schema.commitment_references), rows)
    return number


def _references(connection: Connection, number: int) -> list[Reference]:
    return [item.reference for item in _named(connection, number)]


def _named(connection: Connection, number: int) -> list[_Named]:
    table, kept, events = schema.commitment_references, schema.instances, schema.events
    disputed = exists().where(
        events.c.study_id == kept.c.study_id,  # for its index
        events.c.entity == "instance",
        events.c.entity_id == kept.c.id,
        events.c.action == CONFLICT,
    )
    rows = connection.execute(
        select(
            table.c.ordinal,
            table.c.sop_class_uid,
            table.c.sop_instance_uid,
            kept.c.id,
            kept.c.instance_hash,
            kept.c.sop_class_uid,
            disputed,
        )
        .join(
            kept,
            (kept.c.sop_instance_uid == table.c.sop_instance_uid) & (kept.c.file == FileState.KEPT),
            isouter=True,
        )
        .where(table.c.request_id == number)
        .order_by(table.c.ordinal)
    )
    return [
        _Named(row[0], Reference(row[1], row[2]), row[3], row[4] or "", row[5] or "", bool(row[6]))
        for row in rows
    ]


def _verdict(
    connection: Connection,
    number: int,
    found: Sequence[tuple[_Named, int]],
    spool: Spool,
    now_us: int,
) -> None:
    """Commit to what is whole, and write the result: nobody has heard it before it is durable."""
    table = schema.commitment_references
    for item, seen in found:
        failure = seen or _commit(connection, item, spool, now_us)
        this = (table.c.request_id == number) & (table.c.ordinal == item.ordinal)
        connection.execute(update(table).where(this).values(failure=failure))
    due = now_us + seconds(HERE_FIRST_S)
    requests = schema.commitment_requests
    values = {"verified_us": now_us, "due_us": due}
    connection.execute(update(requests).where(requests.c.id == number).values(**values))


def _commit(connection: Connection, item: _Named, spool: Spool, now_us: int) -> int:
    """Commit to an instance, unless it went since its file was read; return the Failure Reason."""
    kept = schema.instances
    here = (
        (kept.c.id == item.instance_id)
        & (kept.c.instance_hash == item.instance_hash)
        & (kept.c.file == FileState.KEPT)
    )
    changed = connection.execute(update(kept).where(here).values(committed_us=now_us))
    if changed.rowcount and spool.holds(item.instance_hash):
        return 0
    connection.execute(update(kept).where(here).values(committed_us=None))
    return commitment.NO_SUCH_INSTANCE


def report(connection: Connection, number: int) -> Report:
    """Return the result of a request that was looked at."""
    table, requests = schema.commitment_references, schema.commitment_requests
    uid: str = connection.execute(
        select(requests.c.transaction_uid).where(requests.c.id == number)
    ).scalar_one()
    rows = connection.execute(
        select(table.c.sop_class_uid, table.c.sop_instance_uid, table.c.failure)
        .where(table.c.request_id == number)
        .order_by(table.c.ordinal)
    ).all()
    named = [(Reference(row[0], row[1]), row[2]) for row in rows]
    return Report(
        uid,
        tuple(reference for reference, failure in named if failure == 0),
        tuple((reference, int(failure)) for reference, failure in named if failure),
    )


def note_answer(connection: Connection, number: int, status: int, now_us: int) -> None:
    """Record the peer's answer to a result: with success the request has ended."""
    detail = "the result was heard" if status == commitment.SUCCESS else f"0x{status:04X}"
    end(connection, number, detail, now_us if status == commitment.SUCCESS else None)


def end(connection: Connection, number: int, detail: str, ended_us: int | None) -> None:
    """Record how it stands with a result; `ended_us` says that nobody has to tell it any more."""
    table = schema.commitment_requests
    values = {"detail": detail, "ended_us": ended_us}
    connection.execute(update(table).where(table.c.id == number).values(**values))
