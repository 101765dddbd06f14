"""Storage commitment to modalities on the wire: Orthanc as one, and scripted ones."""

import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP

from daemon import schema
from daemon.callers import Callers
from daemon.commitment import Reports
from daemon.custody import HERE_FIRST_S, Custody
from daemon.pulse import Pulse
from daemon.receive import Reception
from daemon.spool import Spool
from daemon.teller import Teller
from dicom_io import scu
from dicom_io.acceptor import Acceptor, Limits
from dicom_io.commitment import Reference, Report
from dicom_io.commitment_scp import tell
from dicom_io.errors import PeerError
from dicom_io.part10 import header
from dicom_io.scu import Outcome, Remote
from tests import builders
from tests import builders_wire as wire
from tests.builders import Rows
from tests.fakes_wire import RawPeer, command_elements
from tests.peers import Orthanc, free_port, wait_until

pytestmark = [
    pytest.mark.integration,
    # pynetdicom leaves a socket that could not connect to the garbage collector
    pytest.mark.filterwarnings("ignore:.*unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
]

INSTANCE = "1.2.840.10008.1.20.1.1"
UIDS = ("1.2.3.4", "1.2.3.5")


class Node:
    """Reception that commits to storage, and what calls modalities back."""

    def __init__(self, folder: Path, rows: Rows, sources: Sequence[Any]) -> None:
        config = builders.config(folder, sources=sources)
        self.rows = rows
        self.spool = Spool(folder / "spool")
        reports = Reports(rows.database, Spool(folder / "objects"), rows.clock)
        reception = Reception(config, rows.database, self.spool, rows.clock, reports)
        callers = Callers(config)
        custody = Custody(callers, rows.database, self.spool, rows.clock)
        self.acceptor = Acceptor(
            reception, reception.accepted, limits=Limits(linger_s=0.2), provider=custody
        )
        self.teller = Teller("AXNODE", callers, custody, rows.database, rows.clock)

    @property
    def remote(self) -> Remote:
        """Return the node as a modality would configure it."""
        return Remote("node", "AXNODE", "127.0.0.1", self.acceptor.port, "US1")

    def push(self, folder: Path) -> None:
        """Receive two images."""
        paths = []
        for uid in UIDS:
            data = header(wire.US_IMAGE, uid, wire.EXPLICIT) + wire.dataset(instance=uid)
            paths.append(folder / uid)
            paths[-1].write_bytes(data)
        assert [r.outcome for r in scu.store(self.remote, paths)] == [Outcome.STORED] * 2

    @property
    def committed(self) -> list[str]:
        """Instances that must not be purged."""
        rows = self.rows.all(schema.instances)
        return [row.sop_instance_uid for row in rows if row.committed_us is not None]

    @property
    def details(self) -> list[str]:
        """How it stands with the requests."""
        return [row.detail for row in self.rows.all(schema.commitment_requests)]


@contextmanager
def node(folder: Path, sources: Sequence[Any]) -> Iterator[Node]:
    """Run a node whose clock stands still."""
    with builders.database(folder) as database:
        made = Node(folder, Rows(database), sources)
        stopping = threading.Event()
        thread = threading.Thread(target=made.teller.run, args=(stopping, Pulse(), 0.02))
        made.acceptor.start()
        thread.start()
        try:
            yield made
        finally:
            stopping.set()
            thread.join(30)
            made.acceptor.stop(drain_s=5)


def request(*uids: str, transaction: str = "1.2.9") -> Dataset:
    """Return the data set of a request."""
    ds = Dataset()
    ds.TransactionUID = transaction
    ds.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = wire.US_IMAGE, uid
        ds.ReferencedSOPSequence.append(item)
    return ds


class Modality:
    """A modality on pynetdicom that hears reports, on its own association or called back."""

    def __init__(self, status: int = 0x0000) -> None:
        self.status = status
        self.events: list[tuple[int, Dataset]] = []
        self.answered = threading.Event()

    def _report(self, event: Any) -> tuple[int, None]:
        self.events.append((event.event_type, event.event_information))
        return self.status, None

    @property
    def handlers(self) -> list[Any]:
        """What it answers reports with."""
        return [(evt.EVT_N_EVENT_REPORT, self._report), (evt.EVT_DIMSE_SENT, self._sent)]

    def _sent(self, event: Any) -> None:
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            self.answered.set()

    def ask(self, port: int, ds: Dataset, *, stay: bool, status: int = 0x0000) -> None:
        """Send a request; `stay` on the line until the report is there."""
        assoc = AE("US1").associate(
            "127.0.0.1",
            port,
            contexts=[build_context(wire.COMMITMENT, [wire.EXPLICIT])],
            ae_title="AXNODE",
            evt_handlers=self.handlers,
        )
        assert assoc.is_established
        try:
            answer, _ = assoc.send_n_action(ds, 1, wire.COMMITMENT, INSTANCE)
            assert answer.Status == status
            if stay:
                assert self.answered.wait(20)
                time.sleep(0.1)  # the answer is on the wire: pynetdicom may hang on a release
        finally:
            assoc.release()

    @contextmanager
    def listening(self, *, role: bool = True) -> Iterator[int]:
        """Listen for calls; yields the port. Without `role` it refuses to be called as SCU."""
        ae = AE("US1")
        roles = {"scu_role": False, "scp_role": True} if role else {}
        ae.add_supported_context(wire.COMMITMENT, wire.EXPLICIT, **roles)
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=self.handlers)
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def named(sequence: Any) -> list[str]:
    return [item.ReferencedSOPInstanceUID for item in sequence]


