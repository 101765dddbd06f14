"""AxNode over NFS: one machine receives, the other analyses; their server's power is cut."""

import base64
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from daemon import schema
from daemon.database import Database
from dicom_io.scu import Remote
from tests.node import toml
from tests.postgres import PostgreSQL
from tests.soak.modality import Modality, Studies
from tests.soak.nfs_machines import DICOM, HTTP, OUTSIDE, SHARED, Machine, mount

_CONFIGURATION = "/run/axnode.toml"
_REST = ("delivered", "not_evaluable")


class Probe:
    """Asks a node every second whether it is ready, and notes what it said."""

    def __init__(self, machine: Machine) -> None:
        self.answers: list[tuple[float, float, int, str]] = []  # when, took s, status, words
        self._url = f"http://127.0.0.1:{machine.port(HTTP)}/readyz"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                answer = httpx.get(self._url, timeout=30, trust_env=False)
                status, words = answer.status_code, answer.text.strip()
            except httpx.HTTPError as error:
                status, words = 0, type(error).__name__
            self.answers.append((began, time.monotonic() - began, status, words))
            time.sleep(1)

    def since(self, moment: float) -> dict[str, Any]:
        """Return what was said since a moment, how often, and what took longest."""
        heard = [each for each in list(self.answers) if each[0] >= moment]
        return {
            "said": Counter(f"{status} {words}" for _, _, status, words in heard),
            "longest_s": round(max((took for _, took, _, _ in heard), default=0.0), 1),
        }

    @property
    def ready(self) -> bool:
        """Whether the last answer was that it is."""
        return bool(self.answers) and self.answers[-1][2] == 200


def _start(machine: Machine, role: str, url: str) -> None:
    tables = {
        "allow_any_source": True,
        "node": {
            "host": "0.0.0.0",  # noqa: S104 - of a machine that only this one sees
            "port": DICOM,
            "state_dir": "/run/axnode",
            "spool_dir": f"{SHARED}/cluster",
            "disk_floor_gb": 0.1,
        },
        "http": {"host": "0.0.0.0", "port": HTTP},  # noqa: S104
        "database": {"url": url},
        "study": {"quiet_period_s": 0.5, "version_interval_s": 0},
    }
    written = base64.b64encode(toml(tables).encode()).decode()
    served = machine.python("tests.canary_node", "--config", _CONFIGURATION, "--role", role)
    machine.run(
        f"echo {written} | base64 -d >{_CONFIGURATION}; "
        f"({served}) >/run/axnode.log 2>&1 </dev/null & echo $! >/run/axnode.pid"
    )


class Cluster:
    """Both nodes, who talks to them, and their database.

    Parameters
    ----------
    inside
        The database's address, as the machines know it.
    """

    def __init__(
        self,
        clients: Sequence[Machine],
        probes: Sequence[Probe],
        url: str,
        inside: str,
        folder: Path,
    ) -> None:
        self.inside = inside
        self.database = Database(url, owner=False)
        self.probes = probes
        self._studies = Studies(folder / "files")
        remote = Remote("node", "AXNODE", "127.0.0.1", clients[0].port(DICOM), "US1")
        self.modality = Modality(remote)

    def push(self, seconds: float) -> None:
        """Offer a study of two images whenever the last one was taken."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.modality.idle:
                self.modality.offer(*self._studies.make(2))
            time.sleep(0.2)

    @property
    def at_rest(self) -> bool:
        """Whether all that was offered was taken, and is analysed."""
        if not self.modality.idle:
            return False
        studies = schema.studies
        with self.database.read() as connection:
            known = set(
                connection.execute(
                    select(studies.c.study_uid).where(studies.c.state.in_(_REST))
                ).scalars()
            )
        return self.modality.ledger.studies <= known

    def tallies(self) -> dict[str, Any]:
        """Return what became of everything."""
        studies, analyses, instances = schema.studies, schema.analyses, schema.instances
        with self.database.read() as connection:
            states = connection.execute(
                select(studies.c.state, func.count()).group_by(studies.c.state)
            ).all()
            attempts = connection.execute(
                select(analyses.c.attempts, func.count()).group_by(analyses.c.attempts)
            ).all()
            rows = connection.execute(
                select(instances.c.sop_instance_uid, instances.c.instance_hash).where(
                    instances.c.file == "kept"
                )
            ).all()
        kept = {row[0]: row[1] for row in rows}
        acknowledged = self.modality.ledger.acknowledged
        return {
            "images": len(acknowledged),
            "lost": sum(kept.get(uid) != digest for uid, digest in acknowledged.items()),
            "studies": {row[0]: row[1] for row in states},
            "attempts": {row[0]: row[1] for row in attempts},
        }


def until(condition: Callable[[], bool], longest_s: float, what: str) -> float:
    """Wait; return how long that took, in s."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + longest_s:
            raise RuntimeError(f"waited {longest_s} s for {what}")
        time.sleep(0.5)
    return time.monotonic() - began


@contextmanager
def cluster(clients: Sequence[Machine], options: str, folder: Path) -> Iterator[Cluster]:
    """Run a receiving and an analysing node on two machines, their database on this one."""
    mount(options, *clients)
    with PostgreSQL() as server:
        url = server.database("cluster")
        inside = url.replace("127.0.0.1", OUTSIDE)
        for machine, role in zip(clients, ("receiver", "worker"), strict=True):
            _start(machine, role, inside)
        probes = [Probe(machine) for machine in clients]
        until(lambda: all(probe.ready for probe in probes), 600, "both nodes")
        made = Cluster(clients, probes, url, inside, folder)
        try:
            yield made
        finally:
            made.modality.close()
            made.database.close()
            for client in clients:
                client.run("kill -9 $(cat /run/axnode.pid); sleep 1")


def run(
    server: Machine,
    clients: Sequence[Machine],
    options: str,
    cuts: int,
    away_s: float,
    folder: Path,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Cut the server's power while images come and are analysed; yield what was seen."""
    with cluster(clients, options, folder) as nodes:
        for number in range(cuts):
            nodes.push(20)
            server.kill()
            cut = time.monotonic()
            nodes.push(away_s)
            server.start()
            server.wait()
            back = time.monotonic()
            said = [probe.since(cut) for probe in nodes.probes]
            nodes.push(5)
            rest_s = until(lambda: nodes.at_rest, 900, "the studies to come to rest")
            yield (
                f"nodes, cut {number + 1}",
                {
                    "away_s": round(back - cut),
                    "receiver": said[0],
                    "worker": said[1],
                    "at_rest_after_s": round(rest_s),
                    **nodes.tallies(),
                },
            )
        worker = clients[1]
        words = worker.run(worker.python("tests.soak.nfs_peer", "deep", nodes.inside))
        yield "nodes, files held against rows", {"said": words.splitlines()}
