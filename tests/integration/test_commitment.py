"""Storage commitment asked of Orthanc and of scripted PACS: every way a report may come, or not."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.dimse_messages import N_ACTION_RSP

from daemon import schema
from daemon.asker import Asker
from daemon.commands import check
from daemon.commitment import Reports
from daemon.deliver import Deliverer
from daemon.jobs import StoredObject
from daemon.receive import Reception
from daemon.spool import Spool
from daemon.ways import remote
from dicom_io.acceptor import Acceptor, Limits
from dicom_io.commitment import Reference, Request
from dicom_io.commitment_scu import Answer, ask
from dicom_io.errors import PeerError
from dicom_io.part10 import header
from dicom_io.scu import Remote
from tests import builders
from tests import builders_wire as wire
from tests.builders import SR, STUDY, Rows
from tests.fakes_wire import RawPeer, RecordingHandler, accepting
from tests.peers import Orthanc, free_port, wait_until

pytestmark = [
    pytest.mark.integration,
    # pynetdicom leaves a socket that could not connect to the garbage collector
    pytest.mark.filterwarnings("ignore:.*unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
]

INSTANCE = "1.2.840.10008.1.20.1.1"
SYNTAXES = [wire.IMPLICIT, wire.EXPLICIT]


# A PACS by script


def event(request: Dataset, failed: Sequence[int] = (), reason: int = 0x0112) -> Dataset:
    """Return the report on a request: these of its instances failed."""
    ds = Dataset()
    ds.TransactionUID = request.TransactionUID
    items = list(request.ReferencedSOPSequence)
    if kept := [item for number, item in enumerate(items) if number not in failed]:
        ds.ReferencedSOPSequence = kept
    if failed:
        ds.FailedSOPSequence = [items[number] for number in failed]
        for item in ds.FailedSOPSequence:
            item.FailureReason = reason
    return ds


@dataclass
class Pacs:
    """A PACS on pynetdicom that answers N-ACTION with `status` and then does `then`."""

    status: int = 0x0000
    then: "Act" = lambda pacs, assoc, request: None
    first: "Act" = lambda pacs, assoc, request: None  # before it answers
    offers: bool = True  # the service
    requests: list[Dataset] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)  # data sets
    statuses: list[int | None] = field(default_factory=list)  # that its reports were answered with
    roles: list[tuple[bool, bool]] = field(default_factory=list)  # of its own associations
    node_port: int = 0
    port: int = 0

    @contextmanager
    def running(self) -> Iterator["Pacs"]:
        """Serve until the block ends."""
        ae = AE("PACS")
        ae.add_supported_context(SR, wire.EXPLICIT)
        ae.add_supported_context(wire.VERIFICATION, wire.IMPLICIT)
        if self.offers:
            ae.add_supported_context(wire.COMMITMENT, SYNTAXES)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._action),
            (evt.EVT_DIMSE_SENT, self._sent),
        ]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            server.shutdown()

    def _store(self, event: Any) -> int:
        self.stored.append(event.request.DataSet.getvalue())
        return 0x0000

    def _action(self, event: Any) -> tuple[int, None]:
        self.requests.append(event.action_information)
        self.first(self, event.assoc, event.action_information)
        return self.status, None

    def _sent(self, event: Any) -> None:
        if isinstance(event.message, N_ACTION_RSP):
            arguments = (self.then, event.assoc, self.requests[-1])
            threading.Thread(target=self._later, args=arguments, daemon=True).start()

    def _later(self, then: "Act", assoc: Any, request: Dataset) -> None:
        time.sleep(0.1)  # the answer is on the wire
        then(self, assoc, request)

    def report(self, assoc: Any, ds: Dataset) -> None:
        """Send a report on an association."""
        kind = 2 if "FailedSOPSequence" in ds else 1
        status, _ = assoc.send_n_event_report(ds, kind, wire.COMMITMENT, INSTANCE)
        self.statuses.append(status.get("Status"))

    def call_back(self, ds: Dataset, calling: str = "PACS", *, role: bool = True) -> None:
        """Send a report on an association of its own."""
        roles = [build_role(wire.COMMITMENT, scu_role=False, scp_role=True)]
        assoc = AE(calling).associate(
            "127.0.0.1",
            self.node_port,
            contexts=[build_context(wire.COMMITMENT, SYNTAXES)],
            ext_neg=roles if role else [],
            ae_title="AXNODE",
        )
        if not assoc.is_established:
            self.statuses.append(None)
            return
        (context,) = assoc.accepted_contexts
        self.roles.append((context.as_scu, context.as_scp))
        context._as_scp = True  # some PACS report without having negotiated the role
        self.report(assoc, ds)
        assoc.release()


Act = Callable[[Pacs, Any, Dataset], None]  # with the association and the request


def on_the_same(pacs: Pacs, assoc: Any, request: Dataset) -> None:
    pacs.report(assoc, event(request))


def on_its_own(pacs: Pacs, assoc: Any, request: Dataset) -> None:
    pacs.call_back(event(request))


def abort(pacs: Pacs, assoc: Any, request: Dataset) -> None:
    assoc.abort()


# A node made of its parts


class Node:
    """Reception, rows and deliveries to one PACS that is asked to commit."""

    def __init__(self, folder: Path, rows: Rows, pacs_port: int, title: str, **tables: Any) -> None:
        destination = {
            "name": "pacs",
            "ae_title": title,
            "host": "127.0.0.1",
            "port": pacs_port,
            "storage_commitment": True,
        }
        config = builders.config(folder, destinations=[destination], **tables)
        self.rows = rows
        self.objects = Spool(folder / "objects")
        reports = Reports(rows.database, self.objects, rows.clock)
        spool = Spool(folder / "spool")
        self.reception = Reception(config, rows.database, spool, rows.clock, reports)
        self.peer = remote(config.destinations[0], "AXNODE")
        self.asker = Asker(self.peer, rows.database, reports, rows.clock)
        self.deliverer = Deliverer(
            self.peer, rows.database, self.objects, rows.clock, asker=self.asker
        )

    def deliver(self, count: int = 2) -> None:
        """Bring a study's objects to the PACS."""
        built = [self._object(number) for number in range(count)]
        self.rows.deliver(built, lambda role: ["pacs"])
        assert self.deliverer.deliver_due() == count

    def _object(self, number: int) -> StoredObject:
        uid = f"1.2.3.9.{number + 1}"
        data = header(SR, uid, wire.EXPLICIT)
        data += wire.dataset(sop_class=SR, instance=uid, study=STUDY, pixels=None)
        name = self.objects.put(data)
        return StoredObject("sr", number, SR, uid, f"{STUDY}.9", name, len(data))

    @property
    def states(self) -> list[str]:
        """States of the deliveries."""
        return self.rows.states(schema.deliveries)


