"""Sending to real and to scripted peers, good, bad and dead."""

import io
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from dicom_io.acceptor import Limits, Rejection
from dicom_io.deflate import DEFLATED, deflate
from dicom_io.errors import PeerError, StoreRefused
from dicom_io.line import Line
from dicom_io.part10 import header
from dicom_io.scu import Outcome, Remote, StoreResult, echo, store
from dicom_io.syntaxes import RECEIVED_SOP_CLASSES, RECEIVED_TRANSFER_SYNTAXES
from tests import builders_wire as wire
from tests.fakes_wire import RecordingHandler, accepting
from tests.peers import Orthanc, StoreScp, free_port, wait_until

pytestmark = [
    pytest.mark.integration,
    # pynetdicom leaves a socket that could not connect to the garbage collector
    pytest.mark.filterwarnings("ignore:.*unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
]

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def remote(port: int, ae_title: str = "PEER") -> Remote:
    return Remote("archive", ae_title, "127.0.0.1", port, "AXNODE")


def write(
    folder: Path,
    instance: str,
    syntax: str = wire.EXPLICIT,
    sop_class: str = wire.US_IMAGE,
    size: int = 16,
) -> Path:
    path = folder / instance
    data = wire.dataset(syntax, instance=instance, sop_class=sop_class, pixels=bytes(size))
    path.write_bytes(header(sop_class, instance, syntax) + data)
    return path


@contextmanager
def scripted(
    statuses: Sequence[int | Callable[[evt.Event], int]],
    syntaxes: Sequence[str] = (wire.EXPLICIT,),
) -> Iterator[int]:
    """Run a PACS that answers each C-STORE with the next status; yields its port."""
    waiting = list(statuses)

    def answer(event: evt.Event) -> int:
        status = waiting.pop(0)
        return status(event) if callable(status) else status

    ae = AE("PEER")
    ae.add_supported_context(wire.US_IMAGE, list(syntaxes))
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)]
    )
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one TCP connection by hand; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            sock, _ = listener.accept()
            with sock:
                serve(sock)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)


def accept_any(sock: socket.socket) -> None:
    """Answer an association request: its first context is accepted."""
    with sock.makefile("rb") as stream:
        (length,) = struct.unpack(">xxL", stream.read(6))
        stream.read(length)
    information = wire.sub_item(0x51, struct.pack(">L", 0)) + wire.sub_item(0x52, b"1.2.3")
    accepted = bytes((1, 0, 0, 0)) + wire.sub_item(0x40, wire.EXPLICIT.encode())
    body = (
        struct.pack(">Hxx", 1)
        + b"PEER".ljust(16)
        + b"AXNODE".ljust(16)
        + bytes(32)
        + wire.sub_item(0x10, wire.APPLICATION_CONTEXT.encode())
        + wire.sub_item(0x21, accepted)
        + wire.sub_item(0x50, information)
    )
    sock.sendall(wire.pdu(2, body))


