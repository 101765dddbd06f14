"""How long a node takes to answer its first C-ECHO, and to stop, with work waiting.

``python -m tests.benchmarks.bench_start`` prints a Markdown table: an empty queue against ten
thousand queued analyses whose images are in the spool.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from sqlalchemy import insert, select

from daemon import schema
from daemon.clock import now_us
from daemon.database import Database
from daemon.lifecycle import AnalysisState, StudyState
from dicom_io import scu, syntaxes
from dicom_io.errors import PeerError
from tests.node import Node


def fill(node: Node, jobs: int) -> None:
    """Queue analyses, one study of one image each."""
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


def once(node: Node) -> tuple[float, float]:
    """Start and stop a node; return seconds to its first C-ECHO and to its end."""
    start = time.monotonic()
    node.launch()
    while True:
        try:
            scu.echo(node.remote(), timeout_s=5)
            break
        except PeerError:
            time.sleep(0.02)
    answered = time.monotonic() - start
    start = time.monotonic()
    assert node.stop() == 0
    return answered, time.monotonic() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print("| Queued analyses | C-ECHO answered after (s) | Stopped after (s) |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for jobs in (0, 10_000):
            node = Node(Path(folder) / str(jobs), study={"version_interval_s": 7200})
            if jobs:
                fill(node, jobs)
            times = [once(node) for _ in range(rounds)]
            shown = [
                f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
                for each in zip(*times, strict=True)
            ]
            print(f"| {jobs} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