@contextmanager
def site(folder: Path, pacs: Pacs | Orthanc, **tables: Any) -> Iterator[Node]:
    """Run a node and a PACS that know each other."""
    port = free_port()
    with builders.database(folder) as database:
        if isinstance(pacs, Orthanc):
            pacs.modalities = {"node": ("AXNODE", "127.0.0.1", port)}
        with pacs if isinstance(pacs, Orthanc) else pacs.running():
            where = (
                (pacs.dicom_port, "ORTHANC") if isinstance(pacs, Orthanc) else (pacs.port, "PACS")
            )
            node = Node(folder, Rows(database), *where, **tables)
            acceptor = Acceptor(node.reception, node.reception.accepted, port=port, limits=Limits())
            acceptor.start()
            if isinstance(pacs, Pacs):
                pacs.node_port = port
            try:
                yield node
            finally:
                acceptor.stop(drain_s=5)


# Orthanc


def test_orthanc_commits_to_what_it_stored(tmp_path: Path) -> None:
    """It reports on an association of its own, while ours is still open."""
    pacs = Orthanc()
    with site(tmp_path, pacs, sources=[{"ae_title": "US1"}]) as node:
        node.deliver()
        assert node.states == ["stored", "stored"]
        assert node.asker.ask_due() == 1
        wait_until(lambda: node.states == ["delivered", "delivered"], 20)
        assert node.rows.study().state == "delivered"