def test_orthanc_as_a_modality_is_told(tmp_path: Path) -> None:
    """It hangs up after its request, and hears the report on an association of ours."""
    with Orthanc() as modality:
        source = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": modality.dicom_port}
        with node(tmp_path, [source, {"ae_title": "US1"}]) as site:
            site.push(tmp_path)
            modality.add_modality("node", "AXNODE", site.acceptor.port)
            pairs = [[wire.US_IMAGE, uid] for uid in (*UIDS, "1.2.3.6")]
            asked = modality.post(
                "/modalities/node/storage-commitment", {"DicomInstances": pairs, "Timeout": 20}
            )
            wait_until(lambda: site.committed == list(UIDS), 20)
            site.rows.clock.advance(HERE_FIRST_S)
            wait_until(lambda: modality.get(asked["Path"])["Status"] != "Pending", 20)
            found = modality.get(asked["Path"])
            wait_until(lambda: site.details == ["the result was heard"], 20)
    assert found["Status"] == "Failure"
    assert sorted(item["SOPInstanceUID"] for item in found["Success"]) == list(UIDS)
    assert [(item["SOPInstanceUID"], item["FailureReason"]) for item in found["Failures"]] == [
        ("1.2.3.6", 0x0112)
    ]
    assert site.details == ["the result was heard"]


def test_who_stays_on_the_line_is_told_there(tmp_path: Path) -> None:
    modality = Modality()
    with node(tmp_path, []) as site:
        site.push(tmp_path)
        modality.ask(site.acceptor.port, request(*UIDS), stay=True)
        wait_until(lambda: site.details == ["the result was heard"], 20)
        assert site.committed == list(UIDS)
    ((kind, ds),) = modality.events
    assert kind == 1
    assert (ds.TransactionUID, named(ds.ReferencedSOPSequence)) == ("1.2.9", list(UIDS))
    assert "FailedSOPSequence" not in ds


def test_what_is_not_here_is_told_with_its_reason(tmp_path: Path) -> None:
    modality = Modality()
    with node(tmp_path, []) as site:
        site.push(tmp_path)
        for row in site.rows.all(schema.instances)[1:]:
            site.spool.path(row.instance_hash).write_bytes(b"damaged")
        modality.ask(site.acceptor.port, request(*UIDS, "1.2.3.6"), stay=True)
    ((kind, ds),) = modality.events
    assert kind == 2
    assert named(ds.ReferencedSOPSequence) == [UIDS[0]]
    failed = [(i.ReferencedSOPInstanceUID, i.FailureReason) for i in ds.FailedSOPSequence]
    assert failed == [(UIDS[1], 0x0110), ("1.2.3.6", 0x0112)]


