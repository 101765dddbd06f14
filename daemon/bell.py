"""A hint from one stage to the next that there may be work; the rows alone say what there is."""

import threading


class Bell:
    """Wakes one thread that would look again after its poll; a ring that is lost costs a poll."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        """Wake who waits, or who is about to."""
        self._rung.set()

    def wait(self, timeout_s: float) -> None:
        """Wait for a ring, or until the time is over."""
        self._rung.wait(timeout_s)
        self._rung.clear()
