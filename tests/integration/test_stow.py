"""STOW-RS as an input, over real sockets: what is stored, what is refused, and who may."""

import asyncio
import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from fastapi import Request

import sample_dicoms
from daemon import schema
from daemon.audit_events import Alert, Transfer
from daemon.http_guard import MOST_BODY_BYTES, MOST_CONNECTIONS
from daemon.stow import StowLimits
from daemon.stow_http import PATH
from dicom_io import dicomweb_store, part10
from dicom_io.frames import read_header
from dicom_io.scu import Outcome
from tests import builders
from tests import builders_wire as wire
from tests.builders import SR, Picture
from tests.console import TOKENS
from tests.fakes import full_disk
from tests.footprint import MIB, Footprint
from tests.node import Node
from tests.peers import Orthanc, wait_until
from tests.stow import (
    GATEWAY,
    MARK,
    OTHER,
    OTHER_TOKEN,
    SOURCE,
    TOKEN,
    TYPE,
    Stow,
    body,
    file,
    served,
    values,
)

pytestmark = pytest.mark.integration
SAMPLES = Path(sample_dicoms.__file__).parent
STILLS = sorted(SAMPLES.glob("1-benign-stills-*.dcm"))
FILES = [*STILLS, SAMPLES / "2-suspicious-cine-1.dcm", SAMPLES / "4-colour-flow-1.dcm"]
DEFLATED = "1.2.840.10008.1.2.1.99"
STORED, FAILED, OTHERS = "00081199", "00081198", "0008119A"
INSTANCE, REASON = "00081155", "00081197"


@pytest.fixture
def open_door(tmp_path: Path) -> Iterator[Stow]:
    with served(tmp_path) as door:
        yield door


def test_instances_of_a_web_client_are_stored(tmp_path: Path) -> None:
    """dicomweb_client, several instances in one request, one of them a cine."""
    frames = builders.tissue(), builders.tissue(seed=1), builders.tissue(9)
    paths = [
        builders.write(tmp_path / f"{n}.dcm", Picture(sop=f"1.2.3.{n}", number=n), each)
        for n, each in enumerate(frames, 1)
    ]
    sources = [{"ae_title": SOURCE, "host": "127.0.0.1", "assume_axilla": True}]
    with served(tmp_path, sources=sources) as door:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        client = DICOMwebClient(f"{door.root}/dicom-web", headers=headers)
        answer = client.store_instances([pydicom.dcmread(path) for path in paths])
        stored = [str(item.ReferencedSOPInstanceUID) for item in answer.ReferencedSOPSequence]
        assert stored == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
        assert "FailedSOPSequence" not in answer
        rows = door.rows.all(schema.instances)
        assert {(row.source_ae, row.assumed) for row in rows} == {(SOURCE, True)}
        assert door.rows.study().state == "receiving"
        transfers = [event for event in door.audit if isinstance(event, Transfer)]
        assert {(t.peer_ae, t.peer_address, t.sent) for t in transfers} == {
            (SOURCE, "127.0.0.1", False)
        }
        assert len(transfers) == 3


def test_bytes_after_group_0002_are_kept_as_they_came(open_door: Stow) -> None:
    """In four transfer syntaxes, each in a request of its own."""
    results = dicomweb_store.store(open_door.archive, FILES)
    assert [result.outcome for result in results] == [Outcome.STORED] * len(FILES)

    def after_meta(path: Path) -> bytes:
        return path.read_bytes()[part10.split(path)[1] :]

    assert {after_meta(path) for path in FILES} == {after_meta(path) for path in open_door.files}
    heads = [path.read_bytes()[:128] for path in open_door.files]
    assert heads == [bytes(128)] * len(FILES)
    syntaxes = {row.transfer_syntax_uid for row in open_door.rows.all(schema.instances)}
    assert syntaxes == {part10.split(path)[0].transfer_syntax_uid for path in FILES}


def test_the_same_again_is_no_news(open_door: Stow) -> None:
    first = open_door.post(body([file()]))
    before = open_door.rows.all(schema.studies), open_door.files
    again = open_door.post(body([file()]))
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert (open_door.rows.all(schema.studies), open_door.files) == before


