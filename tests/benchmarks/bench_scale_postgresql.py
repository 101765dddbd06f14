"""Whether what runs often stays as quick on PostgreSQL with a hundred thousand studies in it.

``python -m tests.benchmarks.bench_scale_postgresql``: as `tests.benchmarks.bench_scale`, without
what is SQLite's own. The server syncs its commits.
"""

import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.benchmarks.bench_scale import FEW, MANY, UNDER_WAY, Site, figure, quickest
from tests.benchmarks.full_postgresql import fill
from tests.benchmarks.table import Figure, finish
from tests.postgres import PostgreSQL


def measure(rounds: int) -> list[Figure]:
    """Make both databases, and measure on them in turn."""
    with PostgreSQL(durable=True) as server, tempfile.TemporaryDirectory() as name:
        sites = []
        for studies in (FEW, MANY):
            url = server.empty(f"studies_{studies}")
            fill(url, studies, UNDER_WAY)
            sites.append(Site(Path(name) / str(studies), url))
        few, many = sites
        with closing(few.database), closing(many.database):
            return [
                *(
                    figure(
                        f"PostgreSQL: {what}",
                        rounds,
                        partial(quickest, few.often[what]),
                        partial(quickest, work),
                    )
                    for what, work in many.often.items()
                ),
                figure(
                    "PostgreSQL: reception: an image recorded, one commit each",
                    rounds,
                    partial(quickest, few.receive, 200),
                    partial(quickest, many.receive, 200),
                ),
            ]


if __name__ == "__main__":
    finish(__doc__, measure, rounds=5)
