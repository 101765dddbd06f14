"""An archive that refuses, aborts, stalls or remarks: what becomes of a delivery, over the wire."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE, evt

from daemon import schema
from daemon.clock import seconds
from daemon.deliver import Deliverer
from daemon.jobs import StoredObject
from daemon.retry import RetryPolicy
from daemon.spool import Spool
from dicom_io import scu
from dicom_io.part10 import header, split
from dicom_io.scu import Remote, StoreResult
from tests import builders
from tests import builders_wire as wire
from tests.builders import SR, STUDY, Rows
from tests.peers import StoreScp, free_port, wait_until

pytestmark = [
    pytest.mark.integration,
    # pynetdicom leaves a socket that could not connect to the garbage collector
    pytest.mark.filterwarnings("ignore:.*unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
]

Answer = int | Callable[[evt.Event], int]


def abort(event: evt.Event) -> int:
    """End the association instead of an answer."""
    event.assoc.abort()
    return 0x0000


class Pacs:
    """An archive that answers each C-STORE with the next of its answers, and keeps the bytes."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = list(answers)
        self.data_sets: list[bytes] = []

    def store(self, event: evt.Event) -> int:
        """Answer."""
        self.data_sets.append(event.request.DataSet.getvalue())
        answer = self._answers.pop(0)
        return answer(event) if callable(answer) else answer

    @contextmanager
    def running(self) -> Iterator[int]:
        """Listen; yields the port."""
        ae = AE("PACS")
        ae.add_supported_context(SR, wire.EXPLICIT)
        handlers = [(evt.EVT_C_STORE, self.store)]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


class Outbox:
    """Studies of one report each, ready to go."""

    def __init__(self, rows: Rows, objects: Spool) -> None:
        self.rows = rows
        self.objects = objects
        self.bodies: list[bytes] = []

    def add(self, study: str = STUDY) -> None:
        """Bring a study with one report to its delivery."""
        uid = f"{study}.77"
        body = wire.dataset(sop_class=SR, instance=uid, study=study, pixels=None)
        self.bodies.append(body)
        data = header(SR, uid, wire.EXPLICIT) + body
        built = StoredObject("sr", 0, SR, uid, f"{study}.9", self.objects.put(data), len(data))
        self.rows.deliver([built], lambda role: ["pacs"], study)

    def deliverer(self, port: int, ae_title: str = "PACS", progress_s: float = 20) -> Deliverer:
        """Return the work for the archive at this port."""

        def send(
            peer: Remote,
            paths: Sequence[Path],
            on_result: Callable[[StoreResult], None],
            on_tick: Callable[[], None],
        ) -> object:
            return scu.store(peer, paths, on_result, progress_s, on_tick)

        peer = Remote("pacs", ae_title, "127.0.0.1", port, "AXNODE")
        rows = self.rows
        return Deliverer(peer, rows.database, self.objects, rows.clock, RetryPolicy(), send)

    def hashes(self) -> set[str]:
        """Hashes of the files that are kept to be sent."""
        files = self.objects.root.rglob("*.dcm")
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with builders.database(tmp_path) as opened:
        made = Outbox(Rows(opened), Spool(tmp_path / "objects"))
        made.add()
        yield made


def waits(outbox: Outbox, attempts: int) -> None:
    """Check that the delivery waits for its next attempt, its bytes untouched."""
    row = outbox.rows.all(schema.deliveries)[0]
    assert (row.state, row.attempts) == ("pending", attempts)
    wait = row.due_us - outbox.rows.clock()
    assert wait == seconds(30 * 2 ** (attempts - 1))
    assert outbox.rows.study().state == "delivering"
    assert outbox.hashes() == {row.file_hash for row in outbox.rows.all(schema.objects)}
    outbox.rows.clock.advance(wait / 1e6)


@pytest.mark.parametrize("answer", [0xA700, 0xA7FF, 0x0110, abort])
def test_what_may_pass_is_tried_again_with_the_same_bytes(outbox: Outbox, answer: Answer) -> None:
    pacs = Pacs([answer, answer, 0x0000])
    with pacs.running() as port:
        deliverer = outbox.deliverer(port)
        for attempt in (1, 2):
            assert deliverer.deliver_due() == 1
            waits(outbox, attempt)
        assert deliverer.deliver_due() == 1
    assert pacs.data_sets == outbox.bodies * 3
    row = outbox.rows.all(schema.deliveries)[0]
    assert (row.state, row.status, row.attempts) == ("delivered", 0, 3)
    assert outbox.rows.study().state == "delivered"


