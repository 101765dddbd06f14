"""Asking a destination to commit to what it has stored (PS3.4 J.3.2)."""

import logging
import threading
from collections.abc import Callable, Sequence
from itertools import groupby

from sqlalchemy import Connection, insert, select, update

from daemon import failpoints, schema
from daemon.bell import Bell
from daemon.clock import Clock
from daemon.commitment import Reports, Stored, asked_in, stored
from daemon.database import Database
from daemon.due import windows
from daemon.events import move_delivery
from daemon.lifecycle import DeliveryState
from daemon.pulse import Pulse
from daemon.rest import settle_study
from daemon.retry import RetryPolicy, Verdict
from dicom_io import commitment, commitment_scu
from dicom_io.commitment import Request
from dicom_io.commitment_scu import Answer, OnReport
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome, Remote

log = logging.getLogger(__name__)
_BATCH = 100  # instances asked about over one association
REPORT = RetryPolicy(first_s=600.0, longest_s=21_600.0, attempts=34)
"""How long a report is waited for: 10 minutes, doubling to 6 hours, about 7 days in all."""

Ask = Callable[
    [Remote, Sequence[Request], OnReport, Callable[[], bool], Callable[[], None]],
    Sequence[Answer],
]


class Asker:
    """Asks one destination; see `dicom_io.commitment_scu.ask` for the association.

    It waits a while for each report, so it has a thread of its own: what is to be sent meanwhile is
    sent. Whoever has stored something rings its `bell`.
    """

    def __init__(
        self,
        peer: Remote,
        database: Database,
        reports: Reports,
        clock: Clock,
        policy: RetryPolicy = REPORT,
        ask: Ask = commitment_scu.ask,
    ) -> None:
        self._peer = peer
        self._database = database
        self._reports = reports
        self._clock = clock
        self._policy = policy
        self._ask = ask
        self.bell = Bell()

    def ask_due(self, alive: Callable[[], None] = lambda: None) -> int:
        """Ask about one batch of what is due; return the number of requests.

        One request holds what one version of a study has there. Its rows are committed before it
        goes out: a crash leaves a request that is repeated, or whose report is known.
        """
        with self._database.read() as connection:
            if not self._due(connection):
                return 0
        requests = self._database.write(self._begin)
        if not requests:
            return 0
        failpoints.reach("commitment.recorded")
        uids = [request.transaction_uid for request in requests]
        try:
            answers = self._ask(
                self._peer, requests, self._take, lambda: self._all_heard(uids), alive
            )
        except PeerError as error:
            gone = not error.transient
            answers = [Answer(uid, False, gone, None, str(error)) for uid in uids]
        failpoints.reach("commitment.answered")
        for answer in answers:
            self._settle(answer)
        return len(requests)

    def run(
        self,
        stopping: threading.Event,
        pulse: Pulse,
        poll_s: float = 1.0,
        mine: Callable[[], bool] = lambda: True,
    ) -> None:
        """Ask until `stopping` is set, as long as it is this process that does: `mine`."""
        while not stopping.is_set():
            pulse()
            if not mine() or not self.ask_due(pulse):
                self.bell.wait(poll_s)

    def _take(self, event_type_id: int, dataset: bytes, transfer_syntax_uid: str) -> int:
        names = [self._peer.name]
        return self._reports.take(names, event_type_id, dataset, transfer_syntax_uid)

    def _all_heard(self, transaction_uids: Sequence[str]) -> bool:
        with self._database.read() as connection:
            return not any(asked_in(connection, uid) for uid in transaction_uids)

    def _due(self, connection: Connection) -> Sequence[Stored]:
        table, now = schema.deliveries, self._clock()
        farthest = now + 2 * self._policy.wait_us(self._policy.attempts)
        mine = (table.c.destination == self._peer.name) & (table.c.state == DeliveryState.STORED)
        oldest = select(table.c.id).where(mine).order_by(table.c.due_us).limit(_BATCH)
        for window in windows(table.c.due_us, now, farthest):
            if due := stored(connection, table.c.id.in_(oldest.where(window))):
                return due
        return []

    def _begin(self, connection: Connection) -> list[Request]:
        """Write a request for each analysis that is due; park what was asked too often."""
        requests = []
        for _, group in groupby(self._due(connection), lambda item: item.analysis_id):
            asked = []
            for item in group:
                if self._policy.judge(Outcome.TRANSIENT, item.attempts) is Verdict.PARK:
                    why = item.detail or "no report came"
                    words = f"not committed after {item.attempts} requests: {why}"
                    self._park(connection, item, words)
                else:
                    asked.append(item)
            if asked:
                requests.append(self._request(connection, asked))
        return requests

    def _park(self, connection: Connection, item: Stored, words: str) -> None:
        now = self._clock()
        move_delivery(connection, item.delivery_id, DeliveryState.PARKED, words, now)
        settle_study(connection, item.study_id, now)

    def _request(self, connection: Connection, asked: Sequence[Stored]) -> Request:
        now, uid = self._clock(), commitment.new_transaction_uid()
        values = {"transaction_uid": uid, "destination": self._peer.name, "asked_us": now}
        result = connection.execute(insert(schema.commitments).values(**values))
        table, key = schema.deliveries, result.inserted_primary_key[0]  # type: ignore[index]
        for item in asked:
            link = {"commitment_id": key, "delivery_id": item.delivery_id}
            connection.execute(insert(schema.commitment_deliveries).values(**link))
            attempts = item.attempts + 1
            due = now + self._policy.wait_us(attempts)
            connection.execute(
                update(table)
                .where(table.c.id == item.delivery_id)
                .values(attempts=attempts, due_us=due)
            )
        return Request(uid, tuple(item.reference for item in asked))

    def _settle(self, answer: Answer) -> None:
        self._database.write(lambda c: self._note(c, answer))
        log.log(
            logging.INFO if answer.accepted else logging.WARNING,
            "storage commitment asked for",
            extra={
                "action": "commitment",
                "destination": self._peer.name,
                "outcome": "accepted" if answer.accepted else "refused",
                "reason": answer.detail,
            },
        )

    def _note(self, connection: Connection, answer: Answer) -> None:
        """Record an answer with what still waits: a report may have come before it.

        Without an answer the request may have arrived nevertheless, so its report stays welcome.
        """
        table = schema.deliveries
        for item in asked_in(connection, answer.transaction_uid):
            if answer.permanent:
                self._park(connection, item, answer.detail)
            else:
                this = table.c.id == item.delivery_id
                detail = "" if answer.accepted else answer.detail
                connection.execute(update(table).where(this).values(detail=detail))