def drain(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


def crawl(sock: socket.socket) -> None:
    """Read 8 MB, slowly, and answer the C-STORE."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    accept_any(sock)
    for _ in range(40):
        wanted = 200_000
        while wanted:
            wanted -= len(sock.recv(wanted))
        time.sleep(0.05)
    answer = wire.command(0x8001, sop_class=wire.US_IMAGE, instance="1.2.1")
    answer = answer.replace(
        struct.pack("<HHLH", 0, 0x110, 2, 7),
        struct.pack("<HHLH", 0, 0x120, 2, 1) + struct.pack("<HHLH", 0, 0x900, 2, 0),
    )
    (length,) = struct.unpack_from("<L", answer, 8)
    sock.sendall(wire.p_data((1, 3, answer[:8] + struct.pack("<L", length + 10) + answer[12:])))
    drain(sock)


# C-ECHO


def test_echo_reaches_a_node() -> None:
    handler = RecordingHandler()
    with accepting(handler) as node:
        echo(remote(node.port))
    assert [(p.calling_ae, p.called_ae) for p in handler.peers] == [("AXNODE", "PEER")]
    assert handler.failures == []


def test_echo_says_when_nobody_listens() -> None:
    with pytest.raises(PeerError, match=r"archive \(PEER at 127.*cannot be reached") as caught:
        echo(remote(free_port()))
    assert caught.value.transient


@pytest.mark.parametrize(("numbers", "transient"), [((1, 1, 7), False), ((2, 3, 1), True)])
def test_a_rejection_is_permanent_or_not(numbers: tuple[int, int, int], transient: bool) -> None:
    handler = RecordingHandler(rejection=Rejection(*numbers, "no"))
    with accepting(handler) as node, pytest.raises(PeerError, match="rejected") as caught:
        echo(remote(node.port))
    assert caught.value.transient is transient


def test_echo_gives_up_on_a_silent_peer() -> None:
    with (
        listening(drain) as port,
        pytest.raises(PeerError) as caught,
    ):
        echo(remote(port), timeout_s=0.5)
    assert caught.value.transient


# C-STORE to real peers


def test_files_arrive_at_orthanc_byte_for_byte(tmp_path: Path) -> None:
    paths = [write(tmp_path, "1.2.1"), write(tmp_path, "1.2.2", wire.IMPLICIT)]
    with Orthanc() as pacs:
        results = store(remote(pacs.dicom_port, "ORTHANC"), paths)
        assert [r.outcome for r in results] == [Outcome.STORED] * 2
        syntaxes = {
            pacs.tags(i)["SOPInstanceUID"]: pydicom.dcmread(
                io.BytesIO(pacs.download(i))
            ).file_meta.TransferSyntaxUID
            for i in pacs.instances()
        }
    assert syntaxes == {"1.2.1": wire.EXPLICIT, "1.2.2": wire.IMPLICIT}


def test_files_arrive_at_dcmtk_in_one_association(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"1.2.{n}", size=300_000) for n in range(5)]
    with StoreScp(tmp_path / "in", options=["--max-pdu", "4096"]) as scp:
        results = store(remote(scp.port, "STORESCP"), paths)
        received = {pydicom.dcmread(path).SOPInstanceUID for path in scp.files()}
    assert [r.outcome for r in results] == [Outcome.STORED] * 5
    assert received == {path.name for path in paths}


def test_the_bytes_are_not_touched(tmp_path: Path) -> None:
    handler = RecordingHandler()
    path = write(tmp_path, "1.2.1", wire.BIG, size=200_000)
    with accepting(handler) as node:
        store(remote(node.port), [path])
    assert path.read_bytes().endswith(bytes(handler.stored[0].data))
    assert handler.stored[0].request.transfer_syntax_uid == wire.BIG
    assert handler.failures == []


@pytest.mark.parametrize("option", ["--abort-during", "--abort-after"])
def test_a_peer_that_aborts_is_transient(tmp_path: Path, option: str) -> None:
    paths = [write(tmp_path, f"1.2.{n}", size=300_000) for n in range(2)]
    with StoreScp(tmp_path / "in", options=[option]) as scp:
        results = store(remote(scp.port, "STORESCP"), paths)
    assert [r.outcome for r in results] == [Outcome.TRANSIENT] * 2
    assert [r.status for r in results] == [None] * 2


def test_a_peer_that_refuses_associations(tmp_path: Path) -> None:
    with (
        StoreScp(tmp_path / "in", options=["--refuse"]) as scp,
        # on a busy machine pynetdicom sees the closed connection before the reject
        pytest.raises(PeerError, match=r"rejected|ended the association at once"),
    ):
        store(remote(scp.port, "STORESCP"), [write(tmp_path, "1.2.1")])


# Statuses and contexts


def test_every_status_is_read_and_handed_on(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"1.2.{n}") for n in range(6)]
    seen: list[StoreResult] = []
    with scripted([0x0000, 0xA700, 0xB007, 0x0111, 0xC000, 0xA900]) as port:
        results = store(remote(port), paths, seen.append)

    assert [(r.path.name, r.outcome, r.status) for r in results] == [
        ("1.2.0", Outcome.STORED, 0x0000),
        ("1.2.1", Outcome.TRANSIENT, 0xA700),
        ("1.2.2", Outcome.WARNING, 0xB007),
        ("1.2.3", Outcome.WARNING, 0x0111),
        ("1.2.4", Outcome.PERMANENT, 0xC000),
        ("1.2.5", Outcome.PERMANENT, 0xA900),
    ]
    assert seen == results


def test_an_abort_in_mid_batch_keeps_the_answers_before_it(tmp_path: Path) -> None:
    def abort(event: evt.Event) -> int:
        event.assoc.abort()
        return 0

    paths = [write(tmp_path, f"1.2.{n}") for n in range(3)]
    with scripted([0x0000, abort]) as port:
        results = store(remote(port), paths)
    assert [r.outcome for r in results] == [Outcome.STORED, Outcome.TRANSIENT, Outcome.TRANSIENT]


def test_a_class_that_the_peer_does_not_take_is_unsupported(tmp_path: Path) -> None:
    image = write(tmp_path, "1.2.1")
    segmentation = write(tmp_path, "1.2.2", sop_class=SEGMENTATION)
    implicit = write(tmp_path, "1.2.3", wire.IMPLICIT)
    with scripted([0x0000]) as port:
        results = store(remote(port), [segmentation, image, implicit])
        alone = store(remote(port), [segmentation])

    assert [r.outcome for r in results] == [
        Outcome.UNSUPPORTED,
        Outcome.STORED,
        Outcome.UNSUPPORTED,
    ]
    assert [r.outcome for r in alone] == [Outcome.UNSUPPORTED]
    assert "Segmentation" in results[0].detail


def deflated(folder: Path, instance: str) -> tuple[Path, bytes]:
    """Write a deflated file; return it, and the same in Explicit VR Little Endian."""
    body = wire.dataset(wire.EXPLICIT, instance=instance, sop_class=wire.US_IMAGE, pixels=bytes(99))
    path = folder / instance
    path.write_bytes(header(wire.US_IMAGE, instance, DEFLATED) + deflate(body))
    return path, body


def test_a_deflated_file_goes_deflated_where_the_peer_takes_it(tmp_path: Path) -> None:
    path, _ = deflated(tmp_path, "1.2.1")
    with StoreScp(tmp_path / "in") as scp:
        (result,) = store(remote(scp.port, "STORESCP"), [path])
        (received,) = [pydicom.dcmread(file) for file in scp.files()]
    assert result.outcome is Outcome.STORED
    assert received.file_meta.TransferSyntaxUID == DEFLATED
    assert received == pydicom.dcmread(path)


def test_a_deflated_file_goes_uncompressed_where_the_peer_does_not(tmp_path: Path) -> None:
    """Our own acceptor refuses deflated data sets, as some archives do."""
    path, body = deflated(tmp_path, "1.2.1")
    handler = RecordingHandler()
    with accepting(handler) as node:
        (result,) = store(remote(node.port), [path])
    assert (result.outcome, result.path) == (Outcome.STORED, path)
    assert handler.stored[0].request.transfer_syntax_uid == wire.EXPLICIT
    assert bytes(handler.stored[0].data) == body


def test_a_deflated_file_refused_by_status_goes_uncompressed(tmp_path: Path) -> None:
    """A peer that negotiates more than it can read says so late."""
    path, _ = deflated(tmp_path, "1.2.1")
    with scripted([0xC000, 0x0000], [wire.EXPLICIT, DEFLATED]) as port:
        (result,) = store(remote(port), [path])
    assert result.outcome is Outcome.STORED


@pytest.mark.parametrize("damage", [b"\xff" * 64, None], ids=["garbage", "cut short"])
def test_a_damaged_deflated_file_is_not_sent(tmp_path: Path, damage: bytes | None) -> None:
    path, _ = deflated(tmp_path, "1.2.1")
    whole = path.read_bytes()
    head = header(wire.US_IMAGE, "1.2.1", DEFLATED)
    path.write_bytes(head + damage if damage else whole[: len(whole) - 20])
    handler = RecordingHandler()
    with accepting(handler) as node:
        (result,) = store(remote(node.port), [path])
    assert result.outcome is Outcome.PERMANENT
    assert "the deflated data set is" in result.detail
    assert handler.stored == []


def test_what_is_no_dicom_file_does_not_stop_the_others(tmp_path: Path) -> None:
    text = tmp_path / "DOE_JANE.txt"
    text.write_text("Dear colleague, " * 40)
    gone = tmp_path / "gone"
    handler = RecordingHandler()
    with accepting(handler) as node:
        results = store(remote(node.port), [text, write(tmp_path, "1.2.1"), gone])

    assert [r.outcome for r in results] == [
        Outcome.PERMANENT,
        Outcome.STORED,
        Outcome.PERMANENT,
    ]
    assert all("DOE" not in r.detail for r in results)


def test_more_contexts_than_an_association_holds(tmp_path: Path) -> None:
    """Over 128 pairs of SOP class and transfer syntax need a second association."""
    pairs = list(itertools.product(RECEIVED_SOP_CLASSES, RECEIVED_TRANSFER_SYNTAXES))[:140]
    paths = [
        write(tmp_path, f"1.2.{number}", syntax, sop_class)
        for number, (sop_class, syntax) in enumerate(pairs)
    ]
    handler = RecordingHandler()
    with accepting(handler) as node:
        results = store(remote(node.port), paths)
    assert {r.outcome for r in results} == {Outcome.STORED}
    assert len(handler.peers) == 2
    requests = [sink.request for sink in handler.stored]
    assert [(r.sop_class_uid, r.transfer_syntax_uid) for r in requests] == pairs


def test_a_full_peer_of_our_own_kind(tmp_path: Path) -> None:
    handler = RecordingHandler(store_error=StoreRefused("full", 0xA700))
    with accepting(handler) as node:
        (result,) = store(remote(node.port), [write(tmp_path, "1.2.1")])
    assert (result.outcome, result.status) == (Outcome.TRANSIENT, 0xA700)


def test_an_answer_is_for_the_thread_that_waits_for_it() -> None:
    """Pynetdicom's polling thread would have a hundred chances to take it."""
    taken: list[object] = []

    def work(assoc: Any) -> None:
        assoc.dimse.msg_queue.put((1, "an answer"))
        time.sleep(0.2)
        taken.append(assoc.dimse.get_msg(block=True))

    with accepting(RecordingHandler()) as node:
        line = Line(remote(node.port), [build_context(wire.VERIFICATION)], 5)
        line.run(work, lambda: None)
    assert taken == [(1, "an answer")]


# Peers that stop


def test_nobody_listening(tmp_path: Path) -> None:
    with pytest.raises(PeerError) as caught:
        store(remote(free_port()), [write(tmp_path, "1.2.1")])
    assert caught.value.transient


def test_nothing_to_send() -> None:
    assert store(remote(free_port()), []) == []


@pytest.mark.parametrize("size", [16, 50_000_000])
def test_a_peer_that_stops_is_cut_off(tmp_path: Path, size: int) -> None:
    """It neither answers (small) nor reads (large, in one PDU of any length)."""
    released = threading.Event()

    def stall(sock: socket.socket) -> None:
        accept_any(sock)
        released.wait(30)

    with listening(stall) as port:
        started = time.monotonic()
        (result,) = store(remote(port), [write(tmp_path, "1.2.1", size=size)], progress_timeout_s=1)
        released.set()
    assert time.monotonic() - started < 20
    assert result.outcome == Outcome.TRANSIENT
    assert "no progress" in result.detail


def test_a_slow_peer_is_not_cut_off(tmp_path: Path) -> None:
    """A whole data set in one PDU takes longer than the limit, but it moves."""
    file, ticks = write(tmp_path, "1.2.1", size=8_000_000), []
    with listening(crawl) as port:
        (result,) = store(
            remote(port), [file], progress_timeout_s=1, on_tick=lambda: ticks.append(1)
        )
    assert result.outcome == Outcome.STORED
    assert len(ticks) > 5  # whoever waits for it is not stuck


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_garbage_instead_of_an_answer(tmp_path: Path) -> None:
    # pynetdicom's reactor thread dies of it; the watch over progress is what frees us
    def babble(sock: socket.socket) -> None:
        accept_any(sock)
        sock.recv(100)
        sock.sendall(wire.p_data((1, 3, b"\xff" * 40)) + b"\xfe" * 100)
        drain(sock)

    with listening(babble) as port:
        (result,) = store(remote(port), [write(tmp_path, "1.2.1")], progress_timeout_s=1)
    assert result.outcome == Outcome.TRANSIENT


def test_a_node_that_cuts_us_in_mid_send(tmp_path: Path) -> None:
    handler = RecordingHandler()
    with accepting(handler, Limits(dataset_bytes=1_000_000, linger_s=0.2)) as node:
        (result,) = store(remote(node.port), [write(tmp_path, "1.2.1", size=9_000_000)])
    assert result.outcome == Outcome.TRANSIENT


def test_a_file_goes_only_once_the_answer_before_it_was_taken(tmp_path: Path) -> None:
    """A process that dies then has one answer at most that it told nobody."""
    files = [write(tmp_path, f"1.2.3.{number}") for number in range(5)]
    handler, stored = RecordingHandler(), []

    def taken(result: StoreResult) -> None:
        time.sleep(0.05)  # time for a sender that does not wait
        stored.append(len(handler.sinks))

    with accepting(handler) as node:
        store(remote(node.port), files, taken)
    assert stored == [1, 2, 3, 4, 5]


def test_a_taker_that_fails_ends_the_sending(tmp_path: Path) -> None:
    files = [write(tmp_path, f"1.2.3.{number}") for number in range(5)]
    handler = RecordingHandler()

    def failing(result: StoreResult) -> None:
        raise RuntimeError("the database is gone")

    with accepting(handler) as node:
        with pytest.raises(RuntimeError, match="database"):
            store(remote(node.port), files, failing)
        wait_until(lambda: not node.associations)
    assert len(handler.sinks) == 1
