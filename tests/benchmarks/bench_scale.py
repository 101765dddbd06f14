"""Whether what runs often stays as quick with a hundred thousand studies in the database.

``python -m tests.benchmarks.bench_scale``: each operation on a database of a thousand studies at
rest and on one of a hundred thousand, the same four hundred under way in both, in turn.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, select

from daemon import claims, metrics, schema, sqlite, status
from daemon.asker import Asker
from daemon.callers import Callers
from daemon.clock import now_us, seconds
from daemon.commitment import Reports
from daemon.custody import Custody
from daemon.database import Database
from daemon.deliver import Deliverer
from daemon.outbox import park_unknown
from daemon.spool import Spool
from daemon.status import Page
from daemon.store import Received, add_instance
from daemon.teller import Teller
from dicom_io import syntaxes
from dicom_io.scu import Remote
from tests import builders
from tests.benchmarks.full_database import DESTINATIONS, ROOT, US, fill
from tests.benchmarks.table import Figure, at_most, finish
from tests.builders import Rows

FEW, MANY, UNDER_WAY = 1_000, 100_000, 400
MOST = 1.2  # times what it takes with few
_REPEATS = 20  # of which the quickest counts, for the machine does other things as well
_COMMITS = 500  # between two checkpoints, as `daemon.database` has them
_LATER_US = seconds(7200.0)  # by then what is queued is due


class _Undo(Exception):
    """Takes a write back."""


class Site:
    """A node's database, and what the node asks of it.

    Parameters
    ----------
    folder
        Where images and results would lie.
    url
        Of the database.
    """

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir()
        self.database = database = Database(url)
        self.config = builders.config(folder)
        settings = folder / "axnode.toml"
        settings.write_text(f'[node]\nstate_dir = "{folder}"\n[database]\nurl = "{url}"\n')
        self.command = [sys.executable, "-m", "daemon.cli", "status", "--config", str(settings)]
        peer = Remote(DESTINATIONS[0], "PACS", "127.0.0.1", 4242, "AXNODE")
        objects, spool = Spool(folder / "objects"), Spool(folder / "spool")
        asker = Asker(peer, database, Reports(database, objects, now_us), now_us)
        self._deliverer = Deliverer(peer, database, objects, now_us)
        callers = Callers(self.config)
        custody = Custody(callers, database, spool, now_us)
        rows = Rows(database)
        rows.clock.now_us = now_us()
        self._known = self._first_image()
        self._count = 0
        self.often: dict[str, Callable[[], object]] = {
            "assembly: a sweep, nothing ready": rows.assembler().sweep,
            "worker: a claim, nothing due": self._undone(partial(self._claim, ahead_us=0)),
            "worker: a claim": self._undone(partial(self._claim, ahead_us=_LATER_US)),
            "delivery: what is due": self._deliverer.deliver_due,
            "storage commitment: what is to be asked": asker.ask_due,
            "storage commitment: what is to be looked at": custody.verify_next,
            "storage commitment: what is to be told": Teller(
                "AXNODE", callers, custody, database, now_us
            ).tell_next,
            "start: deliveries of unknown destinations": self._undone(
                lambda c: park_unknown(c, DESTINATIONS, 1)
            ),
            "reception: an image that is known": self._again,
            "/metrics": self._read(lambda c: metrics.rows(c, DESTINATIONS, now_us())),
            "status: what retention deleted": self._read(status.purged),
        }
        for name, page in {
            "first page": Page(most=50),
            "first page of a state": Page(state="delivered", most=50),
            "first page of a source": Page(source_ae="US2", most=50),
            "first page of both": Page(source_ae="US2", state="delivered", most=50),
            "first page since a day": Page(since_us=now_us() - seconds(86_400.0), most=50),
        }.items():
            self.often[f"studies: {name}"] = self._read(partial(status.studies, page=page))

    def _read(self, work: Callable[[Connection], object]) -> Callable[[], None]:
        def run() -> None:
            with self.database.read() as connection:
                work(connection)

        return run

    def _undone(self, work: Callable[[Connection], object]) -> Callable[[], None]:
        def undo(connection: Connection) -> None:
            work(connection)
            raise _Undo

        def run() -> None:
            with suppress(_Undo):
                self.database.write(undo)

        return run

    def _claim(self, connection: Connection, ahead_us: int) -> None:
        taken = claims.claim(connection, now_us() + ahead_us, seconds(86_400.0), "bench")
        assert bool(taken) == bool(ahead_us)

    def _first_image(self) -> tuple[str, str]:
        table = schema.instances
        with self.database.read() as connection:
            query = select(table.c.sop_instance_uid, table.c.instance_hash).limit(1)
            uid, digest = connection.execute(query).one()
        return uid, digest

    def _again(self) -> None:
        assert self._record(*self._known, study=f"{ROOT}.1")

    def _record(self, uid: str, digest: str, study: str) -> object:
        received = Received(
            study_uid=study,
            series_uid=f"{study}.1",
            sop_instance_uid=uid,
            sop_class_uid=US,
            transfer_syntax_uid=syntaxes.EXPLICIT_LITTLE,
            instance_hash=digest,
            patient_key="p" * 64,
            size=1_500_000,
            source_ae="US1",
            assumed=True,
        )
        return self.database.write(lambda c: add_instance(c, received, now_us()))

    def receive(self) -> None:
        """Record an image, ten of which make a study."""
        self._count += 1
        uid = f"{ROOT}.9.{self._count // 10}.{time.time_ns()}"
        digest = hashlib.sha256(uid.encode()).hexdigest()
        assert self._record(uid, digest, f"{ROOT}.9.{self._count // 10}") is None

    def show_status(self) -> None:
        """Run ``axnode status``."""
        done = subprocess.run(self.command, capture_output=True, check=False)
        assert done.returncode in (0, 1), done.stderr


def quickest(work: Callable[[], object], repeats: int = _REPEATS) -> float:
    """Return milliseconds."""
    return min(_timed(work) for _ in range(repeats))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def measure(rounds: int) -> list[Figure]:
    """Make both databases, and measure on them in turn."""
    with tempfile.TemporaryDirectory() as folder:
        sites, files = [], []
        for studies in (FEW, MANY):
            file = Path(folder) / f"{studies}.sqlite"
            fill(file, studies, UNDER_WAY)
            sites.append(Site(Path(folder) / str(studies), f"sqlite:///{file}"))
            files.append(file)
        few, many = sites
        with closing(few.database), closing(many.database):
            sizes = _sizes(*files)
            return [
                *(
                    figure(name, rounds, partial(quickest, few.often[name]), each)
                    for name, each in ((n, partial(quickest, w)) for n, w in many.often.items())
                ),
                figure(
                    "axnode status", rounds, *(partial(_timed, s.show_status) for s in (few, many))
                ),
                *_reception(rounds, few, many),
                *sizes,
            ]


def figure(name: str, rounds: int, few: Callable[[], float], many: Callable[[], float]) -> Figure:
    """Measure few and many in turn."""
    pairs = [(few(), many()) for _ in range(rounds)]
    others, values = zip(*pairs, strict=True)
    return at_most(MOST, Figure(name, "ms", values, f"{FEW:,} studies", others))


def _reception(rounds: int, few: Site, many: Site) -> list[Figure]:
    """Record images, each with a commit of its own, one here and one there, and checkpoint."""
    times: dict[str, tuple[list[float], list[float]]] = {"image": ([], []), "log": ([], [])}
    for _ in range(rounds):
        sums = [0.0, 0.0]
        for _ in range(_COMMITS):
            for number, site in enumerate((few, many)):
                sums[number] += _timed(site.receive)
        for number, site in enumerate((few, many)):
            log = _timed(partial(sqlite.checkpoint, site.database._engine, "PASSIVE"))
            times["log"][number].append(log)
            times["image"][number].append((sums[number] + log) / _COMMITS)
    against = f"{FEW:,} studies"
    (image_few, image_many), (log_few, log_many) = times["image"], times["log"]
    name = "reception: an image recorded, with its share of the checkpoint"
    return [
        at_most(MOST, Figure(name, "ms", tuple(image_many), against, tuple(image_few))),
        Figure(
            f"checkpoint after {_COMMITS} images", "ms", tuple(log_many), against, tuple(log_few)
        ),
    ]


def _sizes(few: Path, many: Path) -> list[Figure]:
    """Return how many bytes a study takes: what the larger database has more, by its studies."""
    more = many.stat().st_size - few.stat().st_size
    return [Figure("bytes of a study with its ten images", "", (more / (MANY - FEW),))]


if __name__ == "__main__":
    finish(__doc__, measure, rounds=5)
