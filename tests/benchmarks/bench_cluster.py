"""Several workers on one PostgreSQL: how their number multiplies, and where the database ends it.

``python -m tests.benchmarks.bench_cluster``. Workers are processes of the service with a model that
takes a second a study and next to no processor, as a GPU would; so that two processors can show how
four of them go together. What the database bears is measured without any analysis: processes that
record images, or take studies the whole way from the queue to rest, as fast as they can.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sqlalchemy import create_engine, func, insert, select

from daemon import claims, jobs, schema
from daemon.clock import now_us, seconds
from daemon.database import Database
from daemon.events import move_study
from daemon.jobs import Job, StoredObject
from daemon.lifecycle import AnalysisState, StudyState
from daemon.spool import Spool
from daemon.store import Received, add_instance
from daemon.turns import HELD_S, Turns
from tests.benchmarks.stub_node import SECONDS
from tests.benchmarks.table import Figure, at_least, at_most, finish
from tests.benchmarks.timing_pacs import STILLS, study_of_stills
from tests.builders import US
from tests.node import Node
from tests.postgres import PostgreSQL

WORKERS = (1, 2, 4)
_ANALYSIS_S = 1.0  # a study
_FOR_S = 30.0  # of work for every worker
WRITERS = (1, 2, 4, 8)
_WRITING_S = 6.0
_WAY = (StudyState.ANALYSING, StudyState.DELIVERING, StudyState.DELIVERED)
_MOVES, _ENDS = 60_000, 2_000


class Cell(Node):
    """A process of the service with some of the roles."""

    def __init__(self, folder: Path, url: str, shared: Path, role: str) -> None:
        super().__init__(
            folder,
            node={"spool_dir": str(shared)},
            database={"url": url},
            study={"quiet_period_s": 0.5, "version_interval_s": 0},
        )
        self.command = ("tests.benchmarks.stub_node", "--role", role)


def studies_a_second(server: PostgreSQL, folder: Path, workers: int) -> float:
    """Queue studies for so many workers; return how many a second were finished."""
    url = server.database(f"workers_{folder.name}_{workers}")
    shared, count = folder / f"shared{workers}", int(workers * _FOR_S / _ANALYSIS_S)
    with ExitStack() as ends:
        receiver = Cell(folder / f"r{workers}", url, shared, "receiver")
        ends.enter_context(receiver)
        receiver.push([p for n in range(count) for p in study_of_stills(folder / f"{workers}-{n}")])
        database = Database(url, owner=False)
        ends.callback(database.close)
        _until(lambda: _states(database).get(AnalysisState.QUEUED) == count)
        for number in range(workers):
            cell = Cell(folder / f"w{workers}-{number}", url, shared, "worker")
            cell.launch(**{SECONDS: str(_ANALYSIS_S)})
            ends.callback(cell.stop)
        _until(lambda: _states(database).get(AnalysisState.DONE) == count, 300)
        table = schema.analyses
        with database.read() as connection:
            ended = connection.execute(select(table.c.finished_us)).scalars().all()
        # while every worker had work: without the start, and without the end
        ended = sorted(at for at in ended if at is not None)
        inner = ended[workers : -2 * workers]
        return float((len(inner) - 1) / (inner[-1] - inner[0]) * 1e6)


def _states(database: Database) -> dict[str, int]:
    table = schema.analyses
    with database.read() as connection:
        rows = connection.execute(select(table.c.state, func.count()).group_by(table.c.state))
        return {state: number for state, number in rows}


def _until(done: Callable[[], bool], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


Work = Callable[[Database, int, float], int]


def writes_a_second(url: str, writers: int, work: Work) -> float:
    """Let so many processes write for a while; return how much they did a second."""
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(writers), context.Queue()
    processes = [
        context.Process(target=_write, args=(url, number, work, start, done))
        for number in range(writers)
    ]
    for each in processes:
        each.start()
    total: int = sum(done.get(timeout=120) for _ in processes)
    for each in processes:
        each.join()
    return total / _WRITING_S


def _write(
    url: str, number: int, work: Work, start: Barrier, done: "multiprocessing.Queue[int]"
) -> None:
    database = Database(url)
    start.wait(60)
    done.put(work(database, number, time.monotonic() + _WRITING_S))
    database.close()


def record(database: Database, number: int, until_s: float) -> int:
    """Record images, twenty a study, one commit each: an association's worst case."""
    count = 0
    while time.monotonic() < until_s:
        study = f"2.25.{number}.{time.time_ns()}"
        for image in range(20):
            item = Received(
                study_uid=study,
                series_uid=f"{study}.0",
                sop_instance_uid=f"{study}.0.{image}",
                sop_class_uid=US,
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                instance_hash=f"{number}{time.time_ns()}".rjust(64, "0"),
                patient_key="p",
                size=1,
                source_ae="US1",
                assumed=True,
            )
            database.write(lambda c, item=item: add_instance(c, item, now_us()), alone=False)
            count += 1
    return count