def test_orthanc_gets_again_what_it_lost(tmp_path: Path) -> None:
    pacs = Orthanc()
    with site(tmp_path, pacs) as node:
        node.deliver()
        (lost,) = (i for i in pacs.instances() if pacs.tags(i)["SOPInstanceUID"] == "1.2.3.9.2")
        before = pacs.download(lost)
        pacs.delete(f"/instances/{lost}")
        node.asker.ask_due()
        wait_until(lambda: node.states == ["delivered", "pending"], 20)
        assert "does not have the object (0x0112)" in node.rows.all(schema.deliveries)[1].detail
        node.rows.clock.advance(60)
        assert node.deliverer.deliver_due() == 1
        node.asker.ask_due()
        wait_until(lambda: node.states == ["delivered", "delivered"], 20)
        assert pacs.download(lost) == before


# Reports


def test_a_report_on_the_same_association(tmp_path: Path) -> None:
    pacs = Pacs(then=on_the_same)
    with site(tmp_path, pacs) as node:
        node.deliver()
        node.asker.ask_due()
        assert node.states == ["delivered", "delivered"]
        wait_until(lambda: pacs.statuses == [0x0000])
    (request,) = pacs.requests
    assert [item.ReferencedSOPInstanceUID for item in request.ReferencedSOPSequence] == [
        "1.2.3.9.1",
        "1.2.3.9.2",
    ]
    assert {item.ReferencedSOPClassUID for item in request.ReferencedSOPSequence} == {SR}


def test_a_report_that_overtakes_the_answer(tmp_path: Path) -> None:
    """PS3.4 J.3.3: a report may come at any time after the request."""
    pacs = Pacs(first=on_the_same)
    with site(tmp_path, pacs) as node:
        node.deliver()
        node.asker.ask_due()
        assert node.states == ["delivered", "delivered"]
        assert {row.detail for row in node.rows.all(schema.deliveries)} == {"stored and committed"}
    assert pacs.statuses == [0x0000]


def test_a_report_on_an_association_of_the_pacs(tmp_path: Path) -> None:
    pacs = Pacs(then=on_its_own)
    with site(tmp_path, pacs, sources=[{"ae_title": "US1"}]) as node:
        node.deliver()
        node.asker.ask_due()
        wait_until(lambda: pacs.statuses == [0x0000])
        assert node.states == ["delivered", "delivered"]
    assert pacs.roles == [(False, True)]


def test_a_report_without_the_role_negotiated(tmp_path: Path) -> None:
    pacs = Pacs(then=lambda pacs, assoc, request: pacs.call_back(event(request), role=False))
    with site(tmp_path, pacs) as node:
        node.deliver()
        node.asker.ask_due()
        wait_until(lambda: pacs.statuses == [0x0000])
        assert node.states == ["delivered", "delivered"]
    assert pacs.roles == [(True, False)]


def test_a_report_of_part_failed(tmp_path: Path) -> None:
    pacs = Pacs(then=lambda pacs, assoc, request: pacs.report(assoc, event(request, [0], 0x0213)))
    with site(tmp_path, pacs) as node:
        node.deliver()
        node.asker.ask_due()
        assert node.states == ["pending", "delivered"]
        node.rows.clock.advance(60)
        pacs.then = on_the_same
        assert node.deliverer.deliver_due() == 1
        node.asker.ask_due()
        assert node.states == ["delivered", "delivered"]
    assert len(pacs.stored) == 3
    assert pacs.stored[2] == pacs.stored[0]


def test_a_report_on_an_unknown_transaction(tmp_path: Path) -> None:
    def lie(pacs: Pacs, assoc: Any, request: Dataset) -> None:
        ds = event(request)
        ds.TransactionUID = "1.2.3.4.5"
        pacs.report(assoc, ds)
        on_the_same(pacs, assoc, request)

    pacs = Pacs(then=lie)
    with site(tmp_path, pacs) as node:
        node.deliver()
        node.asker.ask_due()
        wait_until(lambda: pacs.statuses == [0x0115, 0x0000])
        assert node.states == ["delivered", "delivered"]


