"""Files named by what they hold: the bytes of instances as they came, and of results as built.

A file is written under a temporary name, synced, renamed and its folder synced, so that a name
that exists holds all its bytes. Two folders: ``spool`` (instances) and ``objects`` (results), each
with 256 shards made beforehand.
"""

import contextlib
import errno
import hashlib
import itertools
import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from daemon import failpoints
from daemon.errors import UnavailableError
from daemon.patient import Patient

_counter = itertools.count()
_ABANDONED_S = 3 * 86400.0
Result = TypeVar("Result")


class Spool:
    """One folder of content-named files.

    Parameters
    ----------
    root
        The folder; made where it is missing, readable by the service's user only.
    owner
        The service owns its folders. Commands that look into those of a running service, perhaps
        as another user, do not, and make nothing.
    writer
        Names who writes, among several nodes that share the folder; one process at a time does
        under a name.
    mark
        Of a folder that nodes share: a file that is there as long as the share is.
    patience_s
        How long a share's server is waited for by who asks for room.
    """

    def __init__(
        self,
        root: Path,
        *,
        owner: bool = True,
        writer: str = "",
        mark: Path | None = None,
        patience_s: float = 5.0,
    ) -> None:
        self.root = root
        self._mark = mark
        self._room = Patient(self._shared_room, patience_s)
        self._writer = f"{hashlib.sha256(writer.encode()).hexdigest()[:12]}-"
        self._incoming = root / "incoming"
        if owner:
            self._make()

    def _make(self) -> None:
        root = self.root
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._incoming.mkdir(exist_ok=True, mode=0o700)
            for shard in range(256):
                (root / f"{shard:02x}").mkdir(exist_ok=True, mode=0o700)
            _sync(root)  # a power cut must not take a shard with its first file
            self._sweep()
        except OSError as error:
            raise UnavailableError(
                f"cannot write {root} ({error.strerror}): make node.state_dir a folder that the "
                "service's user owns"
            ) from error

    def _sweep(self) -> None:
        # what an earlier process of this name left half-written was never acknowledged; what a node
        # left that does not come back goes after days
        now_s = time.time()
        for part in self._incoming.iterdir():
            mine = part.name.startswith(self._writer) and not self._alive(part.name)
            if mine or now_s - _touched_s(part, now_s) > _ABANDONED_S:
                part.unlink(missing_ok=True)

    def _alive(self, name: str) -> bool:
        pid = name.removeprefix(self._writer).partition("-")[0]
        return pid.isdigit() and int(pid) != os.getpid() and Path(f"/proc/{pid}").exists()

    def is_there(self) -> bool:
        """Tell whether the folder is the one that it was at the start."""
        try:
            return self._mark is None or _is_named(self._mark)
        except OSError:  # of a share that is not there
            return False

    def require(self) -> None:
        """Raise `UnavailableError` where the folder is not the one that it was at the start."""
        if not self.is_there():
            raise UnavailableError("node.spool_dir is not there; is it mounted?")

    def names(self, shard: int, older_s: float, now_s: float) -> list[str]:
        """Return the hashes of one of the 256 shards whose files were not touched for `older_s`."""
        folder = self.root / f"{shard:02x}"
        files = folder.glob("*.dcm") if folder.is_dir() else ()
        return sorted(path.stem for path in files if now_s - _touched_s(path, now_s) > older_s)

    def path(self, digest: str) -> Path:
        """Return where the file of this hash lies, or would lie."""
        return self.root / digest[:2] / f"{digest}.dcm"

    def holds(self, digest: str) -> bool:
        """Tell whether the file of this hash is there, asking the disk, not what is remembered."""
        return _is_named(self.path(digest))

    def incoming(self) -> "Incoming":
        """Open a new file for writing."""
        return Incoming(self, self._incoming / f"{self._writer}{os.getpid()}-{next(_counter)}.part")

    def put(self, data: bytes) -> str:
        """Store `data` durably; return its SHA-256, its name."""
        digest = hashlib.sha256(data).hexdigest()
        with contextlib.closing(self.incoming()) as file:
            file.write(data)
            file.keep(digest)
        return digest

    def remove(self, digest: str) -> None:
        """Delete a file that no row names any more."""
        self.path(digest).unlink(missing_ok=True)

    def sync(self, digests: Iterable[str]) -> None:
        """Make the removal of files durable."""
        for folder in sorted({self.path(digest).parent for digest in digests}):
            _sync(folder)

    def free_bytes(self) -> int:
        """Return the free space of the file system."""
        return shutil.disk_usage(self.root).free

    def room(self) -> int:
        """Return the free space; of a folder that nodes share, within seconds.

        A client of NFS lets whoever asks wait until the server is back.

        Raises
        ------
        UnavailableError
            The disk would not say: a share is not there, or its server does not answer.
        """
        try:
            return self.free_bytes() if self._mark is None else self._room()
        except TimeoutError:
            words = "node.spool_dir does not answer; is its server there?"
            raise UnavailableError(words) from None
        except OSError as error:
            words = f"the disk does not tell its free space ({error.strerror})"
            raise UnavailableError(words) from error

    def _shared_room(self) -> int:
        self.require()
        return self.free_bytes()


