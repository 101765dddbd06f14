"""Deliveries: one thread per destination works its rows, so that a dead PACS holds nobody up.

What is sent is always the bytes that were stored when the object was built.
"""

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select, update

from daemon import failpoints, fallback, integrity, schema, ways
from daemon.asker import Asker
from daemon.audit_notes import Notes
from daemon.bell import Bell
from daemon.clock import Clock
from daemon.database import Database
from daemon.due import windows
from daemon.errors import LostTurn, UnavailableError
from daemon.events import move_delivery
from daemon.lifecycle import DeliveryState, FileState
from daemon.pulse import Pulse
from daemon.rest import settle_and_release
from daemon.retry import RetryPolicy, Verdict
from daemon.spool import Spool
from daemon.ways import Receiver
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome, StoreResult

log = logging.getLogger(__name__)
_BATCH = 100  # objects of one association
Send = Callable[
    [Receiver, Sequence[Path], Callable[[StoreResult], None], Callable[[], None]], object
]


@dataclass(frozen=True)
class Due:
    """A delivery whose time has come."""

    delivery_id: int
    study_id: int
    attempts: int  # made so far
    file_hash: str
    study_uid: str = ""  # what follows is for the audit trail
    patient_key: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


class Deliverer:
    """Works the deliveries of one destination.

    With an `asker` the destination is asked to commit to what it has stored, and only then is a
    delivery delivered. Whoever queues deliveries rings the `bell`.
    """

    def __init__(
        self,
        peer: Receiver,
        database: Database,
        objects: Spool,
        clock: Clock,
        policy: RetryPolicy | None = None,
        send: Send = ways.send,
        notes: Notes | None = None,
        asker: Asker | None = None,
        bell: Bell | None = None,
    ) -> None:
        self._bell = bell or Bell()
        self._notes = notes or Notes()
        self._peer = peer
        self._database = database
        self._objects = objects
        self._clock = clock
        self._policy = policy or RetryPolicy()
        self._send = send
        self._asker = asker
        self._suspects: set[int] = set()  # failed within an association, this one or before

    def deliver_due(
        self,
        alive: Callable[[], None] = lambda: None,
        mine: Callable[[], bool] = lambda: True,
    ) -> int:
        """Send one batch of what is due; return how many were tried.

        `alive` is called all the while: a slow PACS is not a stuck thread. A batch ends after the
        object at hand once it is not this process any more that sends: `mine`.
        """
        due = batch(self._due(), self._suspects)
        if not due:
            return 0
        by_path: dict[Path, Due] = {}
        for item in due:
            alive()
            if self._whole(item):
                by_path[self._objects.path(item.file_hash)] = item
        failpoints.reach("deliver.due")
        if by_path and mine():
            try:
                self._send_all(by_path, alive, mine)
            except LostTurn as error:
                extra = {"action": "turn_lost", "destination": self._peer.name}
                log.warning("%s", error, extra=extra)
        return len(due)

    def _send_all(
        self, by_path: dict[Path, Due], alive: Callable[[], None], mine: Callable[[], bool]
    ) -> None:
        """Send files and record the answers; raise `LostTurn` where somebody else sends now."""
        settled: set[int] = set()

        def on_result(result: StoreResult) -> None:
            item = by_path[result.path]
            settled.add(item.delivery_id)
            if result.outcome is Outcome.TRANSIENT:
                self._suspects.add(item.delivery_id)
            else:
                self._suspects.discard(item.delivery_id)
            failpoints.reach("deliver.answered")
            self._settle(item, result.outcome, result.status, result.detail)
            if not mine():
                raise LostTurn(f"another process sends to {self._peer.name} now")

        try:
            self._send(self._peer, list(by_path), on_result, alive)
        except PeerError as error:
            outcome = Outcome.TRANSIENT if error.transient else Outcome.PERMANENT
            for item in by_path.values():
                if item.delivery_id not in settled:
                    self._settle(item, outcome, None, str(error))

    def _due(self) -> list[Due]:
        table, objects, analyses = schema.deliveries, schema.objects, schema.analyses
        studies, instances = schema.studies, schema.instances
        patient = select(func.max(instances.c.patient_key)).where(
            instances.c.study_id == analyses.c.study_id
        )
        now = self._clock()
        farthest = now + 2 * self._policy.wait_us(self._policy.attempts)
        query = (
            select(
                table.c.id,
                analyses.c.study_id,
                table.c.attempts,
                objects.c.file_hash,
                studies.c.study_uid,
                patient.scalar_subquery(),
                objects.c.sop_class_uid,
                objects.c.sop_instance_uid,
            )
            .join(objects, objects.c.id == table.c.object_id)
            .join(analyses, analyses.c.id == objects.c.analysis_id)
            .join(studies, studies.c.id == analyses.c.study_id)
            .where(
                table.c.destination == self._peer.name,
                table.c.state == DeliveryState.PENDING,
            )
            .order_by(table.c.due_us, table.c.id)
            .limit(_BATCH)
        )
        with self._database.read() as connection:
            for window in windows(table.c.due_us, now, farthest):
                if rows := connection.execute(query.where(window)).all():
                    return [Due(*row) for row in rows]
        return []

    def _whole(self, item: Due) -> bool:
        """Tell whether an object's file is what was built; what is not is set aside unsent."""
        path = self._objects.path(item.file_hash)
        try:
            what = integrity.fault(path, item.file_hash, integrity.object_digest)
        except OSError as error:
            words = f"not sent: its stored file cannot be read ({error.strerror})"
            self._settle(item, Outcome.TRANSIENT, None, words, sent=False)
            return False
        if what:
            self._objects.require()
            words = f"not sent: its stored file is {what}; axnode retry makes a new version"
            self._database.write(lambda c: _lose(c, item))
            self._settle(item, Outcome.PERMANENT, None, words, sent=False)
        return not what

    def _settle(
        self,
        item: Due,
        outcome: Outcome,
        status: int | None,
        detail: str,
        *,
        sent: bool = True,
    ) -> None:
        unwanted = self._database.write(lambda c: self._apply(c, item, outcome, status, detail))
        failpoints.reach("deliver.released" if unwanted else "deliver.settled")
        for file_hash in unwanted:
            self._objects.remove(file_hash)
        instance = item.sop_class_uid, item.sop_instance_uid
        if sent:
            about = item.study_uid, item.patient_key, instance
            self._notes.sent(self._peer, *about, outcome, detail)
        log.log(
            logging.INFO if outcome is Outcome.STORED else logging.WARNING,
            "delivery attempted",
            extra={
                "action": "deliver",
                "delivery": item.delivery_id,
                "destination": self._peer.name,
                "outcome": outcome.value,
                "reason": detail,
            },
        )

    def _apply(
        self, connection: Connection, item: Due, outcome: Outcome, status: int | None, detail: str
    ) -> list[str]:
        """Record an answer; return the names of files that nobody needs any more."""
        now = self._clock()
        attempts = item.attempts + 1
        table = schema.deliveries
        mine = table.c.id == item.delivery_id
        state = connection.execute(select(table.c.state).where(mine)).scalar_one()
        if state in (DeliveryState.DELIVERED, DeliveryState.STORED):
            return []  # another node has sent it meanwhile
        if state != DeliveryState.PENDING:  # a person set it aside while it was on its way
            words = f"{detail}; it was set aside meanwhile"
            connection.execute(update(table).where(mine).values(detail=words, status=status))
            return []
        verdict = self._policy.judge(outcome, attempts)
        values = {"attempts": attempts, "status": status}
        if verdict is Verdict.AGAIN:
            connection.execute(
                update(schema.deliveries)
                .where(schema.deliveries.c.id == item.delivery_id)
                .values(detail=detail, due_us=now + self._policy.wait_us(attempts), **values)
            )
            return []
        when = None
        if verdict is Verdict.DELIVERED and self._asker is not None:
            # from here on attempts count requests, of which the first is due at once
            state, values = DeliveryState.STORED, {"attempts": 0, "status": status, "due_us": now}
        elif verdict is Verdict.DELIVERED:
            state, when = DeliveryState.DELIVERED, now
        elif outcome is Outcome.UNSUPPORTED and fallback.stands_in(
            connection, item.delivery_id, now
        ):
            state = DeliveryState.REPLACED
        else:
            state = DeliveryState.PARKED
        move_delivery(connection, item.delivery_id, state, detail, now, delivered_us=when, **values)
        return settle_and_release(connection, item.study_id, now)

    def run(
        self,
        stopping: threading.Event,
        pulse: Pulse,
        poll_s: float = 0.2,
        mine: Callable[[], bool] = lambda: True,
    ) -> None:
        """Deliver until `stopping` is set, as long as it is this process that does: `mine`."""

        def alive() -> None:
            pulse()
            with suppress(UnavailableError):  # what cannot be held on to now may be later
                mine()  # a batch, or one object, may take longer than a turn is held

        while not stopping.is_set():
            pulse()
            worked = self.deliver_due(alive, mine) if mine() else 0
            if (
                worked and self._asker is not None
            ):  # the batch is over: it asks for all of a version
                self._asker.bell.ring()
            if not worked:
                self._bell.wait(poll_s)


def batch(due: Sequence[Due], suspects: Collection[int]) -> list[Due]:
    """Return what goes over one association: suspects go alone, when nothing else is due.

    An object at which a PACS aborts must not take the rest of its batch down every time.
    """
    return [item for item in due if item.delivery_id not in suspects] or list(due[:1])


def _lose(connection: Connection, item: Due) -> None:
    """Note that an object's bytes are gone: they are never rebuilt under its UIDs."""
    objects, deliveries = schema.objects, schema.deliveries
    owner = select(deliveries.c.object_id).where(deliveries.c.id == item.delivery_id)
    connection.execute(
        update(objects).where(objects.c.id == owner.scalar_subquery()).values(file=FileState.LOST)
    )
