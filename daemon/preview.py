"""Frames and contours for the console, from a process of their own that ends when it is idle."""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from daemon.child import Child, ChildOptions
from daemon.errors import AttemptFailed, InputError

_COMMAND = (sys.executable, "-P", "-m", "daemon.preview_process")
_MEMORY_BYTES = 2 << 30
_SILENCE_S = 20.0  # a frame takes a fraction of a second
_IDLE_S = 120.0


class Preview:
    """Asks the process, one request at a time.

    Parameters
    ----------
    scratch
        A folder in which pictures are handed over.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._child = Child(
            ChildOptions(Path(), "cpu", _MEMORY_BYTES, silence_s=_SILENCE_S, command=_COMMAND)
        )
        self._lock = threading.Lock()
        self._idle: threading.Timer | None = None

    def frame(self, image: Path, number: int) -> bytes:
        """Return a frame (1-based) of an image as PNG.

        Raises
        ------
        InputError
            It cannot be decoded.
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
            A SEG cannot be read.
        """
        request = {
            "segs": [str(path) for path in segs],
            "sop_instance_uid": sop_instance_uid,
            "frame": number,
        }
        return self._ask(request)

    def stop(self) -> None:
        """End the process."""
        with self._lock:
            self._cancel()
            self._child.stop()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._cancel()
            try:
                self._child.submit(request)
                return self._child.answer()
            except AttemptFailed as error:
                raise InputError(f"the picture cannot be shown: {error}") from error
            finally:
                self._idle = threading.Timer(_IDLE_S, self.stop)
                self._idle.daemon = True
                self._idle.start()

    def _cancel(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