def test_other_content_under_a_known_uid_is_a_conflict(open_door: Stow) -> None:
    open_door.post(body([file()]))
    kept = open_door.files
    other = wire.dataset(pixels=b"\2" * 16)
    whole = part10.header(wire.US_IMAGE, "1.2.3.4", wire.EXPLICIT) + other
    answer = open_door.post(body([whole]))
    assert (answer.status_code, values(answer, FAILED, REASON)) == (409, [0x0111])
    assert open_door.files == kept
    assert open_door.rows.story("instance") == ["conflict"]
    assert any(isinstance(event, Alert) for event in open_door.audit)
    assert "known SOP Instance UID" in open_door.refusals()[SOURCE, "Ultrasound Image Storage"]


def test_each_part_has_its_answer(open_door: Stow) -> None:
    ours = part10.header(SR, "1.2.3.9", wire.EXPLICIT)
    ours += wire.dataset(sop_class=SR, instance="1.2.3.9").replace(b"Maker ", b"AxNode")

    def named(uid: str, syntax: str = wire.EXPLICIT) -> bytes:
        return part10.header(wire.US_IMAGE, uid, syntax)

    parts = {
        "1.2.3.4": (file(), 0),
        "1.2.3.5": (file("1.2.3.5", syntax=wire.JPEG, pixels=None), 0),
        "1.2.3.6": (file("1.2.3.6", sop_class=SR), 0x0122),
        "1.2.3.7": (file("1.2.3.7", sop_class=builders.CT), 0x0122),
        "1.2.3.8": (named("1.2.3.8", DEFLATED) + b"x" * 300, 0xC122),
        "1.2.3.9": (ours, 0),
        "1.2.3.10": (named("1.2.3.10", "1.2.3") + b"x" * 300, 0xC122),
        "1.2.3.11": (named("1.2.3.11") + b"x" * 300, 0xC000),
        "1.2.3.12": (file("1.2.3.12")[:-20], 0xC000),
        "1.2.3.13": (named("1.2.3.13") + wire.dataset(), 0xA900),
    }
    answer = open_door.post(body([*(each for each, _ in parts.values()), b"a letter"]))
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/dicom+json"
    failed = dict(
        zip(values(answer, FAILED, INSTANCE), values(answer, FAILED, REASON), strict=True)
    )
    assert failed == {uid: status for uid, (_, status) in parts.items() if status}
    assert values(answer, STORED, INSTANCE) == [uid for uid, (_, s) in parts.items() if not s]
    assert values(answer, OTHERS, REASON) == [0xC000]
    assert open_door.instances() == ["1.2.3.4", "1.2.3.5"]  # our own is forgotten
    assert len(open_door.files) == 2
    refused = open_door.refusals()
    assert "different SOP Instance UIDs" in refused[SOURCE, "Ultrasound Image Storage"]
    assert refused[SOURCE, "CT Image Storage"] == "SOP class not supported"
    assert refused[SOURCE, "a part of a STOW-RS request"].startswith("not a DICOM file")


def test_all_of_a_request_is_of_the_study_in_its_address(open_door: Stow) -> None:
    mixed = body([file(), file("1.2.3.5", study="1.2.4")])
    answer = open_door.post(mixed, "1.2.3")
    assert (answer.status_code, values(answer, FAILED, REASON)) == (202, [0xA900])
    wrong = open_door.post(body([file("1.2.3.6")]), "1.2.4")
    assert (wrong.status_code, values(wrong, FAILED, REASON)) == (409, [0xA900])
    assert (open_door.instances(), len(open_door.files)) == (["1.2.3.4"], 1)
    assert open_door.post(body([file()]), "1.2.x").status_code == 400


