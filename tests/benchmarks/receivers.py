"""The receivers compared: this node's reception, Orthanc, DCMTK's and pynetdicom's storescp."""

import contextlib
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import builders_wire as wire
from tests.bad_inputs import addressed
from tests.fakes_wire import RawPeer
from tests.misbehaviour import CALLING
from tests.peers import Orthanc, StoreScp, accepts_tcp, free_port, script, wait_until
from tests.reception_node import ASSOCIATE, ECHO, MODALITY, ReceptionNode, store_pdu

SOURCES = [{"ae_title": "US1", "host": MODALITY}, {"ae_title": CALLING}]
SERVED_S = 10.0  # in which a modality beside must be served


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
        "bad1": (CALLING, "127.0.0.1", 104),
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
