"""How the model's scores are distributed, day by day: other probes or patients change it."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, select

from daemon import schema
from daemon.clock import SECOND_US
from daemon.lifecycle import AnalysisState

DAYS = 90
_DAY_US = 86_400 * SECOND_US
_MOST_ROWS = 20_000  # the latest; more do not move a median


@dataclass(frozen=True)
class Day:
    """Scores of a day's nodes."""

    began_us: int  # UTC
    nodes: int
    low: float  # 25th percentile
    middle: float  # median
    high: float  # 75th percentile
    above: float  # share at the threshold or above it
    evaluable: float  # share of the day's analyses that could be evaluated


def drift(
    connection: Connection, bundle_digest: str, threshold: float, now_us: int
) -> tuple[Day, ...]:
    """Return the days on which the bundle scored nodes, the oldest first."""
    table = schema.analyses
    first = (now_us // _DAY_US - DAYS + 1) * _DAY_US
    rows = connection.execute(
        select(table.c.created_us, table.c.summary, table.c.not_evaluable)
        .where(table.c.state == AnalysisState.DONE, table.c.bundle_digest == bundle_digest)
        .order_by(table.c.id.desc())
        .limit(_MOST_ROWS)
    )
    scores: dict[int, list[float]] = defaultdict(list)
    evaluable: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        if row.created_us < first:
            break
        day = row.created_us // _DAY_US
        evaluable[day].append(row.not_evaluable is None)
        scores[day] += [node["score"] for node in json.loads(row.summary).get("nodes", ())]
    return tuple(
        _day(day, scores[day], evaluable[day], threshold)
        for day in sorted(evaluable)
        if scores[day]
    )


def _day(day: int, scores: Sequence[float], evaluable: Sequence[bool], threshold: float) -> Day:
    low, middle, high = np.percentile(scores, (25, 50, 75)).tolist()
    return Day(
        began_us=day * _DAY_US,
        nodes=len(scores),
        low=low,
        middle=middle,
        high=high,
        above=sum(score >= threshold for score in scores) / len(scores),
        evaluable=sum(evaluable) / len(evaluable),
    )
