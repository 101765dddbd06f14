"""Telling another node what this one commits to, on an association of our own (PS3.4 J.3.3)."""

from collections.abc import Callable
from typing import Any

from pynetdicom.presentation import build_context, build_role

from dicom_io import commitment
from dicom_io.commitment import PUSH_MODEL_INSTANCE, Report
from dicom_io.errors import PeerError
from dicom_io.line import Line, Remote
from dicom_io.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, STORAGE_COMMITMENT


def tell(
    remote: Remote,
    report: Report,
    on_tick: Callable[[], None] = lambda: None,
    progress_timeout_s: float = 60,
) -> int:
    """Send a report by N-EVENT-REPORT; return the status of the answer.

    The node that requests an association is SCU by default, so the SCP's role is proposed.

    Raises
    ------
    PeerError
        There was no association or no answer, or the peer refused the service or the role.
    """
    talk = _Talk(report)
    context = build_context(STORAGE_COMMITMENT, [IMPLICIT_LITTLE, EXPLICIT_LITTLE])
    role = build_role(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
    line = Line(remote, [context], progress_timeout_s, roles=[role])
    line.run(talk.work, on_tick)
    if talk.status is None:
        why = line.trouble or talk.trouble or "it ended the association without an answer"
        raise PeerError(f"{remote} took no storage commitment report: {why}", transient=True)
    return talk.status


class _Talk:
    """The one message of an association."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.status: int | None = None
        self.trouble = ""

    def work(self, assoc: Any) -> None:
        """Send the report, where the peer lets us."""
        if not any(context.as_scp for context in assoc.accepted_contexts):
            self.trouble = "it does not take reports as SCU (role selection); set that up there"
            return
        ds = commitment.report_dataset(self._report)
        kind = commitment.event_type(self._report)
        try:
            answer, _ = assoc.send_n_event_report(ds, kind, STORAGE_COMMITMENT, PUSH_MODEL_INSTANCE)
        except RuntimeError:  # the association ended meanwhile
            return
        self.status = getattr(answer, "Status", None)
