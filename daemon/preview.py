"""Frames and contours for the console, from a process of their own that ends when it is idle."""

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from pathlib import Path
from typing import Any
from uuid import uuid4

from daemon.child import Child, ChildOptions
from daemon.errors import DaemonError, InputError

_COMMAND = (sys.executable, "-P", "-m", "daemon.preview_process")
_MEMORY_BYTES = 2 << 30
_SILENCE_S = 20.0  # a frame takes a fraction of a second
_START_S = 60.0
_IDLE_S = 120.0
_WAITING = 12  # requests; a page asks for a few at once, and the console has other work
_BUSY = "too many pictures are asked for: reload the page in a moment"


class Preview:
    """Asks the process, one request at a time.

    One thread owns it for good: the kernel ends the process with the thread that started it.

    Parameters
    ----------
    scratch
        A folder in which pictures are handed over.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._child = Child(
            ChildOptions(
                None,
                "cpu",
                _MEMORY_BYTES,
                silence_s=_SILENCE_S,
                start_s=_START_S,
                command=_COMMAND,
            )
        )
        self._thread = ThreadPoolExecutor(1, "preview")
        self._room = threading.Semaphore(_WAITING)
        self._idle: threading.Timer | None = None
        self._lock = threading.Lock()  # of the timer
        self._stopped = False

    def frame(self, image: Path, number: int) -> bytes:
        """Return a frame (1-based) of an image as PNG.

        Raises
        ------
        InputError
            It cannot be decoded, or too many are asked for.
        """
        out = self._scratch / f"preview-{uuid4().hex}.png"
        try:
            self._ask({"image": str(image), "frame": number, "out": str(out)})
            return out.read_bytes()
        finally:
            out.unlink(missing_ok=True)

    def contours(self, segs: Sequence[Path], sop_instance_uid: str, number: int) -> dict[str, Any]:
        """Return what SEGs show on a frame: size, and number, label and points of each node.

        Raises
        ------
        InputError
            A SEG cannot be read, or too many are asked for.
        """
        request = {
            "segs": [str(path) for path in segs],
            "sop_instance_uid": sop_instance_uid,
            "frame": number,
        }
        return self._ask(request)

    def stop(self) -> None:
        """End the process, whatever it is at."""
        with self._lock:
            self._stopped = True
            self._cancel()
        self._child.kill()
        self._thread.shutdown(cancel_futures=True)
        self._child.stop()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._stopped or not self._room.acquire(blocking=False):
            raise InputError(_BUSY)
        try:
            found: Future[dict[str, Any]] = self._thread.submit(self._answer, request)
            return found.result(_START_S + 2 * _SILENCE_S)
        except (DaemonError, TookTooLong, RuntimeError) as error:
            words = str(error) or "it takes too long"
            raise InputError(f"the picture cannot be shown: {words}") from error
        finally:
            self._room.release()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self._child.submit(request)
            return self._child.answer()
        finally:
            self._wait_for_more()

    def _wait_for_more(self) -> None:
        with self._lock:
            self._cancel()
            if not self._stopped:
                self._idle = threading.Timer(_IDLE_S, self._rest)
                self._idle.daemon = True
                self._idle.start()

    def _rest(self) -> None:
        with self._lock:
            if not self._stopped:
                self._thread.submit(self._child.stop)

    def _cancel(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
