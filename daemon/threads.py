"""The service's own threads: started, started again when they fail, watched, and joined."""

import logging
import threading
import time
from collections.abc import Callable

from daemon.errors import UnavailableError
from daemon.pulse import Pulse

log = logging.getLogger(__name__)
_PAUSE_S = 5.0  # before a thread that failed goes on


class Threads:
    """Threads that run until `stopping` is set; what fails in one is logged, and it goes on.

    Parameters
    ----------
    stall_s
        A thread that has not advanced for so long is stuck.
    """

    def __init__(self, stopping: threading.Event, stall_s: float) -> None:
        self._stopping = stopping
        self._stall_s = stall_s
        self._pulses: dict[str, Pulse] = {}
        self._threads: list[threading.Thread] = []

    def start(self, name: str, target: Callable[[Pulse], None]) -> None:
        """Run `target` in a thread; it calls its pulse whenever it advances."""
        pulse = self._pulses[name] = Pulse()
        thread = threading.Thread(target=self._run, args=(name, target, pulse), name=name)
        thread.daemon = True
        self._threads.append(thread)
        thread.start()

    def _run(self, name: str, target: Callable[[Pulse], None], pulse: Pulse) -> None:
        while not self._stopping.is_set():
            pulse()  # what fails and is tried again advances; the probes tell what is wrong
            try:
                target(pulse)
            except UnavailableError as error:  # what is not there now may come back
                extra = {"action": "thread_waits", "poller": name, "reason": str(error)}
                log.error("thread waits", extra=extra)
                self._stopping.wait(_PAUSE_S)
            except Exception:
                log.exception("thread failed", extra={"action": "thread_failed", "poller": name})
                self._stopping.wait(_PAUSE_S)

    def advance(self, name: str) -> None:
        """Say for a thread that waits for somebody else that it is not stuck."""
        self._pulses[name]()

    def join(self, deadline: float) -> None:
        """Wait for the threads' end until a moment of `time.monotonic`."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def stuck(self) -> list[str]:
        """Return a line for each thread that has not advanced."""
        return [
            f"{name} has not advanced for {pulse.age_s():.0f} s"
            for name, pulse in self._pulses.items()
            if pulse.age_s() > self._stall_s
        ]
