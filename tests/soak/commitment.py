"""Storage commitment on both sides of a node under attack: peers that insist."""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, build_role, evt

from dicom_io.commitment import (
    ALL_COMMITTED,
    PUSH_MODEL_INSTANCE,
    Reference,
    Request,
    read_report,
)
from dicom_io.commitment_scu import ask
from dicom_io.errors import PeerError
from dicom_io.scu import Remote
from dicom_io.syntaxes import STORAGE_COMMITMENT as COMMITMENT
from tests.builders_wire import US_IMAGE
from tests.peers import free_port

_PAUSE_S = 0.3


class Insisting(threading.Thread):
    """Offers each thing again and again, until it is taken."""

    def __init__(self, name: str, offer: Callable[[Any], bool]) -> None:
        super().__init__(name=name, daemon=True)
        self._offer = offer
        self._queue: queue.Queue[Any] = queue.Queue()
        self._end = threading.Event()
        self.start()

    def put(self, thing: Any) -> None:
        """Queue a thing."""
        self._queue.put(thing)

    @property
    def idle(self) -> bool:
        """Whether everything was taken."""
        return self._queue.unfinished_tasks == 0

    def close(self) -> None:
        """End."""
        self._end.set()
        self.join(90)

    def run(self) -> None:
        """Work until the end."""
        waiting: list[Any] = []
        while not self._end.wait(_PAUSE_S):
            while not self._queue.empty():
                waiting.append(self._queue.get())
            left = [thing for thing in waiting if not self._offer(thing)]
            for _ in range(len(waiting) - len(left)):
                self._queue.task_done()
            waiting = left


def _titled(calling_ae: str) -> AE:
    ae = AE(calling_ae)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 20
    return ae


class Reporter:
    """What a PACS that commits does: reports on each request until it hears success.

    Every other report comes on the association that asked, as long as that stands.
    """

    def __init__(self, calling_ae: str, holds: Callable[[str], bool]) -> None:
        self.node_port = 0
        self.requests = 0
        self.faults: list[str] = []  # what it was asked about, and never got
        self._calling_ae = calling_ae
        self._holds = holds
        self._insisting = Insisting("reporter", self._report)

    @property
    def idle(self) -> bool:
        """Whether every report was heard."""
        return self._insisting.idle

    def close(self) -> None:
        """End."""
        self._insisting.close()

    def asked(self, event: Any) -> tuple[int, None]:
        """Answer an N-ACTION, and report later."""
        request = event.action_information
        references = list(request.ReferencedSOPSequence)
        uids = [str(item.ReferencedSOPInstanceUID) for item in references]
        self.faults += [uid for uid in uids if not self._holds(uid)]
        self.requests += 1
        report = Dataset()
        report.TransactionUID, report.ReferencedSOPSequence = request.TransactionUID, references
        self._insisting.put([report, event.assoc if self.requests % 2 else None])
        return 0x0000, None

    def _report(self, thing: list[Any]) -> bool:
        (report, here), thing[1] = thing, None
        if here is not None and here.is_established:
            return _heard(here, report)
        contexts = [build_context(COMMITMENT)]
        roles = [build_role(COMMITMENT, scu_role=False, scp_role=True)]
        assoc = _titled(self._calling_ae).associate(
            "127.0.0.1", self.node_port, contexts=contexts, ext_neg=roles, ae_title="AXNODE"
        )
        try:
            return bool(assoc.is_established) and _heard(assoc, report)
        finally:
            assoc.abort()  # a release of pynetdicom may wait for ever where the node dies


def _heard(assoc: Any, report: Dataset) -> bool:
    try:
        arguments = (report, ALL_COMMITTED, COMMITMENT, PUSH_MODEL_INSTANCE)
        status, _ = assoc.send_n_event_report(*arguments)
    except RuntimeError:  # the association ended meanwhile
        return False
    return getattr(status, "Status", None) == 0x0000


class Depositor:
    """What a modality does that would forget its images: asks until it is answered, and listens."""

    def __init__(self, node: Remote) -> None:
        self.port = free_port()
        self.asked = 0  # requests that the node took
        self.committed: set[str] = set()
        self.failed: set[str] = set()  # acknowledged once, and not committed to
        self._node = node
        self._waiting: set[str] = set()  # transactions
        ae = _titled(node.calling_ae)
        ae.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._called)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self._insisting = Insisting("depositor", self._ask)

    @property
    def idle(self) -> bool:
        """Whether every request was answered and reported on."""
        return self._insisting.idle and not self._waiting

    def close(self) -> None:
        """End."""
        self._insisting.close()
        self._server.shutdown()

    def deposit(self, uids: Sequence[str]) -> None:
        """Ask the node to commit to instances that it has acknowledged."""
        references = tuple(Reference(US_IMAGE, uid) for uid in uids)
        request = Request(str(generate_uid(None)), references)
        self._waiting.add(request.transaction_uid)
        self._insisting.put(request)

    def _ask(self, request: Request) -> bool:
        # every other time it stays for the report; the node has to call back otherwise
        linger_s = _PAUSE_S * (self.asked % 2)
        try:
            (answer,) = ask(self._node, [request], self._take, linger_s=linger_s)
        except PeerError:
            return False
        self.asked += answer.accepted
        return answer.accepted

    def _called(self, event: Any) -> tuple[int, None]:
        syntax = str(event.context.transfer_syntax)
        data = event.request.EventInformation.getvalue()
        return self._take(event.event_type, data, syntax), None

    def _take(self, event_type_id: int, dataset: bytes, transfer_syntax_uid: str) -> int:
        report = read_report(event_type_id, dataset, transfer_syntax_uid)
        self.committed |= {each.sop_instance_uid for each in report.committed}
        self.failed |= {each.sop_instance_uid for each, _ in report.failed}
        self._waiting.discard(report.transaction_uid)
        return 0x0000
