"""A thread's sign of life, read by the watchdog and the probes."""

import time


class Pulse:
    """Call it once a round; `age_s` tells how long ago that was."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self) -> None:
        """Say that the thread advanced."""
        self._last = time.monotonic()

    def age_s(self) -> float:
        """Return seconds since the last sign."""
        return time.monotonic() - self._last
