"""Long cines through the service: its memory, its time by the number of frames, frozen pictures.

A cine of 1024 × 768 RGB comes by C-STORE, every frame of it is analysed, SEG and report arrive in
a PACS. Memory is the resident size of all processes of the service, summed, so that what two of
them share counts twice, idle or not; it is sampled every few milliseconds. Idle is after a study of
four stills.
Time is from the last C-STORE response to the report, less the quiet period.

    python -m tests.benchmarks.bench_cine [--rounds N] [--json FILE]
"""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_io.synthetic import Encoding
from tests.benchmarks import cines
from tests.benchmarks.bench_latency import QUIET_S, latency_s
from tests.benchmarks.table import Figure, at_most, finish, within
from tests.benchmarks.timing_pacs import TimingPacs, study_of_stills
from tests.footprint import MIB, Footprint, forget_peak
from tests.node import Node, destination

LONG = 300
LENGTHS = (50, 100, 200, LONG)
MEMORY_MIB = 400.0  # above idle
FLAT = 1.15  # times per frame, the longest cine's against the shortest's
COMPRESSED = {Encoding.JPEG: LONG, Encoding.JPEG2000: 100, Encoding.RLE: 100}


class Peak:
    """The most memory that a process and its descendants held while it was watched."""

    def __init__(self) -> None:
        self.most = 0

    @contextmanager
    def watch(self, pid: int) -> Iterator[None]:
        """Sample in a thread until the block ends."""
        done = threading.Event()

        def sample() -> None:
            while not done.wait(0.005):
                self.most = max(self.most, Footprint.of(pid).memory)

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


class Bench:
    """A service with a PACS, idle after a small study."""

    def __init__(self, folder: Path, node: Node, pacs: TimingPacs) -> None:
        self._folder, self._node, self._pacs = folder, node, pacs
        latency_s(node.push, pacs, study_of_stills(folder / "small"))
        time.sleep(1)
        self.idle = Footprint.of(node.pid).memory

    def seconds(
        self, frames: cines.Frames, count: int, encoding: Encoding = Encoding.EXPLICIT
    ) -> float:
        """Time a cine from its last C-STORE response to its report."""
        path = cines.write(self._folder / "cine.dcm", frames, count, encoding)
        try:
            return latency_s(self._node.push, self._pacs, [path])
        finally:
            path.unlink()

    def memory(self, count: int, encoding: Encoding) -> tuple[float, float]:
        """Return the peak above idle in MiB: as sampled, and as the sum of each process's own."""
        peak = Peak()
        forget_peak(self._node.pid)
        with peak.watch(self._node.pid):
            self.seconds(cines.moving, count, encoding)
        own = Footprint.of(self._node.pid).peak - self.idle
        return (peak.most - self.idle) / MIB, own / MIB


def measure(rounds: int) -> list[Figure]:
    """Measure memory first, then times in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pacs = TimingPacs(folder / "pacs")
        pacs.start()
        with Node(
            folder / "node",
            destinations=[destination("pacs", "PACS", pacs.port)],
            study={"quiet_period_s": QUIET_S, "cine_frames": LONG},
        ) as node:
            bench = Bench(folder, node, pacs)
            figures = [*_memory(bench), *_times(bench, rounds)]
        pacs.stop()
    return figures


def _memory(bench: Bench) -> Iterator[Figure]:
    yield Figure("memory of the service, idle", "MiB", (bench.idle / MIB,))
    for encoding, count in {Encoding.EXPLICIT: LONG, **COMPRESSED}.items():
        what = f"memory above idle, a cine of {count} frames, {encoding.value}"
        sampled, own = bench.memory(count, encoding)
        yield within(MEMORY_MIB, Figure(what, "MiB", (sampled,)))
        yield Figure(f"{what}, sum of the processes' own peaks", "MiB", (own,))


def _times(bench: Bench, rounds: int) -> Iterator[Figure]:
    taken: dict[int, list[float]] = {count: [] for count in LENGTHS}
    frozen = []
    for _ in range(rounds):
        for count in LENGTHS:
            taken[count].append(bench.seconds(cines.moving, count) / count)
        frozen.append(bench.seconds(cines.frozen, LONG))
    for count in LENGTHS[:-1]:
        yield Figure(f"time per frame, a cine of {count} frames", "s", tuple(taken[count]))
    longest, shortest = tuple(taken[LONG]), tuple(taken[LENGTHS[0]])
    what = f"time per frame, a cine of {LONG} frames"
    yield at_most(FLAT, Figure(what, "s", longest, f"of {LENGTHS[0]} frames", shortest))
    moving = tuple(LONG * value for value in longest)
    yield Figure(
        f"a frozen cine of {LONG} frames, a clock beside it", "s", tuple(frozen), "moving", moving
    )


if __name__ == "__main__":
    finish(__doc__, measure, rounds=1)
