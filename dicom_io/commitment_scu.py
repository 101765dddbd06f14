"""Asking another node to commit (PS3.4 J.3.2), and hearing its report on the same association."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pynetdicom import evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.presentation import build_context

from dicom_io import commitment
from dicom_io.commitment import PUSH_MODEL_INSTANCE, REQUEST, Request
from dicom_io.errors import PeerError
from dicom_io.line import Line, Remote
from dicom_io.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, STORAGE_COMMITMENT

LINGER_S: Final = 5.0  # that the association is kept open for the reports
_TICK_S = 0.05
# N-ACTION statuses after which the same request makes no sense (PS3.7 10.1.4.1.10): no such class,
# class and instance conflict, class not supported, no such action, not authorised, unrecognised
_FOR_GOOD = frozenset((0x0118, 0x0119, 0x0122, 0x0123, 0x0124, 0x0211))

OnReport = Callable[[int, bytes, str], int]
"""Takes Event Type ID, Event Information and its transfer syntax; returns the status."""


@dataclass(frozen=True)
class Answer:
    """What became of one request."""

    transaction_uid: str
    accepted: bool  # a report will follow
    permanent: bool  # asking again does not help
    status: int | None  # N-ACTION status; None: there was no answer
    detail: str  # one line for the administrator


def ask(
    remote: Remote,
    requests: Sequence[Request],
    on_report: OnReport,
    done: Callable[[], bool] = lambda: False,
    on_tick: Callable[[], None] = lambda: None,
    progress_timeout_s: float = 60,
    linger_s: float = LINGER_S,
) -> list[Answer]:
    """Send requests over one association; every one has an answer, in their order.

    After the last one the association stays open for `linger_s`, or until `done` says that every
    report is there, whichever way it came. `on_report` is called from a thread of its own, also
    before this returns and before a request has its answer (PS3.4 J.3.3).

    Raises
    ------
    PeerError
        There was no association, or the peer does not offer the service.
    """
    talk = _Talk(requests, on_report, done, linger_s)
    context = build_context(STORAGE_COMMITMENT, [IMPLICIT_LITTLE, EXPLICIT_LITTLE])
    handlers = [(evt.EVT_N_EVENT_REPORT, talk.report), (evt.EVT_DIMSE_SENT, talk.sent)]
    line = Line(remote, [context], progress_timeout_s, handlers)
    line.run(talk.work, on_tick)
    if not talk.offered and not line.trouble:
        raise PeerError(
            f"{remote} does not offer storage commitment; "
            "set it up there, or storage_commitment = false here",
            transient=False,
        )
    why = line.trouble or "the peer ended the association without an answer"
    return talk.answers(why)


class _Talk:
    """The messages of one association."""

    def __init__(
        self,
        requests: Sequence[Request],
        on_report: OnReport,
        done: Callable[[], bool],
        linger_s: float,
    ) -> None:
        self._requests = requests
        self._on_report = on_report
        self._done = done
        self._linger_s = linger_s
        self._statuses: dict[str, int] = {}  # by transaction
        self._owed = 0  # reports that are here, and have no answer yet
        self._lock = threading.Lock()
        self.offered = False

    def work(self, assoc: Any) -> None:
        """Send every request, then wait for reports."""
        self.offered = bool(assoc.accepted_contexts)
        for number, request in enumerate(self._requests if self.offered else (), 1):
            status = _send(assoc, request, number)
            if status is None:
                return
            self._statuses[request.transaction_uid] = status
        if commitment.SUCCESS in self._statuses.values():
            self._wait(assoc)

    def _wait(self, assoc: Any) -> None:
        deadline = time.monotonic() + self._linger_s
        while assoc.is_established and time.monotonic() < deadline:
            ending = not self._owed and self._done()
            time.sleep(_TICK_S)  # an answer is counted a moment before it is on its way
            if ending:
                return

    def report(self, event: Any) -> tuple[int, None]:
        """Hand a report on; pynetdicom calls this in a thread, and answers with the status."""
        with self._lock:
            self._owed += 1
        information = event.request.EventInformation
        data = information.getvalue() if information is not None else b""
        return self._on_report(
            event.event_type or 0, data, str(event.context.transfer_syntax)
        ), None

    def sent(self, event: Any) -> None:
        """Count the answer to a report: a release may follow it."""
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            with self._lock:
                self._owed -= 1

    def answers(self, why: str) -> list[Answer]:
        """Return the answers; a request without one says `why`."""
        return [_answer(r.transaction_uid, self._statuses, why) for r in self._requests]


def _answer(transaction_uid: str, statuses: dict[str, int], why: str) -> Answer:
    status = statuses.get(transaction_uid)
    if status is None:
        return Answer(transaction_uid, False, False, None, why)
    if status == commitment.SUCCESS:
        return Answer(transaction_uid, True, False, status, "asked to commit")
    words = f"the peer refused to be asked for storage commitment (0x{status:04X})"
    return Answer(transaction_uid, False, status in _FOR_GOOD, status, words)


def _send(assoc: Any, request: Request, message_id: int) -> int | None:
    """Send one N-ACTION; None if there was no answer."""
    ds = commitment.request_dataset(request)
    try:
        answer, _ = assoc.send_n_action(
            ds, REQUEST, STORAGE_COMMITMENT, PUSH_MODEL_INSTANCE, msg_id=message_id
        )
    except RuntimeError:  # the association ended meanwhile
        return None
    status = getattr(answer, "Status", None)
    return None if status is None else int(status)
