"""That nothing about a person is written where it does not belong, by the whole service.

Real sockets, real decoders, a PACS that talks back, and libraries at their most talkative; the
network alone is a stand-in (`tests.canary_node`). Promise 13 of the node: twenty values that
identify a person appear nowhere in logs, metrics, tracebacks, rows, printed lists or file names.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import JPEGBaseline8Bit
from pynetdicom import AE, evt

from dicom_io.syntaxes import RESULT_SOP_CLASSES
from tests import builders
from tests import builders_wire as wire
from tests.audit_schema import check, code
from tests.builders import Picture
from tests.canaries import CANARIES, EXTRA, SMALL, canary_files, traces
from tests.fakes_wire import RawPeer
from tests.node import AT_REST, Node, axnode, destination
from tests.peers import wait_until

pytestmark = pytest.mark.integration
NAME = CANARIES["PatientName"]


class TalkativeNode(Node):
    """A node whose libraries say all they can."""

    command = ("tests.canary_node",)


@contextmanager
def talkative_pacs() -> Iterator[int]:
    """Run a PACS that refuses twice, and says whom; yields its port."""
    answers: list[int] = [0xA700, 0xC000]

    def answer(event: evt.Event) -> Dataset:
        status = Dataset()
        status.Status = answers.pop(0) if answers else 0x0000
        status.ErrorComment = NAME
        return status

    ae = AE("PACS")
    for sop_class in RESULT_SOP_CLASSES:
        ae.add_supported_context(sop_class)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)]
    )
    yield server.socket.getsockname()[1]
    server.shutdown()


def broken_jpeg(path: Path) -> Path:
    """Write an image whose codestream is text."""
    ds = builders.dataset(Picture("1.2.5.1", "1.2.5", extra=EXTRA), SMALL)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xe0" + NAME.encode() * 400])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.save_as(path, enforce_file_format=True)
    return path


def pictures(folder: Path) -> list[Path]:
    """Write everything that is pushed over the node's usual way."""
    conflicting = Picture("1.2.3.1", "1.2.3", number=7, extra=EXTRA)
    failing = Picture("1.2.6.1", "1.2.6", extra=EXTRA, description="US AXILLA FAIL")
    two = [
        Picture(f"1.2.7.{n}", "1.2.7", extra=(*EXTRA, ("PatientID", f"CANARY-4711-{n}")))
        for n in (1, 2)
    ]
    other = Picture("1.2.8.1", "1.2.8", extra=EXTRA, description=NAME)
    made = [conflicting, failing, *two, other]
    return [
        *canary_files(folder),
        *(builders.write(folder / f"p{n}.dcm", p, SMALL) for n, p in enumerate(made)),
        broken_jpeg(folder / "jpeg.dcm"),
    ]


def push_by_hand(port: int) -> list[int]:
    """Push what no honest peer would: names where UIDs belong; return the statuses."""
    name = NAME.replace("^", ".")
    contexts = [
        wire.context(1, wire.US_IMAGE, [wire.EXPLICIT]),
        wire.context(3, name, [wire.EXPLICIT]),
        wire.context(5, wire.US_IMAGE, [name]),
    ]
    pushed = [
        (name, wire.dataset(instance=name)),
        ("1.2.9.1", wire.dataset(instance="1.2.9.1", study=name)),
        ("1.2.9.2", wire.dataset(instance="1.2.9.3")),
        ("1.2.9.4", NAME.encode() * 100),
    ]
    statuses = []
    with RawPeer(port) as peer:
        identity = wire.user_name(NAME.encode(), respond=True)
        peer.send(wire.associate_rq(contexts, user_items=identity))
        assert peer.receive()[0] == 2
        for instance, data in pushed:
            head = wire.command(1, sop_class=wire.US_IMAGE, instance=instance, has_data_set=True)
            peer.send(wire.p_data((1, 3, head)))
            peer.send(wire.p_data((1, 2, data)))
            statuses.append(peer.status())
    with RawPeer(port) as peer:
        peer.send(wire.pdu(0xFF, NAME.encode()))
        assert peer.receive()[0] == 7  # A-ABORT
    return statuses


def told(node: Node, *words: str) -> str:
    """Return what a command of the node's operator prints."""
    done = axnode(*words, "--config", str(node.config_file))
    return done.stdout + done.stderr


def rows(state: Path) -> list[tuple[str, Any]]:
    """Return every value of every table."""
    with sqlite3.connect(state / "axnode.sqlite") as connection:
        tables = connection.execute("select name from sqlite_master where type = 'table'")
        return [
            (table, value)
            for (table,) in tables.fetchall()
            for row in connection.execute(f"select * from {table}")  # noqa: S608 - our own names
            for value in row
        ]


def test_no_canary_is_written_where_it_does_not_belong(tmp_path: Path) -> None:
    with (
        talkative_pacs() as port,
        TalkativeNode(
            tmp_path,
            [destination("pacs", "PACS", port)],
            results={"secondary_capture": "on", "presentation_state": "on"},
        ) as node,
    ):
        node.push(pictures(tmp_path / "in"))
        statuses = push_by_hand(node.port)
        known = set(node.studies())
        # what is tried again later need not be waited for
        node.settle(known - {"1.2.6", "1.2.8"}, (*AT_REST, "delivering"))
        node.settle(["1.2.8"], ["ignored"])
        wait_until(lambda: node.events("delivered") != [], 60, "a delivery")
        wait_until(lambda: '"action": "attempt_failed"' in node.log, 60, "a failed attempt")
        printed = {
            "probes": "".join(node.get(path).text for path in ("livez", "readyz", "metrics")),
            "status": told(node, "status") + told(node, "status", "--json"),
            "studies": told(node, "studies") + told(node, "studies", "--json"),
            "retry": told(node, "retry", "1.2.7"),
        }
        assert node.stop() == 0
    state = tmp_path / "state"
    files = [path for path in state.rglob("*") if path.is_file()]
    images = [path for path in files if path.suffix == ".dcm"]
    # the canaries came in, and everybody had a reason to talk of them
    held = b"".join(path.read_bytes() for path in images)
    assert set(traces(held)) >= set(CANARIES.values())
    assert statuses == [0x0117, 0xC000, 0xA900, 0xC000]
    words = [*node.log.splitlines(), *printed.values()]
    for expected in (
        '"logger": "warnings.UserWarning"',
        '"logger": "pynetdicom',
        '"message": "message of a library, withheld"',
        '"action": "uncaught"',
        '"action": "conflict"',
        '"action": "store_refused"',
        '"error": "ValueError at canary_node.py',
    ):
        assert expected in node.log, expected
    known_uids = "|".join(re.escape(uid) for uid in known)
    assert re.search(rf"(?<![\d.])({known_uids})(?![\d.])", node.log + printed["probes"]) is None
    # and nobody wrote one down
    assert [(word, traces(word)) for word in words if traces(word)] == []
    assert [path for path in files if traces(path.name)] == []
    assert [value for value in rows(state) if traces(str(value))] == []
    trail = [line for path in (state / "audit").iterdir() for line in path.read_text().splitlines()]
    ids = [code(check(line)[0], "EventID") for line in trail]
    assert {ids[0], ids[-1]} == {"110100"}  # start and stop
    assert {"110104", "110113"} <= set(ids)
    assert any("not a DICOM association request" in line for line in trail)
    assert [path for path in state.rglob("*") if path.stat().st_mode & 0o077] == []
    rest = [path for path in files if path not in images]
    assert [path for path in rest if traces(path.read_bytes())] == []
    assert len(rest) >= 3  # database, lock, audit trail
