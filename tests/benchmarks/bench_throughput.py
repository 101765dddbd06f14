"""Studies a minute with a queue of fifty, against the bare model's best batch.

``python -m tests.benchmarks.bench_throughput`` prints the table. A study has four frames; the rate
is that between the first study's last result and the last study's, so that neither the quiet period
nor an empty pipeline counts.
"""

import tempfile
import time
from pathlib import Path

from model.bundle_file import SHIPPED, Bundle
from model.preprocess import Prepared
from model.runtime import Predictor
from tests.benchmarks.bench_latency import prepared
from tests.benchmarks.table import Figure, at_least, finish
from tests.benchmarks.timing_pacs import RESULTS_OF_STILLS, STILLS, TimingPacs, study_of_stills
from tests.footprint import cpu_s
from tests.node import Node, destination

STUDIES = 50
BATCHES = (1, 4, 8, 16)
_FORWARD_S = 3.0  # of predictions for each batch


def best_frames_a_second(predictor: Predictor, inputs: list[Prepared]) -> float:
    """Return the rate of the best batch."""
    return max(_rate(predictor, inputs, size) for size in BATCHES)


def _rate(predictor: Predictor, inputs: list[Prepared], size: int) -> float:
    batch = [inputs[number % len(inputs)] for number in range(size)]
    predictor.predict(batch)
    start, frames = time.monotonic(), 0
    while time.monotonic() - start < _FORWARD_S:
        predictor.predict(batch)
        frames += size
    return frames / (time.monotonic() - start)


def studies_a_minute(folder: Path) -> tuple[float, float]:
    """Queue the studies at once; return the rate of their results, and CPU seconds a study."""
    pacs = TimingPacs(folder / "pacs")
    pacs.start()
    study = {"quiet_period_s": 2}
    try:
        with Node(folder / "node", [destination("pacs", "PACS", pacs.port)], study=study) as node:
            warm = study_of_stills(folder / "warm")
            node.push(warm)
            pacs.wait_for(RESULTS_OF_STILLS)
            used = cpu_s(node.pid)
            node.push([p for n in range(STUDIES) for p in study_of_stills(folder / str(n))])
            first = pacs.wait_for(2 * RESULTS_OF_STILLS)
            last = pacs.wait_for((STUDIES + 1) * RESULTS_OF_STILLS)
            used = cpu_s(node.pid) - used
    finally:
        pacs.stop()
    return (STUDIES - 1) / (last - first) * 60, used / STUDIES


def measure(rounds: int) -> list[Figure]:
    """Measure bare model and node in turn."""
    bundle = Bundle.load(SHIPPED)
    predictor = Predictor(bundle, "cpu")
    bare: list[float] = []
    node: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        inputs = prepared(study_of_stills(Path(name) / "forward"), bundle)
        for number in range(rounds):
            frames = best_frames_a_second(predictor, inputs)
            bare.append(frames / len(STILLS) * 60)
            node.append(studies_a_minute(Path(name) / f"round-{number}"))
    what = f"studies a minute, {STUDIES} queued, {len(STILLS)} frames each"
    against = "the bare model's best batch"
    rates, cpu = zip(*node, strict=True)
    return [
        at_least(0.9, Figure(what, "/min", rates, against, tuple(bare))),
        Figure("processor time of the whole service a study, reception included", "s", cpu),
    ]


if __name__ == "__main__":
    finish(__doc__, measure, rounds=3)