def test_a_class_that_is_to_be_ignored_is_answered_with_success(tmp_path: Path) -> None:
    with served(tmp_path, node={"ignore_classes": [builders.CT]}) as door:
        assert door.post(body([file(sop_class=builders.CT)])).status_code == 200
        assert (door.instances(), door.files) == ([], [])
        assert door.refusals()[SOURCE, "ignored CT Image Storage"].startswith("its class is in")


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        ("", 401, "no token"),
        ("nobody-s", 401, "no token that is known here"),
        (TOKENS["viewer"], 403, "no token of the role source: this is one of the role viewer"),
        (TOKENS["admin"], 403, "no token of the role source: this is one of the role admin"),
    ],
)
def test_nobody_pushes_without_the_token_of_a_source(
    open_door: Stow, token: str, status: int, words: str
) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {"Authorization": "Basic eDp5"}
    answer = open_door.post(body([file()]), **headers)
    assert (answer.status_code, words in answer.text) == (status, True)
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert (open_door.files, open_door.instances()) == ([], [])
    assert words in open_door.refusals()["", "STOW-RS request"]
    (alert,) = open_door.audit
    assert isinstance(alert, Alert)
    assert alert.peer_address == "127.0.0.1"


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_guessing_tokens_has_to_wait_and_a_right_one_does_not(open_door: Stow, scheme: str) -> None:
    statuses = [
        open_door.post(b"", Authorization=f"{scheme} guess-{n}").status_code for n in range(8)
    ]
    assert statuses == [401] * 5 + [429] * 3
    assert len(open_door.audit) == 5
    assert open_door.post(body([file()])).status_code == 200


def test_a_source_pushes_from_its_own_address(tmp_path: Path) -> None:
    with served(tmp_path, sources=[{"ae_title": SOURCE, "host": "10.0.0.9"}]) as door:
        answer = door.post(body([file()]))
        assert (answer.status_code, door.files) == (403, [])
        assert "may not call from this address" in door.refusals()[SOURCE, "STOW-RS request"]


def test_a_token_stands_for_the_certificate_of_its_source(tmp_path: Path) -> None:
    sources = [{"ae_title": SOURCE, "certificate_name": "gateway.example"}]
    tls = {"certificate": "a.pem", "key": "a.key", "ca": "ca.pem"}
    with served(tmp_path, sources=sources, tls=tls) as door:
        assert door.post(body([file()])).status_code == 200


@pytest.mark.parametrize(
    ("scheme", "server", "status"),
    [("http", "10.0.0.5", 403), ("https", "10.0.0.5", 411), ("http", "127.0.0.1", 411)],
)
def test_a_token_does_not_go_unencrypted(
    open_door: Stow, scheme: str, server: str, status: int
) -> None:
    """411: the token is looked at, and the next thing that is wrong is the missing body."""
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": scheme,
        "server": (server, 8080),
        "client": ("10.0.0.9", 40_000),
        "path": PATH,
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {TOKEN}".encode()), (b"host", b"node")],
    }
    answer = asyncio.run(open_door.door.store(Request(scope)))
    assert answer.status_code == status


def test_below_the_disk_floor_it_is_to_come_again(tmp_path: Path) -> None:
    with served(tmp_path, node={"disk_floor_gb": 1e9}) as door:
        answer = door.post(body([file()]))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert "disk" in door.refusals()[SOURCE, "STOW-RS request"]


def test_a_disk_that_fills_up_is_no_success(open_door: Stow) -> None:
    large = file("1.2.3.5", rows=60_000, pixels=bytes(3 * MIB))
    with full_disk(MIB):
        alone = open_door.post(body([large]))
        beside = open_door.post(body([file(), large]))
    assert (alone.status_code, alone.headers["retry-after"]) == (503, "30")
    assert (beside.status_code, values(beside, FAILED, REASON)) == (202, [0xA700])
    assert (open_door.instances(), len(open_door.files)) == (["1.2.3.4"], 1)
    assert open_door.post(body([large])).status_code == 200


def test_nothing_new_is_begun_when_the_node_stops(open_door: Stow) -> None:
    open_door.stopping.set()
    answer = open_door.post(body([file()]))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "application/dicom"}, 415),
        ({"Content_Type": f"multipart/form-data; boundary={MARK}"}, 415),
        ({"Content_Type": TYPE.replace("dicom", "dicom+json")}, 415),
        ({"Content_Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Content_Type": f"{TYPE}{'x' * 200}"}, 400),
        ({"Content_Type": TYPE.replace(MARK, "another")}, 400),
        ({"Content_Encoding": "gzip"}, 415),
        ({"Accept": "application/dicom+xml"}, 406),
    ],
)
def test_a_head_that_promises_nothing_good(
    open_door: Stow, headers: dict[str, str], status: int
) -> None:
    answer = open_door.post(body([file()]), **headers)
    assert (answer.status_code, bool(answer.text.strip())) == (status, True)
    assert answer.headers["connection"] == "close"
    assert (open_door.files, open_door.instances()) == ([], [])
    assert open_door.refusals()[SOURCE, "STOW-RS request"] == answer.text.strip()