def test_who_hangs_up_is_called_back(tmp_path: Path) -> None:
    modality = Modality()
    with (
        modality.listening() as port,
        node(tmp_path, [{"ae_title": "US1", "host": "127.0.0.1", "port": port}]) as site,
    ):
        site.push(tmp_path)
        modality.ask(site.acceptor.port, request(*UIDS), stay=False)
        wait_until(lambda: site.committed == list(UIDS), 20)
        site.rows.clock.advance(HERE_FIRST_S)
        wait_until(lambda: site.details == ["the result was heard"], 20)
    ((kind, ds),) = modality.events
    assert (kind, named(ds.ReferencedSOPSequence)) == (1, list(UIDS))


def test_a_failed_answer_on_the_line_is_called_back(tmp_path: Path) -> None:
    modality = Modality(status=0x0110)
    with (
        modality.listening() as port,
        node(tmp_path, [{"ae_title": "US1", "host": "127.0.0.1", "port": port}]) as site,
    ):
        site.push(tmp_path)
        modality.ask(site.acceptor.port, request(*UIDS), stay=True)
        wait_until(lambda: site.details == ["0x0110"], 20)
        modality.status = 0x0000
        site.rows.clock.advance(HERE_FIRST_S)
        wait_until(lambda: site.details == ["the result was heard"], 20)
    assert len(modality.events) == 2


def test_a_stranger_may_not_ask(tmp_path: Path) -> None:
    """One that may associate as a destination, and pushes nothing."""
    modality = Modality()
    with builders.database(tmp_path) as database:
        destination = {"name": "p", "ae_title": "US1", "host": "127.0.0.1", "port": 104}
        asked = {**destination, "storage_commitment": True}
        config = builders.config(tmp_path, sources=[{"ae_title": "OTHER"}], destinations=[asked])
        rows, callers = Rows(database), Callers(config)
        spool = Spool(tmp_path / "spool")
        reports = Reports(database, Spool(tmp_path / "objects"), rows.clock)
        reception = Reception(config, database, spool, rows.clock, reports)
        custody = Custody(callers, database, spool, rows.clock)
        acceptor = Acceptor(reception, reception.accepted, provider=custody)
        acceptor.start()
        try:
            modality.ask(acceptor.port, request(*UIDS), stay=False, status=0x0124)
        finally:
            acceptor.stop(drain_s=5)
        assert rows.all(schema.commitment_requests) == []


def action(
    *,
    sop_class: str = wire.COMMITMENT,
    instance: str = INSTANCE,
    kind: int = 1,
    data: bytes = b"",
) -> bytes:
    """Return an N-ACTION by hand."""
    command = wire.command(0x0130, sop_class="", has_data_set=True)[12:]
    for number, text in ((0x0003, sop_class), (0x1001, instance)):
        value = text.encode() + b"\0" * (len(text) % 2)
        command += struct.pack("<HHL", 0, number, len(value)) + value
    command += struct.pack("<HHLH", 0, 0x1008, 2, kind)
    head = struct.pack("<HHLL", 0, 0, 4, len(command))
    return wire.p_data((1, 3, head + command), (1, 2, data or asked_bytes()))


def asked_bytes(transaction: str = "1.2.9") -> bytes:
    content = wire.uid(0x00081150, wire.US_IMAGE) + wire.uid(0x00081155, UIDS[0])
    sequence = wire.element(0x00081199, b"SQ", wire.item(content))
    return wire.uid(0x00081195, transaction) + sequence


@contextmanager
def talking(site: Node) -> Iterator[RawPeer]:
    with RawPeer(site.acceptor.port) as peer:
        peer.send(wire.associate_rq([wire.context(1, wire.COMMITMENT, [wire.EXPLICIT])]))
        assert peer.receive()[0] == 2
        yield peer


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (action(sop_class=wire.US_IMAGE), 0x0118),
        (action(instance="1.2.3"), 0x0112),
        (action(kind=2), 0x0123),
        (action(data=b"\xff" * 20), 0x0115),
        (action(), 0x0000),
    ],
)
def test_requests_that_are_wrong_have_their_status(
    tmp_path: Path, message: bytes, status: int
) -> None:
    with node(tmp_path, []) as site, talking(site) as peer:
        peer.send(message)
        assert peer.status() == status