def found(path: Path, look: Callable[[Path], Result]) -> Result:
    """Return what `look`, which opens a file, makes of it, wherever in the cluster it was made.

    A client of NFS remembers for up to a minute that a name was not there, or was deleted here,
    even if another node makes the file meanwhile; to open its folder has it ask the server again.
    The mount option ``lookupcache=positive`` does the same.

    Raises
    ------
    FileNotFoundError
        It is not there.
    """
    try:
        return look(path)
    except FileNotFoundError:
        os.close(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY))
        return look(path)


def _is_named(path: Path) -> bool:
    try:
        return found(path, _stat).st_nlink > 0
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return False
        raise


def _stat(path: Path) -> os.stat_result:
    # opened, for what is asked without that is answered from attributes up to a minute old; and
    # asked again, for what somebody here holds open is opened without the server
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _touched_s(path: Path, now_s: float) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # deleted meanwhile
        return now_s


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Incoming:
    """A file on its way into the spool; `keep` or `close` ends it."""

    def __init__(self, spool: Spool, path: Path) -> None:
        self._spool = spool
        self.path = path
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        self._named = False  # it has the name that it is kept under
        self.size = 0  # bytes written
        failpoints.reach("spool.opened")

    def write(self, *pieces: bytes | memoryview) -> None:
        """Append `pieces`, in one system call where the disk takes them."""
        left = [memoryview(piece) for piece in pieces]
        while left:
            written = os.writev(self._fd, left)
            self.size += written
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]

    @contextlib.contextmanager
    def mapped(self) -> Iterator[memoryview]:
        """Map the bytes written so far, for reading."""
        with (
            mmap.mmap(self._fd, self.size, prot=mmap.PROT_READ) as mapping,
            memoryview(mapping) as view,
        ):
            yield view

    def sync(self) -> None:
        """Force the bytes to the disk."""
        os.fsync(self._fd)

    def keep(self, digest: str) -> Path:
        """Sync the file and give it its name; durable when this returns."""
        failpoints.reach("spool.written")
        self.sync()
        failpoints.reach("spool.synced")
        target = self._spool.path(digest)
        self._rename(target)
        self._named = True
        failpoints.reach("spool.renamed")
        _sync(target.parent)
        failpoints.reach("spool.kept")
        return target

    def _rename(self, target: Path) -> None:
        try:
            os.rename(self.path, target)
        except FileNotFoundError:
            # a server of a share that died before it answered is asked again for what it has done
            if not os.path.samestat(os.fstat(self._fd), found(target, _stat)):
                raise

    def close(self) -> None:
        """Close; what was not kept is deleted."""
        if self._fd < 0:
            return
        # the number may be another file's as soon as it is closed, even where that raises
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
        finally:
            if not self._named:
                self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Folders:
    """What lies in the state folder beside the database."""

    spool: Spool  # instances as they came
    objects: Spool  # results as built
    scratch: Path  # the analysing process's masks
