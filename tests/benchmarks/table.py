"""One line of the benchmarks' table: what was measured, against what, and whether it is enough.

A script measures what it compares side by side in one run and hands over `Figure`s; `finish` prints
them and writes them as JSON where ``--json FILE`` asks for it. ``tests.benchmarks.run`` runs every
script and joins their figures.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measurement, and what it is held against.

    Parameters
    ----------
    what, unit
        What was measured, in words, and its unit.
    values
        One of each round.
    against, others
        What it is compared with, measured in the same rounds; empty: nothing.
    goal
        In words with the number: ``at least 1.5 x``; empty: for information.
    met
        Whether the goal is reached; None where there is none.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    against: str = ""
    others: tuple[float, ...] = ()
    goal: str = ""
    met: bool | None = None

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """Ratio of the medians; None without a comparison."""
        return self.median / statistics.median(self.others) if self.others else None


def at_least(factor: float, figure: Figure) -> Figure:
    """Set the goal: so many times what it is compared with."""
    return _judged(figure, f"at least {factor:g} x", (figure.ratio or 0) >= factor)


def at_most(factor: float, figure: Figure) -> Figure:
    """Set the goal: no more than so many times what it is compared with."""
    return _judged(figure, f"at most {factor:g} x", (figure.ratio or math.inf) <= factor)


def within(limit: float, figure: Figure) -> Figure:
    """Set the goal: a median of no more than `limit`."""
    return _judged(figure, f"at most {limit:g} {figure.unit}", figure.median <= limit)


def _judged(figure: Figure, goal: str, met: bool) -> Figure:
    return Figure(**{**figure.__dict__, "goal": goal, "met": met})


HEAD = "| What | Figure | Against | Ratio | Goal | |\n|---|---|---|---|---|---|"


def line(figure: Figure) -> str:
    """Return a figure as a line of the table under `HEAD`."""
    other = f"{figure.against}: {_spread(figure.others, figure.unit)}" if figure.others else ""
    ratio = "" if figure.ratio is None else f"{figure.ratio:.3g}"
    verdict = {None: "", True: "met", False: "**missed**"}[figure.met]
    shown = _spread(figure.values, figure.unit)
    return f"| {figure.what} | {shown} | {other} | {ratio} | {figure.goal} | {verdict} |"


def _spread(values: Sequence[float], unit: str) -> str:
    text = f"{statistics.median(values):.3g} {unit}".rstrip()
    return f"{text} ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else text


def save(figures: Sequence[Figure], path: Path) -> None:
    """Write figures as JSON."""
    path.write_text(json.dumps([asdict(each) for each in figures], indent=1) + "\n")


def load(path: Path) -> list[Figure]:
    """Read what `save` wrote."""
    found = json.loads(path.read_text())
    return [
        Figure(**{**each, "values": tuple(each["values"]), "others": tuple(each["others"])})
        for each in found
    ]


def finish(
    description: str | None,
    measure: Callable[[int], Sequence[Figure]],
    rounds: int,
    argv: Sequence[str] | None = None,
) -> None:
    """Be a benchmark's `main`: read ``--rounds`` and ``--json``, measure, print, save."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    figures = list(measure(options.rounds))
    print(HEAD)
    for figure in figures:
        print(line(figure))
    if options.json:
        save(figures, options.json)
