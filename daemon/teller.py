"""Calling modalities back with the results of their requests for storage commitment."""

import logging
import ssl
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, or_, select, update

from daemon import failpoints, schema
from daemon.callers import Callers
from daemon.clock import Clock
from daemon.config_source import Source
from daemon.custody import Custody, end, note_answer, report
from daemon.database import Database
from daemon.pulse import Pulse
from daemon.retry import RetryPolicy, Verdict
from dicom_io import commitment, commitment_scp
from dicom_io.commitment import Report
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome, Remote

log = logging.getLogger(__name__)
Tell = Callable[[Remote, Report, Callable[[], None]], int]


class Teller:
    """Works the requests: has their files looked at, and tells what nobody has heard.

    Parameters
    ----------
    tls
        What modalities are called in; None: plain DICOM.
    """

    def __init__(
        self,
        own_ae: str,
        callers: Callers,
        custody: Custody,
        database: Database,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        policy: RetryPolicy | None = None,
        tell: Tell = commitment_scp.tell,
    ) -> None:
        self._own_ae = own_ae
        self._callers = callers
        self._custody = custody
        self._database = database
        self._clock = clock
        self._tls = tls
        self._policy = policy or RetryPolicy()
        self._tell = tell

    def run(
        self,
        stopping: threading.Event,
        pulse: Pulse,
        poll_s: float = 0.2,
        mine: Callable[[], bool] = lambda: True,
    ) -> None:
        """Work until `stopping` is set, as long as it is this process that does: `mine`."""
        while not stopping.is_set():
            pulse()
            if not mine() or not (self._custody.verify_next(pulse) or self.tell_next(pulse)):
                stopping.wait(poll_s)

    def tell_next(self, alive: Callable[[], None] = lambda: None) -> bool:
        """Tell one result that is due; tell whether there was one."""
        with self._database.read() as connection:
            due = self._due(connection)
            said = None if due is None else report(connection, due.id)
        if due is None or said is None:
            return False
        source = self._callers.listed(due.source_ae, due.address)
        if source is None or source.port is None:
            words = "nobody heard the result: set sources.port, or let the modality keep its line"
            self._end(due, words)
            return True
        attempts = due.attempts + 1
        self._database.write(lambda c: self._claim(c, due.id, attempts))
        peer = self._remote(due, source, source.port)
        try:
            status = self._tell(peer, said, alive)
            failpoints.reach("custody.told")
            detail = f"it answered 0x{status:04X}"
            self._database.write(lambda c: note_answer(c, due.id, status, self._clock()))
        except PeerError as error:
            status, detail = None, str(error)
        if status != commitment.SUCCESS and (
            self._policy.judge(Outcome.TRANSIENT, attempts) is Verdict.PARK
        ):
            self._end(due, f"given up after {attempts} attempts: {detail}")
        log.log(
            logging.INFO if status == commitment.SUCCESS else logging.WARNING,
            "storage commitment told",
            extra={"action": "commitment_told", "source": due.source_ae, "reason": detail},
        )
        return True

    def _due(self, connection: Connection) -> Any:
        table, now = schema.commitment_requests, self._clock()
        farthest = now + 2 * self._policy.wait_us(self._policy.attempts)
        return connection.execute(
            select(table.c.id, table.c.source_ae, table.c.address, table.c.attempts)
            .where(
                table.c.ended_us.is_(None),
                table.c.verified_us.is_not(None),
                or_(table.c.due_us <= now, table.c.due_us > farthest),
            )
            .order_by(table.c.due_us, table.c.id)
            .limit(1)
        ).first()

    def _remote(self, due: Any, source: Source, port: int) -> Remote:
        where = due.source_ae, due.address, port
        return Remote("modality", *where, self._own_ae, self._tls, source.certificate_name)

    def _claim(self, connection: Connection, number: int, attempts: int) -> None:
        """Count an attempt before it is made, and say when the next is due."""
        table, now = schema.commitment_requests, self._clock()
        values = {"attempts": attempts, "due_us": now + self._policy.wait_us(attempts)}
        connection.execute(update(table).where(table.c.id == number).values(**values))

    def _end(self, due: Any, words: str) -> None:
        self._database.write(lambda c: end(c, due.id, words, self._clock()))
        extra = {"action": "commitment_told", "source": due.source_ae, "reason": words}
        log.warning("storage commitment not told", extra=extra)
