"""Files named by what they hold: durable before they have their name."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import integrity
from daemon.errors import UnavailableError
from daemon.spool import Spool
from tests import builders
from tests.builders import Picture
from tests.fakes import full_disk, mounted

DIGEST = "ab" + "0" * 62


def leftovers(spool: Spool) -> list[str]:
    return sorted(path.name for path in (spool.root / "incoming").iterdir())


def test_a_file_gets_its_name_with_all_its_bytes(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    file = spool.incoming()
    for piece in (b"one ", memoryview(b"two"), b""):
        file.write(piece)
    assert not spool.path(DIGEST).exists()
    kept = file.keep(DIGEST)
    file.close()
    assert kept == spool.path(DIGEST) == tmp_path / "spool" / "ab" / f"{DIGEST}.dcm"
    assert (kept.read_bytes(), file.size) == (b"one two", 7)
    assert leftovers(spool) == []


def test_what_is_not_kept_is_deleted(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    file = spool.incoming()
    file.write(b"half")
    assert len(leftovers(spool)) == 1
    file.close()
    file.close()
    assert leftovers(spool) == []


def test_the_same_content_again_is_the_same_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    digest = spool.put(b"report")
    assert digest == hashlib.sha256(b"report").hexdigest() == spool.put(b"report")
    assert spool.path(digest).read_bytes() == b"report"


def test_the_bytes_can_be_walked_before_they_are_kept(tmp_path: Path) -> None:
    file = Spool(tmp_path).incoming()
    file.write(b"header data")
    with file.mapped() as view:
        assert bytes(view[7:]) == b"data"
    file.close()


def test_pieces_come_one_behind_another(tmp_path: Path) -> None:
    file = Spool(tmp_path).incoming()
    file.write(b"", b"head", memoryview(b"data"))
    file.write(b"", b"more")
    assert (file.path.read_bytes(), file.size) == (b"headdatamore", 12)
    file.close()


@pytest.mark.parametrize("most", [2, 6])
def test_a_disk_that_fills_within_a_piece_is_told(tmp_path: Path, most: int) -> None:
    file = Spool(tmp_path).incoming()
    with full_disk(most), pytest.raises(OSError, match="too large"):
        file.write(b"head", b"data")
    assert (file.path.read_bytes(), file.size) == (b"headdata"[:most], most)
    file.close()
    assert leftovers(Spool(tmp_path)) == []


def test_all_shards_are_there_for_the_user_only(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    spool = Spool(root)
    shards = [path for path in root.iterdir() if path.name != "incoming"]
    assert sorted(path.name for path in shards) == [f"{n:02x}" for n in range(256)]
    file = spool.incoming()
    assert {path.stat().st_mode & 0o077 for path in (root, *shards, file.path)} == {0}
    file.close()


def test_a_start_sweeps_what_a_dead_process_left(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    incoming = tmp_path / "incoming"
    mine, others = spool._writer, Spool(tmp_path, writer="another node")._writer
    dead, alive = f"{gone.pid}-0.part", "1-0.part"  # process 1 lives: it may be a receiver's
    for name in (mine + dead, f"{mine}{os.getpid()}-999.part", mine + alive, others + dead):
        (incoming / name).write_bytes(b"half")
    abandoned = incoming / f"{others}{gone.pid}-1.part"
    abandoned.write_bytes(b"half")
    os.utime(abandoned, (0, 0))
    kept = spool.put(b"whole")
    again = Spool(tmp_path)
    # another node's is that node's, whose processes are not seen here
    assert leftovers(again) == sorted([mine + alive, others + dead])
    assert again.path(kept).exists()


SYNC_ORDER = """
import os, sys
from pathlib import Path
from daemon.spool import Spool
from tests.fakes import full_disk
spool = Spool(Path(sys.argv[1]))
calls = []
def spy(event, arguments):
    if event == "os.rename":
        calls.append("rename")