def take(database: Database, number: int, until_s: float) -> int:
    """Claim jobs, and give each its results: what a worker writes for a study."""
    count = 0
    while time.monotonic() < until_s:
        job = _next(database, number)
        built = [
            StoredObject(role, 0, US, f"{job.study_uid}.{n}", f"{job.study_uid}.9", "f" * 64, 1)
            for n, role in enumerate(("seg", "sr"), 1)
        ]
        database.write(
            lambda c, job=job, built=built: jobs.finish(
                c, job, built, lambda role: ("pacs",), {}, None, now_us()
            )
        )
        count += 1
    return count


def claim(database: Database, number: int, until_s: float) -> int:
    """Claim jobs, and nothing else."""
    count = 0
    while time.monotonic() < until_s:
        _next(database, number)
        count += 1
    return count


def _next(database: Database, number: int) -> Job:
    found = database.write(
        lambda c: claims.claim(c, now_us(), seconds(600), str(number)), alone=False
    )
    assert found, "the queue was too short"
    return found[0]


def queue(url: str, count: int) -> None:
    """Queue so many studies of one image."""
    database, now = Database(url), now_us()
    studies = [
        {
            "study_uid": f"1.2.{n}",
            "state": StudyState.QUEUED,
            "version": 1,
            "received_us": now,
            "last_instance_us": now,
        }
        for n in range(count)
    ]
    database.write(lambda c: c.execute(insert(schema.studies), studies) and None)
    with database.read() as connection:
        ids = connection.execute(select(schema.studies.c.id)).scalars().all()
    analyses = [
        {
            "study_id": study,
            "version": 1,
            "input_hash": "",
            "bundle_digest": "",
            "recipe_digest": "",
            "state": AnalysisState.QUEUED,
            "due_us": now + n,
            "created_us": now,
        }
        for n, study in enumerate(ids)
    ]
    database.write(lambda c: c.execute(insert(schema.analyses), analyses) and None)
    database.close()


def move_while_copied(url: str) -> tuple[float, float]:
    """Move studies along, at first and once somebody has copied the database for long.

    Returns milliseconds a move, alone with the rows, of the first and of the last two thousand.
    """
    studies = _MOVES // len(_WAY)
    queue(url, studies)
    database = Database(url)
    # a session without the node's limits, as who copies has
    with create_engine(url, isolation_level="REPEATABLE READ").connect() as copying:
        copying.execute(select(func.count()).select_from(schema.studies))
        took: list[float] = []
        for state in _WAY:
            for number in range(1, studies + 1):
                start = time.perf_counter()
                database.write(lambda c, n=number, s=state: move_study(c, n, s, "", now_us()))
                took.append((time.perf_counter() - start) * 1e3)
    database.close()
    return statistics.fmean(took[:_ENDS]), statistics.fmean(took[-_ENDS:])


def turn(url: str) -> float:
    """Return seconds that a process takes to get the turn of one that is gone."""
    one, other = Database(url), Database(url)
    assert Turns(one, "gone", now_us).mine("x")
    start, taker = time.monotonic(), Turns(other, "taker", now_us)
    while not taker.mine("x"):
        time.sleep(0.1)
        assert time.monotonic() - start < 3 * HELD_S
    one.close()
    other.close()
    return time.monotonic() - start


def measure(rounds: int) -> list[Figure]:
    """Measure both."""
    rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    written: dict[tuple[str, int], list[float]] = {}
    turns, copied = [], []
    with PostgreSQL(durable=True) as server, tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            place = Path(folder) / str(number)
            place.mkdir()
            Spool(place / "unused")
            for workers in WORKERS:
                rates[workers].append(studies_a_second(server, place, workers))
            for writers in WRITERS:
                for work in (record, claim, take):
                    url = server.database(f"{work.__name__}_{number}_{writers}")
                    if work is not record:
                        queue(url, 30_000)
                    found = writes_a_second(url, writers, work)
                    written.setdefault((work.__name__, writers), []).append(found)
            copied.append(move_while_copied(server.database(f"copied_{number}")))
            turns.append(turn(server.database(f"turn_{number}")))
    figures = []
    for workers in WORKERS:
        ideal = tuple(workers * rate for rate in rates[1])
        figure = Figure(
            f"studies of {len(STILLS)} stills, {workers} workers of {_ANALYSIS_S:g} s a study",
            "/s",
            tuple(rates[workers]),
            f"{workers} x one worker",
            ideal,
        )
        figures.append(at_least(0.9, figure))
    names = {"record": "images recorded", "claim": "claims", "take": "studies claimed and finished"}
    for (name, writers), values in sorted(written.items()):
        figures.append(Figure(f"{names[name]}, {writers} processes", "/s", tuple(values)))
    first, last = zip(*copied, strict=True)
    words = f"a study moved while the database is copied, after {_MOVES:,} moves"
    figures.append(at_most(2, Figure(words, "ms", last, "at first", first)))
    return [*figures, Figure("a turn is taken over", "s", tuple(turns))]


if __name__ == "__main__":
    finish(__doc__, measure, rounds=3)
