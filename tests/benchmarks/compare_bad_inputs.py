"""The same bad peers at this node and at other receivers: replies, memory, files, and the others.

    python -m tests.benchmarks.compare_bad_inputs [--patience 45] [--rows 1 2 …]

Runs Orthanc, DCMTK's storescp and pynetdicom's storescp beside this node's reception, all on
loopback, and prints docs/comparison.md's table of bad inputs. Inputs are played one after another
at each receiver, the receivers at the same time.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import bad_inputs
from tests import builders_wire as wire
from tests.bad_inputs import BadInput, Reply, addressed, image, play, request, store
from tests.crowd import CROWD, Crowd
from tests.fakes_wire import RawPeer
from tests.footprint import MIB, Footprint, forget_peak
from tests.peers import Orthanc, StoreScp, accepts_tcp, free_port, script, wait_until
from tests.reception_node import ASSOCIATE, ECHO, MODALITY, ReceptionNode, store_pdu

SOURCES = [{"ae_title": "US1", "host": MODALITY}, {"ae_title": bad_inputs.CALLING}]
NOTED_MIB = 32  # of growth; below, allocators breathe and processes are forked
SERVED_S = 10.0  # in which a modality beside must be served
ENDLESS_BYTES = 512 << 20  # after which a sender without end gives up
_CROWDED = threading.Lock()  # one crowd at a time: they take the whole machine


@dataclass
class Receiver:
    """One of the compared."""

    name: str
    title: str  # its AE title
    port: int
    pid: int
    files: Callable[[], Iterable[Path]]  # image files that it keeps, half-written ones too
    _served: int = field(default=0)

    def kept(self) -> set[tuple[Path, int]]:
        """Return its files, each with the moment of its last change."""
        found = set()
        for path in self.files():
            with contextlib.suppress(OSError):  # gone meanwhile
                found.add((path, path.stat().st_mtime_ns))
        return found

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        status = Path(f"/proc/{self.pid}/status")
        return status.exists() and "State:\tZ" not in status.read_text()

    def serves(self) -> str:
        """Let a modality echo and store; "" where it was served, else what went wrong."""
        self._served += 1
        uid = f"1.2.8.{self._served}"
        try:
            with RawPeer(self.port, MODALITY) as peer:
                peer.sock.settimeout(SERVED_S)
                peer.send(addressed(ASSOCIATE, self.title))
                kind, body = peer.receive()
                if kind != 2:
                    return f"RJ {body[1]}/{body[2]}/{body[3]}" if kind == 3 else "no association"
                peer.send(ECHO)
                peer.status()
                peer.send(store_pdu(uid, wire.dataset(instance=uid, study="1.2.8")))
                status = peer.status()
                peer.send(wire.pdu(5, bytes(4)))
                peer.receive()
        except TimeoutError:
            return f"not in {SERVED_S:g} s"
        except (AssertionError, OSError):
            return "cut off"
        return "" if status == 0 else f"0x{status:04X}"


@contextmanager
def axnode(folder: Path) -> Iterator[Receiver]:
    """Run this node's reception, limits as they are by default."""
    with ReceptionNode(folder, None, {"sources": SOURCES}) as node:
        yield Receiver("this node", "AXNODE", node.port, node.pid, node.files)


@contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    """Run Orthanc, its checks of titles and addresses turned on."""
    modalities = {
        "us1": ("US1", MODALITY, 104),
        "bad1": (bad_inputs.CALLING, "127.0.0.1", 104),
    }
    checks = {
        "DicomCheckCalledAet": True,
        "DicomCheckModalityHost": True,
        "DicomAlwaysAllowStore": False,
        "DicomAlwaysAllowEcho": False,
    }
    with Orthanc(modalities=modalities, config=checks) as pacs:
        storage = pacs.folder / "storage"

        def files() -> list[Path]:
            found = [path for path in storage.rglob("*") if path.is_file()]
            return [path for path in found if not path.name.startswith("index")]

        pid = pacs._process._popen.pid
        yield Receiver("Orthanc", "ORTHANC", pacs.dicom_port, pid, files)


@contextmanager
def dcmtk(folder: Path) -> Iterator[Receiver]:
    """Run DCMTK's storescp, a process for each association."""
    with StoreScp(folder / "in", ["--fork"]) as scp:
        pid = scp._process._popen.pid
        yield Receiver("DCMTK storescp", "STORESCP", scp.port, pid, scp.files)


@contextmanager
def pynetdicom(folder: Path) -> Iterator[Receiver]:
    """Run pynetdicom's storescp."""
    out = folder / "in"
    out.mkdir(parents=True)
    port = free_port()
    command = [*script("storescp"), "-q", "-od", str(out), str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: accepts_tcp(port), 60)
        yield Receiver(
            "pynetdicom storescp",
            "STORESCP",
            port,
            process.pid,
            lambda: [path for path in out.rglob("*") if path.is_file()],
        )
    finally:
        process.kill()
        process.wait()


RECEIVERS: Mapping[str, Callable[[Path], AbstractContextManager[Receiver]]] = {
    "axnode": axnode,
    "orthanc": orthanc,
    "dcmtk": dcmtk,
    "pynetdicom": pynetdicom,
}


@contextmanager
def sampled(receiver: Receiver) -> Iterator[list[float]]:
    """Measure how much memory grows meanwhile, in MiB; the list has one number in the end."""
    before = Footprint.of(receiver.pid).memory
    forget_peak(receiver.pid)
    most, stop = [0.0], threading.Event()

    def look() -> None:
        peak = Footprint.of(receiver.pid).peak
        most[0] = max(most[0], (peak - before) / MIB)

    def watch() -> None:
        while not stop.wait(0.1):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()
        look()


