"""A question that may never be answered, as to the server of a share that has gone away."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Patient(Generic[Result]):
    """Asks in a thread of its own, and waits for the answer for so long only.

    No second question is asked while one is open: whoever comes later is told so at once, and one
    thread is all that waits for ever.

    Parameters
    ----------
    longest_s
        How long after it was asked an answer is waited for.
    """

    def __init__(self, ask: Callable[[], Result], longest_s: float) -> None:
        self._ask = ask
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._answer: Future[Result] | None = None
        self._until = 0.0  # monotonic

    def __call__(self) -> Result:
        """Return the answer, or raise what the question raises; `TimeoutError`: there is none."""
        with self._lock:
            if self._answer is None or self._answer.done():
                asked: Future[Result] = Future()
                threading.Thread(target=self._work, args=(asked,), daemon=True).start()
                self._answer = asked  # there may be no thread for it
                self._until = time.monotonic() + self._longest_s
            answer, left_s = self._answer, self._until - time.monotonic()
        return answer.result(max(0.0, left_s))

    def _work(self, answer: Future[Result]) -> None:
        try:
            answer.set_result(self._ask())
        except Exception as error:  # noqa: BLE001 - thread entry: it is raised where it was asked
            answer.set_exception(error)