@contextlib.contextmanager
def connected(door: Stow, head: str = "", token: str = TOKEN) -> Iterator[socket.socket]:
    """Open a connection and send the head of a request; `head` are its further lines."""
    lines = [f"POST {PATH} HTTP/1.1", "Host: a", f"Content-Type: {TYPE}"]
    lines += [f"Authorization: Bearer {token}", *head.splitlines()]
    with socket.create_connection(("127.0.0.1", door.port), timeout=30) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        yield sock


def all_of(sock: socket.socket) -> bytes:
    """Return what the server sends until it hangs up."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65536):
            data += piece
    return data


def chunk(data: bytes) -> bytes:
    """Return one chunk of a body (RFC 9112 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize(
    ("head", "token", "status"),
    [
        (f"Content-Length: {1 << 44}\nExpect: 100-continue", TOKEN, b"413"),
        ("", TOKEN, b"411"),
        (f"Content-Length: {1 << 20}\nExpect: 100-continue", "nobody-s", b"401"),
        ("Transfer-Encoding: chunked\nExpect: 100-continue", TOKENS["viewer"], b"403"),
    ],
)
def test_a_body_is_refused_before_it_comes(
    open_door: Stow, head: str, token: str, status: bytes
) -> None:
    with connected(open_door, head, token) as sock:
        assert all_of(sock).startswith(b"HTTP/1.1 " + status)


CHUNKED = "Transfer-Encoding: chunked"


def endless(door: Stow, first: bytes, again: bytes, most: int = 256 * MIB) -> tuple[bytes, int]:
    """Send without an end; return what is answered, and how much was sent by then."""
    with connected(door, CHUNKED) as sock:
        sent = 0
        with contextlib.suppress(ConnectionError):
            sock.sendall(chunk(first))
            while sent < most:
                sock.sendall(chunk(again))
                sent += len(again)
        return all_of(sock), sent


@pytest.mark.parametrize(
    ("first", "again", "words"),
    [
        (f"--{MARK}\r\nX: ".encode(), b"x" * 65536, "the header of a part does not end"),
        (b"x", b"x" * 65536, "before the first boundary"),
        (f"--{MARK}--".encode(), b"x" * 65536, "after the last boundary"),
        (body([file()]), b"x" * 65536, "after the last boundary"),
    ],
)
def test_what_has_no_end_is_cut(open_door: Stow, first: bytes, again: bytes, words: str) -> None:
    _, sent = endless(open_door, first, again)
    assert sent < 64 * MIB
    refused = open_door.refusals
    wait_until(lambda: words in refused().get((SOURCE, "STOW-RS request"), ""), 10, words)
    assert any(isinstance(event, Alert) for event in open_door.audit)


@pytest.mark.parametrize("cap", [{"part_bytes": MIB}, {"request_bytes": 2 * MIB}])
def test_an_instance_and_a_request_have_a_longest(tmp_path: Path, cap: dict[str, int]) -> None:
    first = f"--{MARK}\r\n\r\n".encode() + file(rows=60_000, pixels=b"")
    with served(tmp_path, StowLimits(**cap)) as door:
        _, sent = endless(door, first, bytes(65536))
        assert sent < 64 * MIB
        wait_until(lambda: "at most" in door.refusals().get((SOURCE, "STOW-RS request"), ""), 10)
        wait_until(lambda: door.files == [], 10, "the spool to be empty")


def test_a_request_has_a_number_of_parts(tmp_path: Path) -> None:
    with served(tmp_path, StowLimits(parts=2)) as door:
        answer = door.post(body([file(f"1.2.3.{n}") for n in range(3)]))
        assert (answer.status_code, len(values(answer, STORED, INSTANCE))) == (413, 2)


@pytest.mark.parametrize(("count", "status"), [(1, 400), (3, 202)])
def test_a_body_that_is_cut_short_keeps_what_was_whole(
    open_door: Stow, count: int, status: int
) -> None:
    """The last part has no boundary after it: nobody knows whether it is whole."""
    whole = body([file(f"1.2.3.{n}", rows=600, pixels=bytes(2400)) for n in range(count)])
    answer = open_door.post(whole[: -len(f"\r\n--{MARK}--\r\n")])
    assert answer.status_code == status
    kept = [f"1.2.3.{n}" for n in range(count - 1)]
    assert (open_door.instances(), len(open_door.files)) == (kept, count - 1)
    if kept:
        assert values(answer, STORED, INSTANCE) == kept
        assert values(answer, FAILED, INSTANCE) == [f"1.2.3.{count - 1}"]
    assert "ends before its last boundary" in open_door.refusals()[SOURCE, "STOW-RS request"]


def test_a_body_without_a_part_stores_nothing(open_door: Stow) -> None:
    for empty in (b"", f"--{MARK}--".encode()):
        assert open_door.post(empty).status_code == 400


def test_a_client_that_vanishes_leaves_nothing(open_door: Stow) -> None:
    with connected(open_door, "Content-Length: 100000") as sock:
        sock.sendall(body([file(), file("1.2.3.5", rows=5000, pixels=bytes(20_000))])[:-500])
        wait_until(lambda: len(open_door.files) == 2, 10, "the second part to be under way")
    wait_until(lambda: len(open_door.files) == 1, 10, "the second part to be forgotten")
    assert open_door.instances() == ["1.2.3.4"]
    wait_until(lambda: "went away" in str(open_door.refusals()), 10)


def test_a_stop_leaves_nothing_half_written(tmp_path: Path) -> None:
    with contextlib.ExitStack() as line:
        with served(tmp_path) as door:
            sock = line.enter_context(connected(door, CHUNKED))
            sock.sendall(chunk(body([file(rows=5000, pixels=bytes(20_000))])[:15_000]))
            wait_until(lambda: len(door.files) == 1, 10, "it to be under way")
        assert door.files == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (StowLimits(gap_s=0.3), "nothing of the body came for 0.3 s"),
        (StowLimits(body_s=0.2, min_rate=1 << 40), "the body comes too slowly"),
    ],
)
def test_a_body_that_stalls_or_trickles_is_ended(
    tmp_path: Path, limits: StowLimits, words: str
) -> None:
    stop = threading.Event()
    with served(tmp_path, limits) as door, connected(door, CHUNKED) as sock:
        sock.sendall(chunk(body([file(rows=9999)])[:600]))
        trickling = threading.Thread(target=_trickle, args=(sock, stop))
        if "slowly" in words:
            trickling.start()
        assert b" 408 " in all_of(sock)
        stop.set()
        assert words in door.refusals()[SOURCE, "STOW-RS request"]
        assert door.files == []
        if trickling.ident:
            trickling.join()


