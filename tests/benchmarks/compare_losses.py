"""What a power cut, and a kill, take from receivers of what they had acknowledged.

``python -m tests.benchmarks.compare_losses --cuts 10``, as root, prints a Markdown table. Each
receiver stores on a file system of its own, as in `tests.soak.power_cut`; what it has acknowledged
by a cut is looked for in the copy, byte for byte, by the receiver itself where it has an index.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from sqlalchemy import select

from daemon import schema
from daemon.database import Database
from daemon.spool import Spool
from dicom_io.scu import Remote
from tests.peers import Orthanc, StoreScp
from tests.reception_node import ReceptionNode
from tests.soak.modality import Modality, Studies, digest
from tests.soak.power_cut import copy_at_rest, make_disk, mounted

Found = dict[str, str]
"""SOP Instance UID to digest, of what a receiver has."""


@dataclass(frozen=True)
class Running:
    """A receiver that runs."""

    pid: int
    port: int
    title: str


def _files(paths: Iterator[Path]) -> Found:
    found = {}
    for path in paths:
        try:
            uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            found[uid] = digest(path)
        except Exception:  # noqa: BLE001, S112 - a file that is cut short or empty is not there
            continue
    return found


@contextmanager
def axnode(disk: Path, scratch: Path) -> Iterator[Running]:
    """Run this node's reception."""
    with ReceptionNode(disk / "axnode") as node:
        yield Running(node.pid, node.port, "AXNODE")


def axnode_has(disk: Path, scratch: Path) -> Found:
    """Return what rows name and files hold."""
    database = Database(f"sqlite:///{disk / 'axnode' / 'state' / 'axnode.sqlite'}")
    try:
        with database.read() as connection:
            rows = connection.execute(select(schema.instances)).all()
    finally:
        database.close()
    spool = Spool(disk / "axnode" / "state" / "spool", owner=False)
    return _files(spool.path(row.instance_hash) for row in rows)


def _orthanc(disk: Path) -> Orthanc:
    where = str(disk / "orthanc")
    return Orthanc(config={"StorageDirectory": where, "IndexDirectory": where})


@contextmanager
def orthanc(disk: Path, scratch: Path) -> Iterator[Running]:
    """Run Orthanc."""
    with _orthanc(disk) as pacs:
        yield Running(pacs._process._popen.pid, pacs.dicom_port, "ORTHANC")


def orthanc_has(disk: Path, scratch: Path) -> Found:
    """Return what Orthanc, started on the disk, gives out."""
    with _orthanc(disk) as pacs:
        return _files(iter(pacs.download_all(scratch)))


@contextmanager
def dcmtk(disk: Path, scratch: Path) -> Iterator[Running]:
    """Run DCMTK's storescp."""
    with StoreScp(disk / "in") as scp:
        yield Running(scp._process._popen.pid, scp.port, "STORESCP")


def dcmtk_has(disk: Path, scratch: Path) -> Found:
    """Return what its files hold."""
    return _files((disk / "in").iterdir())


Run = Callable[[Path, Path], AbstractContextManager[Running]]
RECEIVERS: Mapping[str, tuple[Run, Callable[[Path, Path], Found]]] = {
    "this node": (axnode, axnode_has),
    "Orthanc": (orthanc, orthanc_has),
    "DCMTK storescp": (dcmtk, dcmtk_has),
}


def _lost(told: Mapping[str, str], found: Found) -> int:
    return sum(found.get(uid) != value for uid, value in told.items())


def cuts(folder: Path, name: str, number: int, seed: int) -> tuple[int, int, int]:
    """Cut the power several times; return cuts that lost something, most lost, acknowledged."""
    run, has = RECEIVERS[name]
    chance = random.Random(seed)
    image, copy, scratch = folder / "disk", folder / "copy", folder / "scratch"
    make_disk(image)
    losses, told = [], {}
    with mounted(image, folder / "at") as disk, run(disk, folder) as receiver:
        studies = Studies(folder / "files")
        remote = Remote(name, receiver.title, "127.0.0.1", receiver.port, "MODALITY")
        modality = Modality(remote)
        os.sync()  # what was there before the first image is no loss of theirs
        for _ in range(number):
            modality.offer(*studies.make(5))
            time.sleep(chance.uniform(0.5, 3.0))
            told = copy_at_rest(receiver.pid, modality.ledger, image, copy)
            scratch.mkdir(exist_ok=True)
            with mounted(copy, folder / "copy-at") as after:
                losses.append(_lost(told, _has(has, after, scratch)))
            for path in scratch.iterdir():
                path.unlink()
        modality.close()
    return sum(lost > 0 for lost in losses), max(losses), len(told)


def _has(has: Callable[[Path, Path], Found], disk: Path, scratch: Path) -> Found:
    try:
        return has(disk, scratch)
    except Exception as error:  # noqa: BLE001 - what cannot be opened has nothing
        print(f"  {type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
        return {}


def kills(folder: Path, name: str, number: int, seed: int) -> tuple[int, int]:
    """Kill several times; return what was lost in all, and acknowledged."""
    run, has = RECEIVERS[name]
    chance = random.Random(seed)
    disk, scratch = folder / "killed", folder / "scratch"
    disk.mkdir()
    scratch.mkdir(exist_ok=True)
    studies = Studies(folder / "files")
    told: dict[str, str] = {}
    for _ in range(number):
        with run(disk, folder) as receiver:
            remote = Remote(name, receiver.title, "127.0.0.1", receiver.port, "MODALITY")
            modality = Modality(remote)
            modality.offer(*studies.make(20))
            time.sleep(chance.uniform(0.05, 0.4))
            os.kill(receiver.pid, signal.SIGKILL)
            modality.close()
            told |= modality.ledger.acknowledged
    return _lost(told, _has(has, disk, scratch)), len(told)


def main() -> None:
    """Compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(
        "| Receiver | Cuts that lost something | Most lost at a cut | Acknowledged by the last "
        "| Lost by kills | Acknowledged |\n|---|---|---|---|---|---|"
    )
    for name in RECEIVERS:
        with tempfile.TemporaryDirectory(prefix="axnode-losses-") as folder:
            bad, most, told = cuts(Path(folder), name, arguments.cuts, arguments.seed)
            gone, of = kills(Path(folder), name, arguments.kills, arguments.seed)
        print(
            f"| {name} | {bad} of {arguments.cuts} | {most} | {told} | {gone} | {of} |", flush=True
        )


if __name__ == "__main__":
    main()
