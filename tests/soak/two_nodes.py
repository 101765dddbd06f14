"""Two nodes on one PostgreSQL, in namespaces of their own: kills, a cut network, an outage.

``python -m tests.soak.two_nodes`` as root, half an hour; ``--help`` tells how to make it shorter.
Both are whole nodes with the bundle that ships and share rows and files. A modality pushes to each
without a pause. Each kill takes one of them at a random moment; it stays away until the other has
brought everything to rest that was acknowledged before.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from daemon import reconcile, schema, status
from daemon.database import Database
from daemon.lifecycle import StudyState
from daemon.spool import Spool
from dicom_io.scu import Remote
from tests.node import destination, toml
from tests.postgres import PostgreSQL
from tests.soak.modality import Modality, Studies
from tests.soak.network import DATABASE, HOST, Network
from tests.soak.pacs import AE_TITLE, RecordingPacs
from tests.soak.site import built_twice, data_set

NODES = 2
_REST = (StudyState.DELIVERED, StudyState.NOT_EVALUABLE)
_TAKEOVER_S = 60.0  # the goal
_LONGEST_S = 8.0  # of load before a kill
_DICOM, _HTTP = 11112, 8080


class Cluster:
    """Both nodes, what they share, and who talks to them."""

    def __init__(self, folder: Path, server: PostgreSQL, pacs: RecordingPacs) -> None:
        self.pacs = pacs
        self.shared = folder / "shared"
        self.url = server.database("cluster")
        self.studies = Studies(folder / "files")
        self._folder = folder
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}
        self.modalities = []
        for node in range(NODES):
            (folder / str(node)).mkdir()
            (folder / f"{node}.toml").write_text(self._configuration(node))
            remote = Remote("node", "AXNODE", Network.address(node), _DICOM, f"US{node}")
            self.modalities.append(Modality(remote))

    def _configuration(self, node: int) -> str:
        pacs = {**destination("pacs", AE_TITLE, self.pacs.port), "host": HOST}
        return toml(
            {
                "allow_any_source": True,
                "node": {
                    "host": Network.address(node),
                    "port": _DICOM,
                    "state_dir": str(self._folder / str(node)),
                    "spool_dir": str(self.shared),
                    "disk_floor_gb": 0.1,
                },
                "http": {"host": Network.address(node), "port": _HTTP},
                "database": {"url": self.url},
                "model": {"allow_demonstration": True},
                "study": {"quiet_period_s": 0.5, "version_interval_s": 0},
                "destinations": [pacs],
            }
        )

    def start(self, node: int) -> None:
        """Start a node, and wait until its model is loaded."""
        command = ["ip", "netns", "exec", Network.namespace(node), sys.executable, "-m"]
        with (self._folder / f"{node}.log").open("ab") as log:
            self._nodes[node] = subprocess.Popen(
                [*command, "daemon.cli", "serve", "--config", str(self._folder / f"{node}.toml")],
                stderr=log,
            )
        self._until(lambda: self.ready(node), 120, f"node {node} to be ready")

    def ready(self, node: int) -> bool:
        """Ask its probe."""
        url = f"http://{Network.address(node)}:{_HTTP}/readyz"
        try:
            return httpx.get(url, timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self, node: int) -> None:
        """Kill it; its analysing process ends with it."""
        self._nodes[node].kill()
        self._nodes[node].wait()

    def stop(self) -> None:
        """Stop both in order."""
        for process in self._nodes.values():
            process.terminate()
        assert [process.wait(60) for process in self._nodes.values()] == [0] * NODES

    def close(self) -> None:
        """End whatever runs."""
        for modality in self.modalities:
            modality.close()
        for process in self._nodes.values():
            process.kill()
            process.wait()

    def push(self, chance: random.Random) -> None:
        """Have both modalities send a small study, and now and then both the same one."""
        for modality in self.modalities:
            modality.offer(*self.studies.make(chance.choice((1, 1, 2))))
        if chance.random() < 0.2:
            study = self.studies.make(2)
            for modality, path in zip(self.modalities, study, strict=True):
                modality.offer(path)

    def load(self, seconds: float, chance: random.Random) -> None:
        """Push for a while, no faster than it is worked."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if len(self.unrest()) < 12:
                self.push(chance)
            time.sleep(0.25)

    @property
    def acknowledged(self) -> dict[str, str]:
        """Hashes of what was acknowledged, by SOP Instance UID."""
        return {u: h for m in self.modalities for u, h in m.ledger.acknowledged.items()}

    @contextmanager
    def rows(self) -> Iterator[Database]:
        """Open the rows."""
        database = Database(self.url, owner=False)
        try:
            yield database
        finally:
            database.close()

    def states(self) -> dict[str, str]:
        """Return the state of every study."""
        with self.rows() as database, database.read() as connection:
            return {item["study_uid"]: item["state"] for item in status.studies(connection)}

    def unrest(self) -> set[str]:
        """Return the studies that are under way."""
        return {uid for uid, state in self.states().items() if state not in _REST}

    def settled(self, wanted: set[str], timeout_s: float) -> float:
        """Wait until these are at rest; return how long that took."""
        start = time.monotonic()
        self._until(lambda: not wanted & self.unrest(), timeout_s, "studies to come to rest")
        return time.monotonic() - start

    def _until(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                logs = [(self._folder / f"{n}.log").read_text()[-3000:] for n in range(NODES)]
                raise AssertionError(f"waited {timeout_s:g} s for {what}\n" + "\n---\n".join(logs))
            time.sleep(0.25)

    def drained(self) -> None:
        """Let everything be answered and come to rest."""
        self._until(lambda: all(each.idle for each in self.modalities), 300, "the modalities")
        known = {study for each in self.modalities for study in each.ledger.studies}
        self._until(lambda: known <= self.states().keys(), 60, "every study to be known")
        self.settled(known, 300)

    def verify(self) -> dict[str, int]:
        """Hold modalities, rows, files and PACS against each other, at rest."""
        with self.rows() as database:
            return self._verify(database)

    def _verify(self, database: Database) -> dict[str, int]:
        spool, objects = (Spool(self.shared / name, owner=False) for name in ("spool", "objects"))
        with database.read() as connection:
            received = connection.execute(select(schema.instances)).all()
            built = connection.execute(select(schema.objects)).all()
            versions = connection.execute(select(schema.analyses)).all()
            twice = connection.execute(built_twice()).all()
            problems = list(reconcile.inconsistent(connection))
            studies = connection.execute(select(func.count()).select_from(schema.studies)).scalar()
            tallied = status.counts(connection)
        for kind in (reconcile.instances(spool), reconcile.objects(objects)):
            problems += reconcile.harmed(database, kind)
        assert problems == []
        kept = {row.sop_instance_uid: row.instance_hash for row in received}
        assert {
            uid: kept.get(uid) for uid in self.acknowledged
        } == self.acknowledged  # nothing lost
        assert twice == []
        inputs = [(row.study_id, row.input_hash) for row in versions]
        assert len(set(inputs)) == len(inputs)  # nothing analysed twice
        assert sum(tallied.values()) == studies
        wanted = {row.sop_instance_uid: {data_set(objects.path(row.file_hash))} for row in built}
        stored = self.pacs.stored
        assert {uid: set(digests) for uid, digests in stored.items()} == wanted
        stores = sum(map(len, stored.values()))
        return {
            "studies": int(studies or 0),
            "images": len(kept),
            "versions": len(versions),
            "objects": len(stored),
            "sent again": stores - len(stored),
        }


def kills(cluster: Cluster, number: int, chance: random.Random) -> list[float]:
    """Kill one after the other; return how long each time what it had was taken over."""
    took = []
    for count in range(number):
        cluster.load(chance.uniform(1.0, _LONGEST_S), chance)
        victim = chance.randrange(NODES)
        cluster.kill(victim)
        took.append(cluster.settled(cluster.unrest(), 180))
        print(f"kill {count + 1} of {number}: node {victim}, {took[-1]:.1f} s", flush=True)
        cluster.start(victim)
    return took


def partition(cluster: Cluster, seconds: float, chance: random.Random) -> float:
    """Cut a node off from the database; return how long the other took over what it had."""
    cluster.load(4, chance)
    Network.cut(0)
    took = cluster.settled(cluster.unrest(), 180)
    before = len(cluster.modalities[1].ledger.acknowledged)
    cluster.load(max(5.0, seconds - took), chance)
    assert len(cluster.modalities[1].ledger.acknowledged) > before  # the other one goes on
    assert not cluster.ready(0)  # and it says so
    Network.mend(0)
    cluster._until(lambda: cluster.ready(0), 90, "the node to come back")
    cluster.drained()
    return took


def outage(cluster: Cluster, server: PostgreSQL, seconds: float) -> tuple[int, int]:
    """Stop PostgreSQL under load; return images acknowledged meanwhile, and refused."""
    before = len(cluster.acknowledged)
    server.stop()
    deadline = time.monotonic() + seconds
    for modality in cluster.modalities:
        modality.offer(*cluster.studies.make(2))
    while time.monotonic() < deadline:
        time.sleep(1)
    during = len(cluster.acknowledged) - before
    assert not any(cluster.ready(node) for node in range(NODES))
    server.start()
    for node in range(NODES):
        cluster._until(lambda node=node: cluster.ready(node), 120, "a node to come back")  # type: ignore[misc]
    cluster.drained()
    return during, len(cluster.acknowledged) - before - during


def run(arguments: argparse.Namespace, folder: Path, ends: ExitStack) -> dict[str, Any]:
    """Run it all; return what was found."""
    chance = random.Random(arguments.seed)
    ends.enter_context(Network(NODES))
    server = ends.enter_context(PostgreSQL(host=DATABASE, durable=True))
    pacs = RecordingPacs(HOST)
    ends.callback(pacs.close)
    cluster = Cluster(folder, server, pacs)
    ends.callback(cluster.close)
    for node in range(NODES):
        cluster.start(node)
    took = kills(cluster, arguments.kills, chance)
    cluster.drained()
    found: dict[str, Any] = {f"after the kills: {k}": v for k, v in cluster.verify().items()}
    if took:
        found["taken over, median and longest"] = (
            f"{statistics.median(took):.1f} s, {max(took):.1f} s"
        )
    found["cut off from the database: taken over"] = (
        f"{partition(cluster, arguments.partition, chance):.1f} s"
    )
    during, after = outage(cluster, server, arguments.outage)
    found["PostgreSQL stopped: acknowledged meanwhile, afterwards"] = f"{during}, {after}"
    found |= {f"at the end: {k}": v for k, v in cluster.verify().items()}
    cluster.stop()
    assert max(took, default=0) <= _TAKEOVER_S, took
    return found


def main() -> None:
    """Run it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--partition", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--outage", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="axnode-two-")))
        found = run(arguments, folder, ends)
    print("| What | Figure |\n|---|---|")
    for what, figure in found.items():
        print(f"| {what} | {figure} |")


if __name__ == "__main__":
    main()
