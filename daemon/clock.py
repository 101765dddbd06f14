"""Wall-clock time as integer UTC microseconds."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns the wall clock, in UTC microseconds since 1970; the service's is `now_us`."""

SECOND_US = 1_000_000


def now_us() -> int:
    """Return the wall clock."""
    return time.time_ns() // 1000


def seconds(value: float) -> int:
    """Return seconds as microseconds."""
    return round(value * SECOND_US)