@pytest.mark.parametrize("sources", [[], [{"ae_title": "EVIL"}]])
def test_a_report_of_a_stranger_is_not_believed(
    tmp_path: Path, sources: list[dict[str, str]]
) -> None:
    """Even of one that may push, and that has overheard the transaction."""
    pacs = Pacs()
    with site(tmp_path, pacs, sources=sources) as node:
        node.deliver()
        request = _asked(node, pacs)
        pacs.call_back(event(request), "EVIL")
        assert pacs.statuses == [0x0115]
        assert node.states == ["stored", "stored"]
        pacs.call_back(event(request))
        assert node.states == ["delivered", "delivered"]


def test_a_caller_that_is_nobody_is_not_let_in(tmp_path: Path) -> None:
    pacs = Pacs()
    with site(tmp_path, pacs, sources=[{"ae_title": "US1"}]) as node:
        node.deliver()
        pacs.call_back(event(_asked(node, pacs)), "EVIL")
        assert pacs.statuses == [None]
        assert node.states == ["stored", "stored"]


def test_a_pacs_that_reports_may_not_push(tmp_path: Path) -> None:
    pacs = Pacs()
    with site(tmp_path, pacs, sources=[{"ae_title": "US1"}]) as node:
        with RawPeer(pacs.node_port) as peer:
            peer.send(
                wire.associate_rq([wire.context(1, wire.US_IMAGE, [wire.EXPLICIT])], calling="PACS")
            )
            assert peer.receive()[0] == 2
            command = wire.command(
                1, sop_class=wire.US_IMAGE, instance="1.2.3.4", has_data_set=True
            )
            peer.send(wire.p_data((1, 3, command), (1, 2, wire.dataset())))
            assert peer.status() == 0x0124
        assert node.rows.all(schema.instances) == []


def _asked(node: Node, pacs: Pacs) -> Dataset:
    """Ask, without waiting for a report that does not come; return the request."""
    node.asker._ask = lambda peer, requests, on_report, done, tick: ask(
        peer, requests, on_report, done, tick, linger_s=0.1
    )
    node.asker.ask_due()
    return pacs.requests[-1]


# No report


def test_no_report_is_asked_for_anew(tmp_path: Path) -> None:
    pacs = Pacs()
    with site(tmp_path, pacs) as node:
        node.deliver()
        _asked(node, pacs)
        assert node.states == ["stored", "stored"]
        node.rows.clock.advance(600)
        pacs.call_back(event(_asked(node, pacs)))
        assert node.states == ["delivered", "delivered"]
    first, second = pacs.requests
    assert first.TransactionUID != second.TransactionUID
    assert first.ReferencedSOPSequence == second.ReferencedSOPSequence


def test_a_rejected_request_is_repeated(tmp_path: Path) -> None:
    pacs = Pacs(status=0x0112)
    with site(tmp_path, pacs) as node:
        node.deliver()
        node.asker.ask_due()
        assert node.states == ["stored", "stored"]
        assert "(0x0112)" in node.rows.all(schema.deliveries)[0].detail
        pacs.status, pacs.then = 0x0000, on_the_same
        node.rows.clock.advance(600)
        node.asker.ask_due()
        assert node.states == ["delivered", "delivered"]


@pytest.mark.parametrize("status", [0x0118, 0x0122, 0x0123, 0x0124, 0x0211])
def test_a_request_rejected_for_good_parks(tmp_path: Path, status: int) -> None:
    pacs = Pacs(status=status)
    with site(tmp_path, pacs) as node:
        node.deliver()
        node.asker.ask_due()
        assert node.states == ["parked", "parked"]
        assert f"(0x{status:04X})" in node.rows.all(schema.deliveries)[0].detail


def test_a_pacs_without_the_service_parks_and_says_what_to_do(tmp_path: Path) -> None:
    pacs = Pacs(offers=False)
    with site(tmp_path, pacs) as node:
        node.deliver()
        node.asker.ask_due()
        assert node.states == ["parked", "parked"]
        assert "storage_commitment = false" in node.rows.all(schema.deliveries)[0].detail


