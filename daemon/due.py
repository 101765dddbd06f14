"""Which waiting rows are due, as ranges of an index.

One condition for both ranges would have the database walk, or sort, all that waits.
"""

from typing import Any

from sqlalchemy import Column, ColumnElement


def windows(
    column: Column[Any], now_us: int, farthest_us: int
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return what is due by the clock, and what counts as due because it is beyond any wait.

    A due time after `farthest_us` comes from a clock that was set.
    """
    return column <= now_us, column > farthest_us
