"""From the last C-STORE response to SEG and report in the PACS, less the quiet period.

Beside it, in the same rounds: the bare forward pass of the study's frames, Orthanc with its Python
plugin around the same warm model, and one process a study. ``python -m
tests.benchmarks.bench_latency`` prints the table.
"""

import contextlib
import os
import site
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dicom_io import scu
from dicom_io.frames import Image
from dicom_io.regions import b_mode_boxes, regions
from dicom_io.scu import Remote
from model.bundle_file import SHIPPED, Bundle
from model.preprocess import Prepared, prepare
from model.runtime import Predictor
from tests.benchmarks.table import Figure, at_most, finish
from tests.benchmarks.timing_pacs import RESULTS_OF_STILLS, STILLS, TimingPacs, study_of_stills
from tests.node import Node, destination
from tests.peers import Orthanc

QUIET_S = 1  # Orthanc's StableAge is in whole seconds
_FACTOR, _MORE_S = 1.25, 0.2  # the goal: so many times the forward pass, and so much beside it
Push = Callable[[list[Path]], object]


def prepared(paths: list[Path], bundle: Bundle) -> list[Prepared]:
    """Return the network's input for the study's frames."""
    inputs = []
    for path in paths:
        image = Image.open(path)
        declared = b_mode_boxes(regions(image.header, image.rows, image.columns))
        box = declared[0].box if declared else None
        inputs.append(prepare(image.frame(0), box, bundle.card.input))
    return inputs


def latency_s(push: Push, pacs: TimingPacs, paths: list[Path]) -> float:
    """Push a study; return the time to its last result, less the quiet period."""
    arrived = len(pacs.arrivals)
    push(paths)
    pushed = time.monotonic()
    return pacs.wait_for(arrived + RESULTS_OF_STILLS) - pushed - QUIET_S


@contextlib.contextmanager
def axnode(folder: Path, pacs: TimingPacs) -> Iterator[Push]:
    """Run this node before a PACS."""
    study = {"quiet_period_s": QUIET_S}
    with Node(folder, [destination("pacs", "PACS", pacs.port)], study=study) as node:
        yield node.push


@contextlib.contextmanager
def orthanc(pacs: TimingPacs) -> Iterator[Push]:
    """Run Orthanc with the plugin before a PACS."""
    ours = [str(Path(__file__).parents[2]), *site.getsitepackages()]
    os.environ["PYTHONPATH"] = os.pathsep.join(ours)  # of its own Python
    script = Path(__file__).parent / "orthanc_plugin.py"
    modalities = {"pacs": ("PACS", "127.0.0.1", pacs.port)}
    settings = {"StableAge": QUIET_S, "OverwriteInstances": True}
    with Orthanc(script=script, modalities=modalities, config=settings) as server:
        del os.environ["PYTHONPATH"]
        peer = Remote("orthanc", server.ae_title, "127.0.0.1", server.dicom_port, "MODALITY")
        yield lambda paths: scu.store(peer, paths)


def process_s(folder: Path, paths: list[Path]) -> float:
    """Analyse a study in a process of its own, cold; return seconds."""
    command = [sys.executable, "-m", "daemon.cli", "analyze", "--out", str(folder)]
    start = time.monotonic()
    subprocess.run([*command, *map(str, paths)], check=True, capture_output=True)
    return time.monotonic() - start


def measure(rounds: int) -> list[Figure]:
    """Run every way in turn; the first round warms up and is dropped."""
    forward, ours, theirs, alone = [], [], [], []
    bundle = Bundle.load(SHIPPED)
    predictor = Predictor(bundle, "cpu")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        inputs = prepared(study_of_stills(folder / "forward"), bundle)
        pacs = TimingPacs(folder / "pacs")
        pacs.start()
        stack.callback(pacs.stop)
        node = stack.enter_context(axnode(folder / "node", pacs))
        other = stack.enter_context(orthanc(pacs))
        for number in range(rounds + 1):
            start = time.monotonic()
            predictor.predict(inputs)
            forward.append(time.monotonic() - start)
            ours.append(latency_s(node, pacs, study_of_stills(folder / f"a{number}")))
            theirs.append(latency_s(other, pacs, study_of_stills(folder / f"o{number}")))
            if number < 3:
                alone.append(
                    process_s(folder / f"p{number}", study_of_stills(folder / f"f{number}"))
                )
    bare, node_s, orthanc_s = (tuple(times[1:]) for times in (forward, ours, theirs))
    return figures(bare, node_s, orthanc_s, tuple(alone))


def figures(
    bare: tuple[float, ...],
    node: tuple[float, ...],
    orthanc: tuple[float, ...],
    alone: tuple[float, ...],
) -> list[Figure]:
    """Judge the times."""
    what = f"last C-STORE response to SEG and SR in the PACS, {len(STILLS)} frames"
    limit = _FACTOR * statistics.median(bare) + _MORE_S
    against = Figure(what, "s", node, "bare forward pass", bare)
    goal = f"at most {_FACTOR} x + {_MORE_S} s = {limit:.3g} s"
    return [
        Figure(**{**against.__dict__, "goal": goal, "met": against.median <= limit}),
        at_most(1.0, Figure(what, "s", node, "Orthanc's Python plugin, same warm model", orthanc)),
        Figure("the same study by a process of its own", "s", alone),
    ]


if __name__ == "__main__":
    finish(__doc__, measure, rounds=9)
