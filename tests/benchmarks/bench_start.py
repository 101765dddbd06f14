"""How long a node takes to open its port, to be ready and to stop, with nothing and much waiting.

``python -m tests.benchmarks.bench_start``: an empty queue, and ten thousand queued analyses.
"""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import insert, select

from daemon import schema
from daemon.child import Child, ChildOptions
from daemon.clock import now_us
from daemon.database import Database
from daemon.lifecycle import AnalysisState, StudyState
from dicom_io import scu, syntaxes
from dicom_io.errors import PeerError
from model.bundle_file import SHIPPED
from tests.benchmarks.table import Figure, finish, within
from tests.node import Node, axnode

QUEUED = (0, 10_000)


def fill(node: Node, jobs: int) -> None:
    """Queue analyses, one study of one image each."""
    if not jobs:
        return
    node.state_dir.mkdir(parents=True, exist_ok=True)
    database = Database(f"sqlite:///{node.state_dir / 'axnode.sqlite'}")
    now = now_us()
    studies = [
        {
            "study_uid": f"1.2.{n}",
            "state": StudyState.QUEUED,
            "version": 1,
            "received_us": now,
            "last_instance_us": now,
        }
        for n in range(jobs)
    ]
    database.write(lambda c: c.execute(insert(schema.studies), studies) and None)
    with database.read() as connection:
        ids = connection.execute(select(schema.studies.c.id)).scalars().all()
    rows = [
        {
            "study_id": study,
            "sop_instance_uid": f"1.2.3.{study}",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.6.1",
            "series_uid": "1.2",
            "transfer_syntax_uid": syntaxes.EXPLICIT_LITTLE,
            "instance_hash": f"{study:064x}",
            "patient_key": "",
            "size": 0,
            "source_ae": "US1",
            "assumed": True,
            "received_us": now,
        }
        for study in ids
    ]
    analyses = [
        {
            "study_id": study,
            "version": 1,
            "input_hash": "",
            "bundle_digest": "",
            "recipe_digest": "",
            "state": AnalysisState.QUEUED,
            "due_us": now + 3_600_000_000,  # nothing of it is to be analysed here
            "created_us": now,
        }
        for study in ids
    ]
    database.write(lambda c: c.execute(insert(schema.instances), rows) and None)
    database.write(lambda c: c.execute(insert(schema.analyses), analyses) and None)
    database.close()


@dataclass(frozen=True)
class Times:
    """One start and stop, in seconds from the start of the process, and from SIGTERM."""

    opened: float  # a connection to the DICOM port was taken
    worked: float  # processor time until then: what a busy machine does not blur
    answered: float  # the first C-ECHO had its answer
    ready: float  # /readyz said so: the model is loaded
    stopped: float


def once(node: Node) -> Times:
    """Start and stop a node."""
    start = time.monotonic()
    node.launch()
    opened = _until(lambda: _connects(node.port)) - start
    worked = _processor_s(node.pid)
    answered = _until(lambda: _echoes(node)) - start
    ready = _until(lambda: _is_ready(node)) - start
    start = time.monotonic()
    assert node.stop() == 0
    return Times(opened, worked, answered, ready, time.monotonic() - start)


def _processor_s(pid: int) -> float:
    """Return the processor time of a process so far (proc_pid_stat(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _until(done: Callable[[], bool], limit_s: float = 120.0) -> float:
    """Return when it was done."""
    deadline = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return time.monotonic()


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _echoes(node: Node) -> bool:
    try:
        scu.echo(node.remote(), timeout_s=5)
    except PeerError:
        return False
    return True


def _is_ready(node: Node) -> bool:
    try:
        return node.get("readyz").status_code == 200
    except httpx.TransportError:
        return False


def model_load() -> float:
    """Start the analysing process by itself; return seconds until its model is loaded."""
    child = Child(ChildOptions(SHIPPED, "auto", 8 * 2**30))
    start = time.monotonic()
    child.start()
    took = time.monotonic() - start
    child.stop()
    return took


def help_shown() -> float:
    """Return seconds that ``axnode --help`` takes."""
    start = time.monotonic()
    assert axnode("--help").returncode == 0
    return time.monotonic() - start


def measure(rounds: int) -> list[Figure]:
    """Start and stop an empty node and a full one in turn."""
    found: dict[int, list[Times]] = {jobs: [] for jobs in QUEUED}
    loads, helps = [], []
    with tempfile.TemporaryDirectory() as folder:
        nodes = {
            jobs: Node(Path(folder) / str(jobs), study={"version_interval_s": 7200})
            for jobs in QUEUED
        }
        for jobs, node in nodes.items():
            fill(node, jobs)
            once(node)  # what a first start makes is there; and a disk's cache is warm
        for _ in range(rounds):
            helps.append(help_shown())
            loads.append(model_load())
            for jobs, node in nodes.items():
                found[jobs].append(once(node))
    figures = [
        within(0.3, Figure("axnode --help", "s", tuple(helps))),
        Figure("the analysing process by itself: start to model loaded", "s", tuple(loads)),
    ]
    for jobs, times in found.items():
        where = f"{jobs} queued"
        beyond = tuple(each.ready - load for each, load in zip(times, loads, strict=True))
        figures += [
            within(1.0, _figure(f"start to port open, {where}", times, "opened")),
            _figure(f"processor time to port open, {where}", times, "worked"),
            _figure(f"start to first C-ECHO, {where}", times, "answered"),
            _figure(f"start to ready, {where}", times, "ready"),
            within(1.0, Figure(f"start to ready less the model's load, {where}", "s", beyond)),
            within(30.0, _figure(f"SIGTERM to end, {where}", times, "stopped")),
        ]
    return figures


def _figure(what: str, times: Sequence[Times], name: str) -> Figure:
    return Figure(what, "s", tuple(getattr(each, name) for each in times))


if __name__ == "__main__":
    finish(__doc__, measure, rounds=5)
