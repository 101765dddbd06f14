"""Building and checking SEG and report: a study of four stills, and a cine of 300 frames.

What the worker does between the analysing process's answer and the objects' files, without the
disk: see `daemon.build`. Frames of 1024 × 768.

    python -m tests.benchmarks.bench_build [--rounds N] [--json FILE]
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from daemon.build import build_objects
from daemon.config_results import Results
from dicom_io.findings import NodeFinding, NodeView
from tests import builders_objects as objects
from tests.benchmarks.table import Figure, finish, within

ROWS, COLUMNS = 768, 1024
CINE_FRAMES = 300
STILLS = 4
# Whether it is a cine, nodes on a frame: in words, and the goal in milliseconds where there is one
STUDIES = {
    (False, 1): (f"{STILLS} stills, a node on each", 50.0),
    (False, 2): (f"{STILLS} stills, two nodes on each", None),
    (True, 1): (f"a cine of {CINE_FRAMES} frames, a node", 1000.0),
    (True, 2): (f"a cine of {CINE_FRAMES} frames, two nodes", 1000.0),
}


def sources(folder: Path, *, cine: bool) -> tuple[list[Dataset], list[Path]]:
    """Write the images; their pixels are left out, for building reads no more than headers."""
    folder.mkdir()
    sets, paths = [], []
    for number in range(1, 2 if cine else STILLS + 1):
        spec = objects.SourceSpec(rows=8, columns=8, number=number, frames=1 + cine)
        ds = objects.source("1.2.3", spec)
        ds.Rows, ds.Columns = ROWS, COLUMNS
        if cine:
            ds.NumberOfFrames = CINE_FRAMES
        sets.append(ds)
        paths.append(objects.write(ds, folder / f"{number}.dcm"))
    return sets, paths


def nodes(sets: Sequence[Dataset], per_frame: int) -> list[NodeFinding]:
    """Return nodes of 150 × 147 pixels on every frame; those of a cine wander."""
    found: list[NodeFinding] = []
    for ds in sets:
        for number in range(per_frame):
            frames = range(1, int(ds.get("NumberOfFrames", 1)) + 1)
            views = [_view(ds, frame, number) for frame in frames]
            found.append(objects.node(len(found) + 1, *views))
    return found


def _view(ds: Dataset, frame: int, number: int) -> NodeView:
    column = 100 + 400 * number + frame % 97
    return objects.view(ds, frame, row=200 + frame % 53, column=column, size=150)


def build_ms(sets: Sequence[Dataset], paths: Sequence[Path], per_frame: int) -> float:
    """Time one building."""
    found = objects.findings(sets, nodes(sets, per_frame))
    start = time.perf_counter()
    built = list(build_objects(found, paths, (), Results(), objects.uid, objects.NOW))
    took = time.perf_counter() - start
    assert [item.role for item in built] == ["seg", "sr"], built
    return 1000 * took


def measure(rounds: int) -> list[Figure]:
    """Build every study once to warm up, then in turn."""
    taken: dict[tuple[bool, int], list[float]] = {key: [] for key in STUDIES}
    with tempfile.TemporaryDirectory() as name:
        written = {cine: sources(Path(name) / str(cine), cine=cine) for cine in (False, True)}
        for number in range(rounds + 1):
            for cine, per_frame in STUDIES:
                took = build_ms(*written[cine], per_frame)
                taken[cine, per_frame] += [took] if number else []
    return [_figure(*STUDIES[key], tuple(values)) for key, values in taken.items()]


def _figure(what: str, goal_ms: float | None, values: tuple[float, ...]) -> Figure:
    figure = Figure(f"building SEG and report of {what}", "ms", values)
    return within(goal_ms, figure) if goal_ms else figure


if __name__ == "__main__":
    finish(__doc__, measure, rounds=9)
