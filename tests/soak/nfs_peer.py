"""What runs within the machines of `tests.soak.nfs`: a spool used from two kernels at once.

``worker`` answers; ``receiver`` stores, tells the worker of each file as the database would, and
asks what it sees; ``store`` stores without a pause and says what was acknowledged, ``read`` reads
without one; ``verify`` hashes everything.
"""

import hashlib
import json
import os
import random
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from daemon import integrity
from daemon.spool import Spool
from tests.soak.nfs_machines import SHARED

_PORT = 9710
_LONGEST_S = 150.0  # what is not seen by then is not seen
_KILOBYTE = 1000


def _spool() -> Spool:
    return Spool(Path(SHARED) / "objects", writer=socket.gethostname())


def data(kilobytes: int) -> bytes:
    """Return bytes that nobody has stored before."""
    return random.randbytes(kilobytes * _KILOBYTE)


def name(content: bytes) -> str:
    """Return what a content's file is named by."""
    return hashlib.sha256(content).hexdigest()


class Worker:
    """The other node: does what it is asked."""

    def __init__(self) -> None:
        self.spool = _spool()
        self._held: list[tuple[str, Any, Any]] = []

    def look(self, names: Sequence[str]) -> list[bool]:
        """Tell which files are there, as `Path.exists` has it."""
        return [self.spool.path(digest).exists() for digest in names]

    def _fault(self, digest: str, by: str) -> str:
        path = self.spool.path(digest)
        try:
            if by == "node":
                return integrity.fault(path, digest, integrity.object_digest)
            return "" if integrity.object_digest(path) == digest else "damaged"
        except OSError as error:
            return errno_name(error)

    def read(self, names: Sequence[str], by: str = "open") -> dict[str, Any]:
        """Read files that are there, by an `open` or as the node does, until all are seen."""
        began, left, errors = time.monotonic(), list(names), []
        first, longest, damaged = -1, 0.0, 0
        while left and time.monotonic() < began + _LONGEST_S:
            unseen = []
            for digest in left:
                what = self._fault(digest, by)
                if what and what != "damaged":
                    errors.append(what)
                damaged += what == "damaged"
                if what:
                    unseen.append(digest)
            first = len(unseen) if first < 0 else first
            if unseen:
                longest = time.monotonic() - began
                time.sleep(0.02)
            left = unseen
        return {
            "files": len(names),
            "unseen_at_first": first,
            "never": len(left),
            "longest_s": round(longest, 2),
            "damaged": damaged,
            "errors": sorted(set(errors)),
        }

    def remove(self, names: Sequence[str]) -> None:
        """Delete files."""
        for digest in names:
            self.spool.remove(digest)

    def gone(self, names: Sequence[str]) -> dict[str, Any]:
        """Tell how many deleted files are said to be there by whom, and for how long."""
        held = sum(self.spool.holds(digest) for digest in names[::2])
        said = sum(self.look(names[1::2]))
        began, left = time.monotonic(), list(names)
        while left and time.monotonic() < began + _LONGEST_S:
            left = [digest for digest in left if self.spool.path(digest).exists()]
            time.sleep(0.02)
        return {
            "files": len(names) // 2,
            "there_by_node": held,
            "there_by_stat": said,
            "longest_s": round(time.monotonic() - began, 2),
        }

    def _opens(self, digest: str) -> bool:
        try:
            os.close(os.open(self.spool.path(digest), os.O_RDONLY))
        except OSError:
            return False
        return True

    def remedied(self, how: str, names: Sequence[str]) -> dict[str, Any]:
        """Read files once, each after a remedy against what is remembered of its folder."""
        unseen = 0
        began = time.monotonic()
        for digest in names:
            REMEDIES[how](self.spool.path(digest))
            unseen += not self._opens(digest)
        each_ms = (time.monotonic() - began) * 1000 / len(names)
        return {"how": how, "files": len(names), "unseen": unseen, "each_ms": round(each_ms, 1)}

    def hold(self, names: Sequence[str]) -> None:
        """Open files and read their first half."""
        for digest in names:
            file = self.spool.path(digest).open("rb", buffering=0)
            size = os.fstat(file.fileno()).st_size
            self._held.append((digest, file, file.read(size // 2)))

    def rest(self) -> dict[str, Any]:
        """Read the second half of what is held, past the cache."""
        errors, whole = [], 0
        Path("/proc/sys/vm/drop_caches").write_text("3")
        for digest, file, half in self._held:
            try:
                whole += name(half + file.read()) == digest
            except OSError as error:
                errors.append(errno_name(error))
            file.close()
        held, self._held = len(self._held), []
        return {"files": held, "whole": whole, "errors": sorted(set(errors))}

    def state(self) -> dict[str, float]:
        """Tell free space and time."""
        return {"free": self.spool.free_bytes(), "now": time.time()}

    def mtime(self, digest: str) -> float:
        """Tell when a file was written, as this machine sees it."""
        return self.spool.path(digest).stat().st_mtime


def errno_name(error: OSError) -> str:
    """Return an error's symbol."""
    import errno

    return errno.errorcode.get(error.errno or 0, str(error))


def _listed(path: Path) -> None:
    os.listdir(path.parent)


def _folder_opened(path: Path) -> None:
    os.close(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY))


def _folder_synced(path: Path) -> None:
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def _folder_changed(path: Path) -> None:
    made = path.parent / f".look-{os.getpid()}"
    os.close(os.open(made, os.O_CREAT | os.O_WRONLY, 0o600))
    made.unlink()


def _created(path: Path) -> None:
    """Ask the server to make the file, which it refuses where it is."""
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    os.close(fd)
    path.unlink()


def _moded(path: Path) -> None:
    path.parent.chmod(0o700)


REMEDIES: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: None,
    "folder opened": _folder_opened,
    "folder synced": _folder_synced,
    "folder listed": _listed,
    "folder chmod": _moded,
    "folder changed": _folder_changed,
    "exclusive create": _created,
}


def serve() -> None:
    """Answer a receiver, one after another."""
    with socket.create_server(("", _PORT), reuse_port=True) as listening:
        print("serving", flush=True)
        connection, _ = listening.accept()
        worker = Worker()
        with connection, connection.makefile("rw") as stream:
            for line in stream:
                what, *arguments = json.loads(line)
                stream.write(json.dumps(getattr(worker, what)(*arguments)) + "\n")
                stream.flush()


class Receiver:
    """The node that stores; asks the worker."""

    def __init__(self, address: str, count: int, kilobytes: int) -> None:
        self.spool = _spool()
        self._count = count
        self._kilobytes = kilobytes
        connection = socket.create_connection((address, _PORT), 30)
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = connection.makefile("rw")

    def ask(self, what: str, *arguments: object) -> Any:
        """Have the worker do something."""
        self._stream.write(json.dumps([what, *arguments]) + "\n")
        self._stream.flush()
        return json.loads(self._stream.readline())

    def _contents(self, count: int) -> list[bytes]:
        return [data(self._kilobytes) for _ in range(count)]

    def _put(self, contents: Sequence[bytes]) -> list[str]:
        return [self.spool.put(content) for content in contents]

    def announced(self) -> dict[str, Any]:
        """Each file is read the moment that it is stored."""
        took, seen = [], []
        for content in self._contents(self._count):
            began = time.monotonic()
            digest = self.spool.put(content)
            took.append((time.monotonic() - began) * 1000)
            seen.append(self.ask("read", [digest]))
        took.sort()
        return {
            "files": len(seen),
            "unseen_at_first": sum(each["unseen_at_first"] for each in seen),
            "never": sum(each["never"] for each in seen),
            "longest_s": max(each["longest_s"] for each in seen),
            "damaged": sum(each["damaged"] for each in seen),
            "errors": sorted({error for each in seen for error in each["errors"]}),
            "store_ms_median": round(statistics.median(took), 1),
            "store_ms_p99": round(took[int(len(took) * 0.99)], 1),
        }

    def looked_for(self, by: str = "open") -> Any:
        """Have the worker look for each before it is there."""
        contents = self._contents(self._count // 4)
        there = self.ask("look", [name(content) for content in contents])
        assert not any(there)
        return self.ask("read", self._put(contents), by)

    def looked_for_by_node(self) -> Any:
        """Do the same, seen by what the node does."""
        return self.looked_for("node")

    def removed_there(self, by: str = "open") -> Any:
        """Have the worker delete what it has read, and store the same again."""
        contents = self._contents(self._count // 4)
        names = self._put(contents)
        self.ask("read", names)
        self.ask("remove", names)
        return self.ask("read", self._put(contents), by)

    def removed_there_by_node(self) -> Any:
        """Do the same, seen by what the node does."""
        return self.removed_there("node")

    def removed_here(self) -> Any:
        """Delete files that the worker has read, and have it look."""
        names = self._put(self._contents(self._count // 4))
        self.ask("read", names)
        for digest in names:
            self.spool.remove(digest)
        return self.ask("gone", names)

    def removed_here_while_held(self) -> Any:
        """Do the same while the worker has them open."""
        names = self._put(self._contents(20))
        self.ask("hold", names)
        for digest in names:
            self.spool.remove(digest)
        return {**self.ask("gone", names), **self.ask("rest")}

    def stored_again(self) -> Any:
        """Replace files that the worker has read by their like."""
        contents = self._contents(self._count // 4)
        self.ask("read", self._put(contents))
        return self.ask("read", self._put(contents))

    def remedies(self) -> list[Any]:
        """Find what makes the worker see files that it looked for before they were there."""
        found = []
        for how in REMEDIES:
            contents = self._contents(40)
            self.ask("look", [name(content) for content in contents])
            found.append(self.ask("remedied", how, self._put(contents)))
        return found

    def clocks(self) -> dict[str, float]:
        """By whose clock files are dated, and whether both see the same space."""
        time.clock_settime(time.CLOCK_REALTIME, time.time() + 3600)
        now = time.time()
        digest = self.spool.put(data(self._kilobytes))
        time.clock_settime(time.CLOCK_REALTIME, time.time() - 3600)
        there = self.ask("state")
        return {
            "dated_before_a_clock_an_hour_fast_s": round(
                now - self.spool.path(digest).stat().st_mtime, 1
            ),
            "dated_before_workers_clock_s": round(there["now"] - self.ask("mtime", digest), 1),
            "free_here_minus_there": self.spool.free_bytes() - there["free"],
        }


PHASES = (
    "announced",
    "looked_for",
    "looked_for_by_node",
    "removed_there",
    "removed_there_by_node",
    "removed_here",
    "removed_here_while_held",
    "stored_again",
    "remedies",
    "clocks",
)


def receive(address: str, count: int, kilobytes: int, phases: Sequence[str]) -> None:
    """Do what `PHASES` names; print what was seen of each."""
    receiver = Receiver(address, count, kilobytes)
    for phase in phases or PHASES:
        began = time.monotonic()
        found = getattr(receiver, phase)()
        print(json.dumps([phase, found, round(time.monotonic() - began, 1)]), flush=True)


def store(kilobytes: int) -> None:
    """Store without a pause, whatever fails; say what was acknowledged."""
    spool = None
    while True:
        began = time.monotonic()
        try:
            spool = spool or _spool()
            digest = spool.put(data(kilobytes))
        except Exception as error:  # noqa: BLE001 - the trial wants to know of every failure
            words = errno_name(error) if isinstance(error, OSError) else str(error)
            print(json.dumps(["failed", words, round(time.monotonic() - began, 1)]), flush=True)
            time.sleep(1)
        else:
            took = round(time.monotonic() - began, 2)
            print(json.dumps(["stored", digest, took]), flush=True)


def read() -> None:
    """Read what is there at random without a pause; say what fails and what took long."""
    root = Path(SHARED) / "objects"
    while True:
        began = time.monotonic()
        words = "read"
        try:
            paths = list((root / f"{random.randrange(256):02x}").glob("*.dcm"))
            for path in paths:
                words = integrity.fault(path, path.stem, integrity.object_digest) or words
        except Exception as error:  # noqa: BLE001 - as above
            words = errno_name(error) if isinstance(error, OSError) else str(error)
        took = round(time.monotonic() - began, 1)
        print(json.dumps([words, "", took]), flush=True)
        time.sleep(0.1)


def verify() -> None:
    """Hash every file; print a line for each that is not what its name says, and how many are."""
    whole = 0
    for path in (Path(SHARED) / "objects").glob("*/*.dcm"):
        what = integrity.fault(path, path.stem, integrity.object_digest)
        if what:
            print(json.dumps([what, path.stem]), flush=True)
        else:
            whole += 1
            print(json.dumps(["whole", path.stem]), flush=True)
    parts = len(list((Path(SHARED) / "objects" / "incoming").iterdir()))
    print(json.dumps(["count", whole, parts]), flush=True)


def deep(url: str) -> None:
    """Hash every file that a row names; print what is wrong with any."""
    from daemon import reconcile
    from daemon.database import Database

    database = Database(url, owner=False)
    for folder, kind_of in (("spool", reconcile.instances), ("objects", reconcile.objects)):
        kind = kind_of(Spool(Path(SHARED) / "cluster" / folder, owner=False))
        with database.read() as connection:
            print(json.dumps([kind.words, reconcile.count(connection, kind)]), flush=True)
        for problem in reconcile.harmed(database, kind):
            print(json.dumps(["harmed", problem]), flush=True)
    database.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["worker"]:
            serve()
        case ["receiver", address, count, kilobytes, *phases]:
            receive(address, int(count), int(kilobytes), phases)
        case ["store", kilobytes]:
            store(int(kilobytes))
        case ["read"]:
            read()
        case ["verify"]:
            verify()
        case ["deep", url]:
            deep(url)