def test_an_abort_between_answer_and_report(tmp_path: Path) -> None:
    pacs = Pacs(then=abort)
    with site(tmp_path, pacs) as node:
        node.deliver()
        node.asker.ask_due()
        assert node.states == ["stored", "stored"]
        pacs.call_back(event(pacs.requests[0]))
        assert pacs.statuses == [0x0000]
        assert node.states == ["delivered", "delivered"]


def test_an_abort_before_the_answer(tmp_path: Path) -> None:
    """The request may have arrived: its report is welcome."""
    pacs = Pacs(first=abort)
    with site(tmp_path, pacs) as node:
        node.deliver()
        node.asker.ask_due()
        assert node.states == ["stored", "stored"]
        assert "without an answer" in node.rows.all(schema.deliveries)[0].detail
        pacs.call_back(event(pacs.requests[0]))
        assert node.states == ["delivered", "delivered"]


def test_nobody_there_is_tried_again(tmp_path: Path) -> None:
    pacs = Pacs()
    with site(tmp_path, pacs) as node:
        node.deliver()
        gone = Remote("pacs", "PACS", "127.0.0.1", free_port(), "AXNODE")
        node.asker._peer = gone
        assert node.asker.ask_due() == 1
        assert node.states == ["stored", "stored"]
        assert "cannot be reached" in node.rows.all(schema.deliveries)[0].detail


# The association itself


def asked(port: int, **options: Any) -> list[Answer]:
    request = Request("2.25.7", (Reference(SR, "1.2.3.9.1"),))
    peer = Remote("pacs", "PACS", "127.0.0.1", port, "AXNODE")
    return ask(peer, [request], lambda *report: 0x0000, **options)


def test_the_association_is_not_kept_for_ever() -> None:
    pacs = Pacs()
    with pacs.running():
        (answer,) = asked(pacs.port, linger_s=0.2)
    assert answer == Answer("2.25.7", True, False, 0x0000, "asked to commit")


def test_the_association_ends_as_soon_as_all_is_heard() -> None:
    pacs = Pacs()
    with pacs.running():
        (answer,) = asked(pacs.port, done=lambda: True, linger_s=600)
    assert answer.accepted


def test_a_silent_pacs_is_cut_off() -> None:
    pacs = Pacs(first=lambda pacs, assoc, request: time.sleep(5))
    with pacs.running():
        (answer,) = asked(pacs.port, progress_timeout_s=0.5)
    assert (answer.accepted, answer.permanent) == (False, False)
    assert "no progress" in answer.detail


def test_a_handler_that_fails_is_no_success() -> None:
    def broken(*report: Any) -> int:
        raise ZeroDivisionError

    pacs = Pacs(then=on_the_same)
    request = Request("2.25.7", (Reference(SR, "1.2.3.9.1"),))
    with pacs.running():
        peer = Remote("pacs", "PACS", "127.0.0.1", pacs.port, "AXNODE")
        ask(peer, [request], broken, lambda: bool(pacs.statuses))
    assert pacs.statuses == [0x0110]


def test_a_node_that_only_receives_does_not_offer_the_service_as_provider() -> None:
    """The context is there for reports; a request on it gets a status."""
    with accepting(RecordingHandler()) as node:
        (answer,) = asked(node.port)
    assert (answer.accepted, answer.permanent, answer.status) == (False, True, 0x0211)


def test_the_check_says_whether_the_service_is_there(tmp_path: Path) -> None:
    for offers in (True, False):
        with Pacs(offers=offers).running() as pacs:
            where = {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
            asked = {"name": "pacs", **where, "storage_commitment": True}
            config = builders.config(tmp_path, destinations=[asked])
            if offers:
                found = check._echo(config, config.destinations[0])
                assert found.endswith("which offers storage commitment")
                continue
            with pytest.raises(PeerError, match="does not offer storage commitment"):
                check._echo(config, config.destinations[0])


def test_nobody_listening_is_said() -> None:
    with pytest.raises(PeerError, match="cannot be reached"):
        asked(free_port())