def cell(receiver: Receiver, case: BadInput, patience_s: float) -> str:
    """Play one input and say what happened."""
    kept = receiver.kept()
    with sampled(receiver) as growth, ThreadPoolExecutor(1) as pool:
        playing = pool.submit(play, case, receiver.port, patience_s, receiver.title)
        time.sleep(0.5)
        troubles = [receiver.serves()]
        reply = playing.result()
    troubles.append(receiver.serves())
    time.sleep(1)  # for files to go
    good = sum(not trouble for trouble in troubles)
    parts = [_words(case, reply)]
    left = len(receiver.kept() - kept) - good
    parts += [f"{left} {'file' if left == 1 else 'files'} kept"] if left > 0 else []
    parts += [f"+{growth[0]:.0f} MiB"] if growth[0] >= NOTED_MIB else []
    parts += [f"others: {trouble}" for trouble in dict.fromkeys(filter(None, troubles))]
    parts += [] if receiver.alive else ["**process ended**"]
    return "; ".join(filter(None, parts))


def _words(case: BadInput, reply: Reply) -> str:
    if case.cut:
        return ""
    if reply.words == "silence":
        return f"no reply in {reply.seconds:.0f} s"
    if reply.words == "took all" and case.row == 3:
        return f"not cut in {reply.seconds:.0f} s"
    if reply.words == "took all":
        return f"took all {ENDLESS_BYTES >> 20} MiB"
    late = f" after {reply.seconds:.0f} s" if reply.seconds >= 1 else ""
    return f"{reply.words}{late}"


def crowd_cell(receiver: Receiver) -> str:
    """Let a crowd come for a while, and say how long a modality waited."""
    waits, troubles = [], []
    with sampled(receiver) as growth, Crowd(receiver.port, receiver.title):
        for _ in range(8):
            started = time.monotonic()
            trouble = receiver.serves()
            waits.append(time.monotonic() - started)
            troubles += [trouble] if trouble else []
            time.sleep(1)
    served = f"served {len(waits) - len(troubles)} of {len(waits)} times"
    parts = [f"{served}, longest {max(waits):.1f} s", *dict.fromkeys(troubles)]
    parts += [f"+{growth[0]:.0f} MiB"] if growth[0] >= NOTED_MIB else []
    parts += [] if receiver.alive else ["**process ended**"]
    return "; ".join(parts)


def cases() -> list[BadInput]:
    """List every input of the table, those that are well sent included."""
    asked = request(bad_inputs.RLE)
    absurd = [
        BadInput(17, name, "0x0000", store(_named(make(), number), f"1.2.7.{number}"), asked)
        for number, (name, make) in enumerate(bad_inputs.ABSURD.items(), 30)
    ]
    first, other = image(), image(pixels=b"\2" * 16)
    again = [
        BadInput(20, "an image, and it again", "0x0000", _twice(first, first, 20), request()),
        BadInput(20, "other content, same UID", "0x0111", _twice(first, other, 21), request()),
    ]
    listed = bad_inputs.catalogue(trickled_s=0.2, endless_bytes=ENDLESS_BYTES)
    return sorted([*listed, *absurd, *again], key=lambda case: case.row)


def _named(data: bytes, number: int) -> bytes:
    """Give an instance a UID of its own."""
    return data.replace(b"1.2.7.1\0", f"1.2.7.{number}".encode(), 1)


def _twice(first: bytes, second: bytes, number: int) -> bad_inputs.Act:
    def act(peer: RawPeer) -> None:
        store(_named(first, number), f"1.2.7.{number}")(peer)
        if peer.receive()[0] == 4:  # answered
            store(_named(second, number), f"1.2.7.{number}")(peer)

    return act


def column(
    make: Callable[[Path], AbstractContextManager[Receiver]],
    listed: Sequence[BadInput],
    patience_s: float,
) -> list[str]:
    """Run one receiver through every input; the first line is its name."""
    with tempfile.TemporaryDirectory(prefix="compare-") as name, ExitStack() as stack:
        receiver = stack.enter_context(make(Path(name)))
        lines = [receiver.name]
        for _ in range(30):
            receiver.serves()
        for case in listed:
            if not receiver.alive:
                lines.append("not run: the process had ended")
                continue
            lines.append(cell(receiver, case, patience_s))
            print(f"{receiver.name}: {case.row}. {case.name}: {lines[-1]}", file=sys.stderr)
        with _CROWDED:
            lines.append(crowd_cell(receiver) if receiver.alive else "not run")
        print(f"{receiver.name}: crowd: {lines[-1]}", file=sys.stderr)
        return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patience", type=float, default=45, help="seconds to wait for a reply")
    parser.add_argument("--only", nargs="+", default=list(RECEIVERS), help="only these receivers")
    parser.add_argument("--rows", type=int, nargs="+", help="only these rows")
    options = parser.parse_args()
    listed = [case for case in cases() if not options.rows or case.row in options.rows]
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")
    makers = [RECEIVERS[name] for name in options.only]
    with ThreadPoolExecutor(len(makers)) as pool:
        columns = list(pool.map(lambda make: column(make, listed, options.patience), makers))
    heads = ["Input", *(lines[0] for lines in columns)]
    names = [f"{case.row}. {case.name}" for case in listed]
    names.append(f"{CROWD} bad peers at once")
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for number, name in enumerate(names, 1):
        print(f"| {name} | {' | '.join(lines[number] for lines in columns)} |")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