@pytest.mark.parametrize("status", [0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x0122, 0x0124])
def test_what_cannot_pass_is_parked_for_a_person(
    outbox: Outbox, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    pacs = Pacs([status])
    with pacs.running() as port:
        deliverer = outbox.deliverer(port)
        assert deliverer.deliver_due() == 1
        outbox.rows.clock.advance(86_400)
        assert deliverer.deliver_due() == 0
    row = outbox.rows.all(schema.deliveries)[0]
    assert (row.state, row.status) == ("parked", status)
    study = outbox.rows.study()
    assert (study.state, "axnode status" in study.reason) == ("parked", True)
    assert f"0x{status:04X}" in row.detail
    assert "delivery attempted" in caplog.text
    assert len(outbox.hashes()) == 1


@pytest.mark.parametrize("status", [0xB000, 0xB007, 0xB006, 0x0111, 0x0107])
def test_a_remark_is_a_delivery(outbox: Outbox, status: int) -> None:
    with Pacs([status]).running() as port:
        outbox.deliverer(port).deliver_due()
    row = outbox.rows.all(schema.deliveries)[0]
    assert (row.state, row.status) == ("delivered", status)
    assert outbox.rows.study().state == "delivered"
    assert f"0x{status:04X}" in row.detail


@pytest.mark.parametrize("option", ["--abort-during", "--abort-after"])
def test_dcmtk_that_breaks_off_is_tried_again(outbox: Outbox, tmp_path: Path, option: str) -> None:
    with StoreScp(tmp_path / "in", options=[option]) as scp:
        assert outbox.deliverer(scp.port, "STORESCP").deliver_due() == 1
    waits(outbox, 1)
    with StoreScp(tmp_path / "again", port=scp.port) as healed:
        assert outbox.deliverer(healed.port, "STORESCP").deliver_due() == 1
        (received,) = healed.files()
        _, offset = split(received)
        assert received.read_bytes()[offset:] == outbox.bodies[0]
    assert outbox.rows.study().state == "delivered"


def test_dcmtk_that_rejects_the_association_for_good_waits_for_a_person(
    outbox: Outbox, tmp_path: Path
) -> None:
    """It says 1/1/1; a closed connection that overtakes the reject is tried again."""
    with StoreScp(tmp_path / "in", options=["--refuse"]) as scp:
        outbox.deliverer(scp.port, "STORESCP").deliver_due()
    row = outbox.rows.all(schema.deliveries)[0]
    state, words = {
        True: ("parked", "check the AE titles on both sides"),
        False: ("pending", "ended the association at once"),
    }["rejected" in row.detail]
    assert (row.state, words in row.detail) == (state, True)
    assert len(outbox.hashes()) == 1


def test_an_archive_that_is_down_is_tried_again(outbox: Outbox) -> None:
    assert outbox.deliverer(free_port()).deliver_due() == 1
    waits(outbox, 1)


def test_an_archive_that_only_listens_is_tried_again(outbox: Outbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        outbox.deliverer(port, progress_s=1).deliver_due()
    waits(outbox, 1)
    wait_until(lambda: not sending())


def test_an_archive_that_stops_in_mid_store_is_cut_off_and_tried_again(outbox: Outbox) -> None:
    gate = threading.Event()

    def stop(event: evt.Event) -> int:
        gate.wait(30)
        return 0x0000

    with Pacs([stop]).running() as port:
        outbox.deliverer(port, progress_s=1).deliver_due()
        gate.set()
    waits(outbox, 1)
    assert "no progress" in outbox.rows.all(schema.deliveries)[0].detail
    wait_until(lambda: not sending())


def sending() -> bool:
    """Say whether a thread that sends is left."""
    return any(thread.name == "scu" for thread in threading.enumerate())


def test_a_study_that_is_refused_holds_up_no_other(outbox: Outbox) -> None:
    outbox.add("1.2.4")
    outbox.add("1.2.5")
    pacs = Pacs([0xC000, abort, 0x0000, 0x0000])
    with pacs.running() as port:
        deliverer = outbox.deliverer(port)
        assert deliverer.deliver_due() == 3
        outbox.rows.clock.advance(60)
        while deliverer.deliver_due():
            pass
    states = {row.study_uid: row.state for row in outbox.rows.all(schema.studies)}
    assert states == {STUDY: "parked", "1.2.4": "delivered", "1.2.5": "delivered"}