def test_a_report_waits_for_the_answer_to_the_one_before(tmp_path: Path) -> None:
    with node(tmp_path, []) as site, talking(site) as peer:
        for transaction in ("1.2.9", "1.2.10"):
            peer.send(action(data=asked_bytes(transaction)))
            assert peer.status() == 0x0000
        first = _heard(peer)
        assert b"1.2.9" in first
        peer.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            peer.receive()
        peer.sock.settimeout(15)
        _answer(peer)
        assert b"1.2.10" in _heard(peer)
        _answer(peer)
        wait_until(lambda: site.details == ["the result was heard"] * 2, 20)


def _heard(peer: RawPeer) -> bytes:
    """Take an N-EVENT-REPORT; return its data set."""
    kind, body = peer.receive()
    assert kind == 4
    elements = command_elements(body[6:])
    assert (elements[0x0100], elements[0x1002], elements[0x0110]) == (0x0100, 2, 1)
    kind, body = peer.receive()
    assert kind == 4
    assert body[5] == 2  # the last fragment of a data set
    return body[6:]


def _answer(peer: RawPeer, responded_to: int = 1) -> None:
    body = struct.pack("<HHLH", 0, 0x0100, 2, 0x8100)
    body += struct.pack("<HHLH", 0, 0x0120, 2, responded_to)
    body += struct.pack("<HHLH", 0, 0x0800, 2, 0x0101) + struct.pack("<HHLH", 0, 0x0900, 2, 0)
    peer.send(wire.p_data((1, 3, struct.pack("<HHLL", 0, 0, 4, len(body)) + body)))


def test_an_answer_to_nothing_ends_the_association(tmp_path: Path) -> None:
    with node(tmp_path, []) as site, talking(site) as peer:
        _answer(peer)
        assert peer.receive()[0] == 7


def test_a_report_fits_the_peers_pdus(tmp_path: Path) -> None:
    with node(tmp_path, []) as site, RawPeer(site.acceptor.port) as peer:
        context = wire.context(1, wire.COMMITMENT, [wire.IMPLICIT])
        peer.send(wire.associate_rq([context], maximum=64))
        assert peer.receive()[0] == 2
        content = wire.uid(0x00081150, wire.US_IMAGE, wire.IMPLICIT)
        content += wire.uid(0x00081155, UIDS[0], wire.IMPLICIT)
        item = wire.item(content, wire.IMPLICIT)
        data = wire.uid(0x00081195, "1.2.9", wire.IMPLICIT)
        data += wire.element(0x00081199, b"SQ", item * 2, wire.IMPLICIT)
        peer.send(action(data=data))
        dataset, lengths, control = b"", [], -1
        while control != 2:  # the last fragment of a data set
            kind, body = peer.receive()
            assert kind == 4
            lengths.append(len(body))
            control = body[5]
            dataset += b"" if control & 1 else body[6:]
        assert max(lengths) <= 64
        assert b"1.2.9" in dataset


# Calling back


def told(port: int) -> int:
    said = Report("1.2.9", (Reference(wire.US_IMAGE, "1.2.3.4"),), ())
    return tell(Remote("modality", "US1", "127.0.0.1", port, "AXNODE"), said)


def test_a_call_back_takes_the_providers_role() -> None:
    modality = Modality()
    with modality.listening() as port:
        assert told(port) == 0x0000
    assert [kind for kind, _ in modality.events] == [1]


def test_a_role_that_is_refused_is_said() -> None:
    modality = Modality()
    with modality.listening(role=False) as port, pytest.raises(PeerError, match="role selection"):
        told(port)
    assert modality.events == []


def test_nobody_there_is_said() -> None:
    with pytest.raises(PeerError, match="cannot be reached"):
        told(free_port())