def _trickle(sock: socket.socket, stop: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while not stop.wait(0.02):
            sock.sendall(chunk(b"x"))


def test_a_body_outlives_what_ends_other_connections(tmp_path: Path) -> None:
    """Neither a connection's end nor a crowd that makes the oldest go ends one that stores."""
    with served(tmp_path, life_s=2.0) as door, connected(door, CHUNKED) as sock:
        whole = body([file(rows=5000, pixels=bytes(20_000))])
        sock.sendall(chunk(whole[:9000]))
        wait_until(lambda: len(door.files) == 1, 10, "it to be under way")
        with contextlib.ExitStack() as crowd:
            for _ in range(2 * MOST_CONNECTIONS):
                crowd.enter_context(socket.create_connection(("127.0.0.1", door.port), timeout=30))
            for start in range(9000, len(whole), 500):
                sock.sendall(chunk(whole[start : start + 500]))
                threading.Event().wait(0.15)
        sock.sendall(b"0\r\n\r\n")
        assert all_of(sock).startswith(b"HTTP/1.1 200 ")


def test_only_so_many_at_once_and_probes_beside_them(tmp_path: Path) -> None:
    with served(tmp_path, StowLimits(requests=1)) as door:
        with connected(door, CHUNKED) as sock:
            sock.sendall(chunk(body([file(rows=5000, pixels=bytes(20_000))])[:15_000]))
            wait_until(lambda: len(door.files) == 1, 10, "the first to be under way")
            answer = door.post(body([file("1.2.3.5")]))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
            assert httpx.get(f"{door.root}/livez", trust_env=False).status_code == 200
        wait_until(lambda: door.files == [], 10, "the first to be gone")
        wait_until(lambda: door.post(body([file("1.2.3.5")])).status_code == 200, 10)


def test_one_source_leaves_places_for_others(tmp_path: Path) -> None:
    begun = body([file(rows=5000, pixels=bytes(20_000))])[:15_000]
    with contextlib.ExitStack() as held:
        limits, gateways = StowLimits(requests=5), (GATEWAY, OTHER)
        door = held.enter_context(served(tmp_path, limits, gateways=gateways))

        def hold(token: str, number: int) -> None:
            held.enter_context(connected(door, CHUNKED, token)).sendall(chunk(begun))
            wait_until(lambda: len(door.files) == number, 10, "it to be under way")

        def refused(token: str) -> str:
            answer = door.post(body([file("1.2.3.5")]), token=token)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
            return answer.text

        for number in (1, 2, 3):
            hold(TOKEN, number)
        words = (
            "this source has {} of the 5 requests that are taken at once; {} are left for others"
        )
        assert words.format(3, 2) in refused(TOKEN)
        hold(OTHER_TOKEN, 4)
        assert words.format(1, 1) in refused(OTHER_TOKEN)
        assert words.format(3, 1) in refused(TOKEN)


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/livez"),
        ("POST", "/dicom-web/studies/1.2.3/series"),
        ("PUT", PATH),
        ("GET", PATH),
        ("POST", "/dicom-web/studies/"),
    ],
)
def test_large_bodies_are_refused_everywhere_else(open_door: Stow, verb: str, path: str) -> None:
    answer = httpx.request(
        verb,
        f"{open_door.root}{path}",
        content=bytes(MOST_BODY_BYTES + 1),
        headers={"Authorization": f"Bearer {TOKEN}"},
        trust_env=False,
    )
    assert answer.status_code == 413


