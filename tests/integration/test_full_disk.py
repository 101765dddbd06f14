"""A disk that fills up under a node that receives, and has room again."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon import schema
from tests import builders_wire as wire
from tests import misbehaviour
from tests.fakes_wire import RawPeer
from tests.peers import system_tool, wait_until
from tests.reception_node import ASSOCIATE, MODALITY, ReceptionNode, associated, store_pdu

pytestmark = pytest.mark.integration

CONGESTED = (3, bytes((0, 2, 3, 1)))
IMAGE_BYTES = 300_000
RESUME_S = 10.0


@contextmanager
def on_small_disk(folder: Path, megabytes: int, floor_gb: float) -> Iterator[ReceptionNode]:
    """Run a node whose state lies on a file system of its own, which goes with the process."""
    state = folder / "disk"
    state.mkdir()
    mount = f'mount -t tmpfs -o size={megabytes}m none "$0" && exec "$@"'
    wrapper = [system_tool("unshare"), "-Urm", "sh", "-c", mount, str(state)]
    if subprocess.run([*wrapper, "true"], check=False, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here, not even in a namespace of one's own")
    tables = {"node": {"disk_floor_gb": floor_gb}}
    with ReceptionNode(folder, {"linger_s": 0.2}, tables, wrapper, state) as node:
        yield node


def fill(node: ReceptionNode, leave: int) -> Path:
    """Fill the disk but for `leave` bytes; return the file that does."""
    path = node.root / "filler"
    with path.open("wb") as file:
        file.write(bytes(shutil.disk_usage(node.root).free - leave))
    return path


def image(number: int) -> tuple[str, bytes]:
    """Return UID and data set of an image."""
    uid = f"1.2.7.{number}"
    return uid, wire.dataset(instance=uid, study="1.2.7", pixels=bytes(IMAGE_BYTES))


def push(peer: RawPeer, number: int) -> int:
    """Store one image; return the status."""
    play = misbehaviour.store(image(number)[1], image(number)[0])
    play(peer)
    return peer.status()


def acknowledged(node: ReceptionNode) -> set[str]:
    """UIDs of the recorded instances, whose files are whole and all that lies in the spool."""
    rows = node.rows(schema.instances)
    files = {path.stem: path.read_bytes() for path in node.files()}
    assert set(files) == {row.instance_hash for row in rows}
    for row in rows:
        number = int(row.sop_instance_uid.rpartition(".")[2])
        assert files[row.instance_hash].endswith(image(number)[1])
    return {row.sop_instance_uid for row in rows}


def answer(node: ReceptionNode) -> tuple[int, bytes]:
    """Ask for an association; return type and body of the answer."""
    with RawPeer(node.port, MODALITY) as peer:
        peer.send(ASSOCIATE)
        return peer.receive()


def test_below_the_floor_nothing_is_taken_until_there_is_room(tmp_path: Path) -> None:
    """Hazards: new associations RJ 2/3/1, in flight 0xA700, and taken again at once."""
    with (
        on_small_disk(tmp_path, 16, floor_gb=0.004) as node,
        associated(node.port, source=MODALITY) as peer,
    ):
        assert push(peer, 1) == 0x0000
        filler = fill(node, leave=3 << 20)
        assert answer(node) == CONGESTED
        assert push(peer, 2) == 0xA700
        assert acknowledged(node) == {"1.2.7.1"}
        filler.unlink()
        since = time.monotonic()
        wait_until(lambda: answer(node)[0] == 2, RESUME_S)
        assert push(peer, 2) == 0x0000
        print(f"taken again {time.monotonic() - since:.3f} s after the space was back")
        assert acknowledged(node) == {"1.2.7.1", "1.2.7.2"}
        (reason, _) = node.refusals()[MODALITY, "US1", "association"]
    assert "node.disk_floor_gb" in reason


def test_a_disk_that_is_full_to_the_last_byte_loses_nothing(tmp_path: Path) -> None:
    """Without a floor: the file or the row does not fit, 0xA700, and the association lives."""
    with (
        on_small_disk(tmp_path, 4, floor_gb=0) as node,
        associated(node.port, source=MODALITY) as peer,
    ):
        filler = fill(node, leave=1 << 20)
        stored = [number for number in range(1, 9) if push(peer, number) == 0x0000]
        assert 0 < len(stored) < 5
        assert {push(peer, 100 + number) for number in range(3)} == {0xA700}
        filler.unlink()
        assert push(peer, 200) == 0x0000
        assert acknowledged(node) == {f"1.2.7.{number}" for number in (*stored, 200)}


def test_a_row_that_does_not_fit_is_no_success(tmp_path: Path) -> None:
    """The file is durable already when the database finds the disk full."""
    with (
        on_small_disk(tmp_path, 4, floor_gb=0) as node,
        associated(node.port, source=MODALITY) as peer,
    ):
        assert push(peer, 1) == 0x0000
        fill(node, leave=IMAGE_BYTES + 8192)
        statuses = [push(peer, number) for number in range(2, 6)]
        assert statuses == [0xA700] * 4
        assert "commit failed" in node.log
        assert acknowledged(node) == {"1.2.7.1"}
        (node.root / "filler").unlink()
        assert push(peer, 2) == 0x0000
        assert acknowledged(node) == {"1.2.7.1", "1.2.7.2"}


def test_files_that_may_not_grow_are_refused(tmp_path: Path) -> None:
    """RLIMIT_FSIZE, as a quota would; the small images beside are taken."""
    wrapper = [system_tool("prlimit"), "--fsize=1000000"]
    with (
        ReceptionNode(tmp_path, {"linger_s": 0.2}, None, wrapper) as node,
        associated(node.port, source=MODALITY) as peer,
    ):
        large = wire.dataset(instance="1.2.7.1", study="1.2.7", pixels=bytes(4 * IMAGE_BYTES))
        misbehaviour.store(large, "1.2.7.1")(peer)
        assert peer.status() == 0xA700
        small = wire.dataset(instance="1.2.7.9", study="1.2.7")
        peer.send(store_pdu("1.2.7.9", small))
        assert peer.status() == 0x0000
        assert len(node.files()) == 1
