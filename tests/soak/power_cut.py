"""Cut the power under a node that receives and delivers: what was acknowledged is on the disk.

``python -m tests.soak.power_cut --cuts 50``, as root. The node's state lies on an ext4 file system
of its own in a file, mounted with ``commit=300``: what nobody synced stays in memory for minutes. A
cut stops the node for a moment and copies that file; mounted again, the copy is what a power cut
would have left. In every copy each instance that had been acknowledged must lie whole, with its
row, and rows and files must not contradict each other. Under ``LD_PRELOAD=libeatmydata.so``, which
swallows every fsync, the same cuts lose the database: they are cuts.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select

from daemon import reconcile, schema
from daemon.database import Database
from daemon.errors import UnavailableError
from daemon.spool import Spool
from tests.soak.modality import Ledger
from tests.soak.site import Site

_SIZE_MB = 256


def make_disk(image: Path) -> None:
    """Make an empty file system in a file."""
    with image.open("wb") as file:
        file.truncate(_SIZE_MB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """Mount a file system, journal and all, as after a start; raise OSError where nobody may."""
    at.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-o", "loop,commit=300", str(image), str(at)], capture_output=True, check=False
    )
    if done.returncode:
        raise OSError(done.stderr.decode().strip())
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def copy_at_rest(pid: int, ledger: Ledger, image: Path, copy: Path) -> dict[str, str]:
    """Copy a process's disk as it is at this moment; return what had been acknowledged by then."""
    os.kill(pid, signal.SIGSTOP)
    try:
        told = dict(ledger.acknowledged)
        shutil.copyfile(image, copy)
    finally:
        os.kill(pid, signal.SIGCONT)
    return told


def lost(state: Path, told: dict[str, str]) -> list[str]:
    """Return what is wrong with a state folder, one line each."""
    try:
        database = Database(f"sqlite:///{state / 'axnode.sqlite'}")
    except UnavailableError as error:
        return [str(error)]
    try:
        with database.read() as connection:
            rows = connection.execute(select(schema.instances)).all()
            problems = [*database.damage(), *reconcile.inconsistent(connection)]
        for kind in (
            reconcile.instances(Spool(state / "spool", owner=False)),
            reconcile.objects(Spool(state / "objects", owner=False)),
        ):
            problems += reconcile.harmed(database, kind)
    finally:
        database.close()
    kept = {row.sop_instance_uid: row.instance_hash for row in rows}
    missing = [uid for uid, digest in told.items() if kept.get(uid) != digest]
    return problems + [f"{len(missing)} acknowledged instances have no row"] * bool(missing)


def run(folder: Path, cuts: int, seed: int) -> int:
    """Cut the power `cuts` times; print what each left, and return how many cuts lost something."""
    chance = random.Random(seed)
    image, copy = folder / "disk", folder / "copy"
    make_disk(image)
    bad = 0
    with mounted(image, folder / "disk-mount") as disk:
        state = disk / "state"
        with Site(folder / "site", node={"state_dir": str(state)}) as site:
            site.node.start(ready=False)
            for number in range(1, cuts + 1):
                site.modality.offer(*site.studies.make(3))
                time.sleep(chance.uniform(0.05, 3.0))
                told = copy_at_rest(site.node.pid, site.modality.ledger, image, copy)
                with mounted(copy, folder / "copy-mount") as after:
                    problems = lost(after / "state", told)
                bad += bool(problems)
                words = "; ".join(problems) or "nothing lost"
                print(f"cut {number}: {len(told)} acknowledged, {words}", flush=True)
            site.settle()
            site.node.stop()
            site.verify()
    return bad


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cuts; 1 where one lost something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="axnode-power-") as folder:
        bad = run(Path(folder), arguments.cuts, arguments.seed)
    print(f"{arguments.cuts} cuts, {bad} of them lost something")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