def chunks_of_a_cine(frames: int, sizes: list[int], pid: int) -> Iterator[bytes]:
    """Yield a body of one large cine, and note what the node holds meanwhile."""
    frame = bytes(512 * 512)
    ds = builders.dataset(Picture(sop="1.2.3.77", study="1.2.77"), builders.tissue(2, 8, 8))
    ds.Rows = ds.Columns = 512
    ds.NumberOfFrames, ds.SamplesPerPixel, ds.PhotometricInterpretation = frames, 1, "MONOCHROME2"
    del ds.PixelData, ds.PlanarConfiguration
    buffer = io.BytesIO()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = wire.EXPLICIT
    ds.save_as(buffer, enforce_file_format=True)
    pixels = wire.element(0x7FE00010, b"OB", b"", length=frames * len(frame))
    yield body([buffer.getvalue() + pixels], end="")[: -len(f"\r\n--{MARK}")]
    for number in range(frames):
        if number % 100 == 0:
            sizes.append(Footprint.of(pid).memory)
        yield frame
    yield f"\r\n--{MARK}--\r\n".encode()


def test_a_node_takes_studies_by_stow(tmp_path: Path) -> None:
    """Orthanc's plugin pushes, and its study is analysed; a large cine takes no memory."""
    token = {"Authorization": f"Bearer {TOKEN}"}
    sources = [{"ae_title": SOURCE, "assume_axilla": True}]
    with Node(tmp_path, sources=sources, users=[GATEWAY]) as node:
        web = f"http://127.0.0.1:{node.http_port}/dicom-web/"
        servers = {"Servers": {"node": {"Url": web, "HttpHeaders": token}}}
        with Orthanc(dicomweb=True, config={"DicomWeb": servers}) as pacs:
            pushed = [pacs.upload(path.read_bytes()) for path in STILLS]
            pacs.post("/dicom-web/servers/node/stow", {"Resources": pushed, "Synchronous": True})
        study = str(read_header(STILLS[0]).StudyInstanceUID)
        found = node.settle([study])[study]
        assert (found["instances"], found["state"]) == (len(STILLS), "delivered")
        sizes: list[int] = []
        answer = httpx.post(
            f"{web}studies",
            content=chunks_of_a_cine(1000, sizes, node.pid),
            headers={**token, "Content-Type": TYPE},
            timeout=120,
            trust_env=False,
        )
        assert (answer.status_code, answer.text) == (200, answer.text)
        assert max(sizes) - sizes[0] < 64 * MIB  # of 250
