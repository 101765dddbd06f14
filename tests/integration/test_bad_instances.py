"""Instances that are well sent and hide something: what the node answers, keeps and notes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Row

from daemon import schema
from daemon.database import Database
from daemon.receive import OUR_MANUFACTURER
from dicom_io.syntaxes import RESULT_SOP_CLASSES
from tests import builders
from tests import builders_wire as wire
from tests.builders import Rows
from tests.fakes_wire import RawPeer
from tests.footprint import MIB, forget_peak
from tests.misbehaviour import ABSURD, CALLING, CT, RLE, header, image, request, store
from tests.peers import dcmtk, wait_until
from tests.reception_node import MODALITY, Modality, ReceptionNode, associated

pytestmark = pytest.mark.integration

SEG, SR, SC = (RESULT_SOP_CLASSES[n] for n in (0, 1, 3))
TABLES = {
    "node": {"ignore_classes": [CT]},
    "sources": [{"ae_title": "US1", "host": MODALITY}, {"ae_title": CALLING}],
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ReceptionNode]:
    with ReceptionNode(tmp_path, {"linger_s": 0.2}, TABLES) as running, Modality(running):
        yield running


def push(
    node: ReceptionNode,
    data: bytes,
    instance: str = "1.2.7.1",
    sop_class: str = wire.US_IMAGE,
    syntax: str = wire.EXPLICIT,
) -> int:
    """Store one data set as the peer that may call, and release."""
    with associated(node.port, request(syntax, sop_class=sop_class)) as peer:
        store(data, instance, sop_class)(peer)
        status = peer.status()
        peer.send(wire.pdu(5, bytes(4)))
        assert peer.receive() == (6, bytes(4))
        return status


def mine(node: ReceptionNode) -> dict[str, Row[tuple[object, ...]]]:
    """Map SOP Instance UID to row of what did not come from the modality beside."""
    rows = node.rows(schema.instances)
    return {row.sop_instance_uid: row for row in rows if row.source_ae == CALLING}


def spooled(node: ReceptionNode) -> dict[str, bytes]:
    """Map SOP Instance UID to the file of the same rows."""
    return {
        uid: (node.root / "spool" / row.instance_hash[:2] / f"{row.instance_hash}.dcm").read_bytes()
        for uid, row in mine(node).items()
    }


# Row 17: reception takes what fits its bytes, and decodes nothing


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_header_is_stored_without_a_thought(node: ReceptionNode, name: str) -> None:
    before = node.footprint()
    forget_peak(node.pid)
    assert push(node, ABSURD[name](), syntax=RLE) == 0x0000
    assert spooled(node)["1.2.7.1"].endswith(ABSURD[name]())
    assert node.footprint().peak - before.memory < 32 * MIB


def test_a_native_image_of_more_frames_than_bytes_is_refused(node: ReceptionNode) -> None:
    data = header(frames=10**9) + wire.element(0x7FE00010, b"OW", bytes(16))
    assert push(node, data) == 0xC000
    assert mine(node) == {}


# Row 18


@pytest.mark.parametrize("preamble", [b"MZ" + b"\x90" * 126, b"\x7fELF" + b"\x02" * 124])
def test_an_executable_preamble_is_not_written(
    node: ReceptionNode, tmp_path: Path, preamble: bytes
) -> None:
    """CVE-2019-11687: a file that is a program and an image (PS3.10 7.1)."""
    path = builders.write(tmp_path / "polyglot.dcm", builders.Picture("1.2.7.1", "1.2.7"))
    path.write_bytes(preamble + path.read_bytes()[128:])
    dcmtk("storescu", "-aet", CALLING, "-aec", "AXNODE", "127.0.0.1", node.port, path)
    (data,) = spooled(node).values()
    assert data[:132] == bytes(128) + b"DICM"
    assert preamble[:16] not in data


# Row 19


@pytest.mark.parametrize(
    "name",
    [b"<script>alert(1)</script>^X", b'Doe\n{"action": "forged"}^', b"Doe\x1b[2J\x1b]0;x\x07"],
)
def test_a_hostile_name_is_kept_to_the_byte_and_told_to_nobody(
    node: ReceptionNode, name: bytes
) -> None:
    value = name + b" " * (len(name) % 2)
    data = image(extra=wire.element(0x00100010, b"PN", value))
    assert push(node, data) == 0x0000
    assert push(node, image(extra=wire.element(0x00100010, b"PN", value[::-1]))) == 0x0111
    assert spooled(node)["1.2.7.1"].endswith(data)
    words = name.split(b"^")[0].decode()
    assert words not in node.log
    tables = (schema.studies, schema.instances, schema.events, schema.refusals)
    assert all(words not in str(node.rows(table)) for table in tables)


@pytest.mark.parametrize(
    ("title", "answer", "shown"),
    [('<b>"};--', 3, '<b>"};--'), ("X\n\x1b[2J", 7, "")],
)
def test_a_hostile_title_is_one_line_of_the_log(
    node: ReceptionNode, title: str, answer: int, shown: str
) -> None:
    """PS3.5 6.2: a title has no control characters; such a request is damaged."""
    with RawPeer(node.port) as peer:
        peer.send(request(calling=title))
        assert peer.receive()[0] == answer
        assert peer.at_end()
    wait_until(lambda: ("127.0.0.1", shown, "association") in node.refusals())
    lines = [json.loads(line) for line in node.log.splitlines()]
    assert any(shown in line["message"] for line in lines if line["level"] == "warning")
    assert "\x1b" not in node.log


# Row 20


def test_the_same_bytes_and_another_syntax_are_a_success_and_other_content_a_conflict(
    node: ReceptionNode,
) -> None:
    first = image()
    assert push(node, first) == 0x0000
    studies = [row for row in node.rows(schema.studies) if row.study_uid == "1.2.7"]
    assert push(node, first) == 0x0000
    implicit = wire.dataset(wire.IMPLICIT, instance="1.2.7.1", study="1.2.7")
    assert push(node, implicit, syntax=wire.IMPLICIT) == 0x0000
    assert push(node, image(pixels=b"\2" * 16)) == 0x0111
    assert spooled(node)["1.2.7.1"].endswith(first)
    assert len(mine(node)) == 1
    assert [row for row in node.rows(schema.studies) if row.study_uid == "1.2.7"] == studies
    actions = [row.action for row in node.rows(schema.events) if row.entity == "instance"]
    assert actions == ["transcoded", "conflict"]
    assert '"action": "conflict"' in node.log


def test_a_conflict_of_two_giants_takes_no_memory(node: ReceptionNode) -> None:
    """Two instances of one UID are compared by their headers, and a header may be a gigabyte."""
    private = wire.element(0x00090010, b"LO", b"TESTS ")

    def giant(byte: bytes) -> bytes:
        return image(extra=private + wire.element(0x00091001, b"OB", byte * (48 * MIB)))

    before = node.footprint()
    assert push(node, giant(b"1")) == 0x0000
    forget_peak(node.pid)
    assert push(node, giant(b"2")) == 0x0111
    assert node.footprint().peak - before.memory < 48 * MIB


# Row 23


def test_an_ignored_class_is_taken_noted_and_dropped(node: ReceptionNode) -> None:
    for _ in range(2):
        assert push(node, image(sop_class=CT), sop_class=CT) == 0x0000
    assert mine(node) == {}
    reason, count = node.refusals()["127.0.0.1", CALLING, "ignored CT Image Storage"]
    assert (count, "node.ignore_classes" in reason) == (2, True)


# Row 25


@pytest.mark.parametrize("sop_class", [SEG, SR, SC], ids=["SEG", "SR", "SC"])
def test_our_own_object_back_changes_nothing(node: ReceptionNode, sop_class: str) -> None:
    assert push(node, image()) == 0x0000
    before = mine(node), _study(node)
    maker = OUR_MANUFACTURER.encode()
    ours = image(sop_class=sop_class, instance="1.2.7.2", pixels=None).replace(b"Maker ", maker)
    assert push(node, ours, "1.2.7.2", sop_class) == 0x0000
    assert (mine(node), _study(node)) == before
    assert node.log.count('"action": "own_object"') == 1


def _study(node: ReceptionNode) -> list[Row[tuple[object, ...]]]:
    return [row for row in node.rows(schema.studies) if row.study_uid == "1.2.7"]


# Row 26


def test_two_patients_in_one_study_park_it(tmp_path: Path) -> None:
    with ReceptionNode(tmp_path, {"linger_s": 0.2}, TABLES) as node:
        with Modality(node):
            push_two_patients(node)
        node.stop()
        database = Database(f"sqlite:///{node.state / 'axnode.sqlite'}")
    try:
        rows = Rows(database)
        rows.assembler(study={"quiet_period_s": 0}).sweep()
        study = rows.study("1.2.7")
        assert (study.state, study.version) == ("parked", 0)
        assert "different patients" in study.reason
        others = {row.state for row in rows.all(schema.studies) if row.study_uid != "1.2.7"}
        assert others == {"queued"}
    finally:
        database.close()


def push_two_patients(node: ReceptionNode) -> None:
    """Store two images of one study whose PatientIDs differ."""
    assert push(node, image()) == 0x0000
    other = image(instance="1.2.7.2").replace(b"PID7", b"PID8")
    assert push(node, other, "1.2.7.2") == 0x0000
    keys = {row.patient_key for row in mine(node).values()}
    assert len(keys) == 2
    assert not any("PID" in key for key in keys)
