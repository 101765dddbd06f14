"""Studies a minute with a queue of fifty, against the bare model's best batch.

``python -m tests.benchmarks.bench_throughput`` prints the table. A study has four frames; the rate
is that between the first study's last result and the last study's, so that neither the quiet period
nor an empty pipeline counts. With one thread the network leaves a processor to the rest of the
service, as it does where there are more processors, or a GPU. The ResNet-101 has random weights and
finds nothing: a report alone is sent.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from daemon.analyser import Analysers
from model.bundle_file import SHIPPED, Bundle
from model.preprocess import Prepared
from model.runtime import Predictor
from tests.benchmarks.bench_forward import frames, random_bundle
from tests.benchmarks.bench_latency import prepared
from tests.benchmarks.table import Figure, at_least, finish
from tests.benchmarks.timing_pacs import RESULTS_OF_STILLS, STILLS, TimingPacs, study_of_stills
from tests.footprint import cpu_s
from tests.node import Node, destination

STUDIES = 50
BATCHES = (1, 4, 8, 16)
_FORWARD_S = 3.0  # of predictions for each batch
_WARM, _TURNS = 2, 9  # of batches and single studies, the latter for every round


@dataclass(frozen=True)
class Model:
    """A bundle, and how many objects come of a study that it analyses."""

    name: str
    bundle: Bundle
    results: int


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


def studies_a_minute(folder: Path, what: Model, threads: int) -> tuple[float, float]:
    """Queue the studies at once; return the rate of their results, and CPU seconds a study."""
    pacs = TimingPacs(folder / "pacs")
    pacs.start()
    node = Node(
        folder / "node",
        [destination("pacs", "PACS", pacs.port)],
        study={"quiet_period_s": 2},
        model={"bundle": str(what.bundle.path)},
    )
    try:
        node.start(OMP_NUM_THREADS=str(threads))
        node.push(study_of_stills(folder / "warm"))
        pacs.wait_for(what.results)
        used = cpu_s(node.pid)
        node.push([p for n in range(STUDIES) for p in study_of_stills(folder / str(n))])
        first = pacs.wait_for(2 * what.results)
        last = pacs.wait_for((STUDIES + 1) * what.results)
        used = cpu_s(node.pid) - used
    finally:
        node.stop()
        pacs.stop()
    return (STUDIES - 1) / (last - first) * 60, used / STUDIES


def compare(what: Model, threads: int, rounds: int) -> list[Figure]:
    """Measure the bare model and the node in turn."""
    torch.set_num_threads(threads)
    predictor = Predictor(what.bundle, "cpu")
    bare: list[float] = []
    node: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        inputs = prepared(study_of_stills(Path(name) / "forward"), what.bundle)
        for number in range(rounds):
            best = best_frames_a_second(predictor, inputs)
            bare.append(best / len(STILLS) * 60)
            node.append(studies_a_minute(Path(name) / f"round-{number}", what, threads))
    rates, cpu = zip(*node, strict=True)
    where = f"{what.name}, {threads} thread{'s' * (threads > 1)}"
    rate = f"studies a minute, {STUDIES} queued, {len(STILLS)} frames each: {where}"
    return [
        at_least(0.9, Figure(rate, "/min", rates, "the bare model's best batch", tuple(bare))),
        Figure(f"processor time of the whole service a study: {where}", "s", cpu),
    ]


def together(what: Model, rounds: int) -> Figure:
    """Measure studies of one still, read in one batch and one by one, in the analysing process."""
    torch.set_num_threads(os.cpu_count() or 1)
    found: dict[int, list[float]] = {1: [], len(STILLS): []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loaded = Analysers.load([what.bundle.path], "cpu")
        requests = [
            {
                "inputs": [(str(number), str(path))],
                "masks": str(folder / f"{number}.npz"),
                "cine_frames": 1,
                "tracking_root": str(number),
                "pictures": "never",
            }
            for number, path in enumerate(study_of_stills(folder / "study"))
        ]
        for number in range(2 * _WARM + 2 * _TURNS * rounds):
            size = (1, len(requests))[number % 2]
            start = time.monotonic()
            for first in range(0, len(requests), size):
                studies = requests[first : first + size]
                loaded.analyse({"bundle": what.bundle.digest, "studies": studies}, lambda: None)
            if number >= 2 * _WARM:
                found[size].append(len(requests) / (time.monotonic() - start) * 60)
    one, many = tuple(found[1]), tuple(found[len(STILLS)])
    name = f"studies of one still a minute, in the analysing process, four at a time: {what.name}"
    return Figure(name, "/min", many, "one at a time", one)


def measure(rounds: int) -> list[Figure]:
    """Measure the bundle that ships and the paper's network, on all processors and on one."""
    every = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        models = (
            Model("the bundle that ships", Bundle.load(SHIPPED), RESULTS_OF_STILLS),
            Model("resnet101", random_bundle(Path(name) / "random", frames(4)), 1),
        )
        found = [
            figure
            for model in models
            for threads in (every, 1)
            for figure in compare(model, threads, rounds)
        ]
        return found + [together(model, rounds) for model in models]


if __name__ == "__main__":
    finish(__doc__, measure, rounds=1)
