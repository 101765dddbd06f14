"""Several runs of the benchmarks as one table: ``python -m tests.benchmarks.join RUN.json...``.

A line gives the median of the runs' medians, and the lowest and the highest of them; its goal is
met where it is in every run.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import table
from tests.benchmarks.table import Figure


def joined(runs: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Return a figure for each that stands in any run, in the order of the first run."""
    keys = list(dict.fromkeys((each.what, each.against, each.unit) for run in runs for each in run))
    return [_one([f for run in runs for f in run if _key(f) == key]) for key in keys]


def _key(figure: Figure) -> tuple[str, str, str]:
    return figure.what, figure.against, figure.unit


def _one(found: Sequence[Figure]) -> Figure:
    verdicts = {each.met for each in found}
    return Figure(
        what=found[0].what,
        unit=found[0].unit,
        values=tuple(each.median for each in found),
        against=found[0].against,
        others=tuple(statistics.median(each.others) for each in found if each.others),
        goal=found[0].goal,
        met=None if None in verdicts else verdicts == {True},
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN.json")
    runs = [table.load(path) for path in parser.parse_args().runs]
    print(table.HEAD)
    for figure in joined(runs):
        print(table.line(figure))


if __name__ == "__main__":
    main()