sys.addaudithook(spy)
real = os.fsync
os.fsync = lambda fd: (calls.append("fsync " + os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1]
file = spool.incoming()
file.write(b"data")
target = file.keep("ab" + "0" * 62)
file.close()
print([c.replace(str(target.parent), "SHARD").replace(str(file.path), "PART") for c in calls])
"""


def test_the_order_is_bytes_name_folder(tmp_path: Path) -> None:
    """Watched in a process of its own: sync of the file, rename, sync of its folder."""
    done = subprocess.run(
        [sys.executable, "-c", SYNC_ORDER, str(tmp_path.resolve())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(["fsync PART", "rename", "fsync SHARD"])


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from daemon.spool import Spool
from tests.fakes import full_disk
spool = Spool(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    spool.put(b"x" * 10000)
except OSError as error:
    print(type(error).__name__, len(list((spool.root / "incoming").iterdir())))
"""


def test_a_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["OSError", "0"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match=r"cannot write .*file/spool.*node\.state_dir"):
        Spool(tmp_path / "file" / "spool")


def test_free_space_is_that_of_the_file_system(tmp_path: Path) -> None:
    state = os.statvfs(tmp_path)
    assert Spool(tmp_path).free_bytes() == pytest.approx(state.f_bavail * state.f_frsize, rel=0.2)


def test_a_file_is_found_that_another_node_made_after_it_was_looked_for(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    digest = spool.put(b"image")
    with mounted() as share:
        share.missing(spool.path(digest))
        assert integrity.fault(spool.path(digest), digest, integrity.object_digest) == ""
        share.missing(spool.path(digest))
        assert spool.holds(digest)
        assert not spool.holds(DIGEST)
    other = spool.path(DIGEST)
    assert integrity.fault(other, DIGEST, integrity.object_digest) == "missing"


def test_a_file_that_another_node_has_deleted_is_not_held(tmp_path: Path) -> None:
    """Whatever is remembered of it here, or held open."""
    spool = Spool(tmp_path)
    digest = spool.put(b"image")
    with mounted() as share:
        for number in (errno.ENOENT, errno.ESTALE):
            share.fails(spool.path(digest), number)
            assert spool.path(digest).exists()
            assert not spool.holds(digest)
        share.fails(spool.path(digest), errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            spool.holds(digest)


def test_a_rename_whose_answer_was_lost_is_done(tmp_path: Path) -> None:
    """The server died after it and before its answer; the client asks again, and is told no."""
    spool = Spool(tmp_path)
    with mounted() as share:
        for _ in range(2):  # the second in the place of the first
            share.answers_lost = 1
            digest = spool.put(b"image")
            assert share.answers_lost == 0
            assert spool.path(digest).read_bytes() == b"image"


def test_a_file_that_was_swept_before_it_had_its_name_is_none(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for _ in range(2):  # the second time the same lies there already
        file = spool.incoming()
        file.path.unlink()
        with pytest.raises(FileNotFoundError):
            file.keep(DIGEST)
        file.close()
        spool.path(DIGEST).write_bytes(b"another's")


def test_an_image_is_verified_without_being_mapped(tmp_path: Path) -> None:
    """A page that the server does not give would end the process, not raise."""
    spool = Spool(tmp_path)
    digest = builders.spooled(spool, Picture())
    with mounted() as share:
        assert integrity.fault(spool.path(digest), digest, integrity.instance_digest) == ""
        assert share.maps == 0


def test_a_share_that_does_not_answer_is_not_there(tmp_path: Path) -> None:
    mark = tmp_path / "database"
    spool = Spool(tmp_path / "spool", mark=mark)
    assert not spool.is_there()
    mark.write_text("mine")
    assert spool.is_there()
    with mounted() as share:
        share.fails(mark, errno.ESTALE)
        assert not spool.is_there()


def test_a_file_whose_closing_fails_is_not_closed_again(tmp_path: Path) -> None:
    """Its number is another file's by then; NFS tells of a full disk when a file is closed."""
    incoming = Spool(tmp_path).incoming()
    os.close(incoming._fd)  # so that closing fails
    with pytest.raises(OSError, match="Bad file descriptor"):
        incoming.close()
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)
    incoming.close()
    assert os.write(other, b"x") == 1
    os.close(other)
    assert not incoming.path.exists()
