"""The audit trail: who sent what to whom, in files of one XML message a line.

Messages are those of PS3.15 A.5 (`daemon.audit_messages`). Noting an event never waits and never
fails: events go through a bounded queue to a thread that writes them; what cannot be written is
counted. The file is opened for each batch, so it may be moved or deleted at any time.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from daemon.audit_events import Event, Noted
from daemon.audit_messages import messages
from daemon.clock import Clock
from daemon.config import Config

log = logging.getLogger(__name__)
_WAITING = 10_000  # events; more than a burst of associations makes
_GATHER_S = 2.0  # in which transfers of one study become one message
Note = Callable[[Event], None]
"""Takes an event of the audit trail; returns at once, and never raises."""


def nowhere(event: Event) -> None:
    """Take no note."""


class Trail:
    """Writes events to ``audit-YYYY-MM-DD.log`` (UTC) in a folder.

    Parameters
    ----------
    folder
        Made where it is missing, readable by the service's user only.
    ae_title
        Of the node, which is the source of every message.
    clock
        Tells when an event happened.
    """

    def __init__(
        self, folder: Path, ae_title: str, clock: Clock, gather_s: float = _GATHER_S
    ) -> None:
        self._folder = folder
        self._ae_title = ae_title
        self._clock = clock
        self._gather_s = gather_s
        self._queue: queue.Queue[Noted | None] = queue.Queue(_WAITING)
        self._stopping = threading.Event()
        self._lost = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Number of events since the start that were not written."""
        return self._lost

    def note(self, event: Event) -> None:
        """Take an event down."""
        try:
            self._queue.put_nowait(Noted(self._clock(), event))
        except queue.Full:
            self._lose(1, "events come faster than they can be written")

    def stop(self, wait_s: float = 5.0) -> None:
        """Write what was noted, and end."""
        self._stopping.set()
        try:
            self._queue.put(None, timeout=wait_s)
        except queue.Full:
            return
        self._thread.join(wait_s)

    def _work(self) -> None:
        going_on = True
        while going_on:
            first = self._queue.get()
            if first is None:
                return
            self._stopping.wait(self._gather_s)
            batch, going_on = self._gather(first)
            try:
                self._write(batch)
            except OSError as error:
                self._lose(len(batch), error.strerror or type(error).__name__)

    def _gather(self, first: Noted) -> tuple[list[Noted], bool]:
        """Return what has been noted, and whether more may come."""
        batch = [first]
        while not self._queue.empty() and len(batch) < _WAITING:
            item = self._queue.get()
            if item is None:
                return batch, False
            batch.append(item)
        return batch, True

    def _write(self, batch: Sequence[Noted]) -> None:
        day = datetime.fromtimestamp(self._clock() / 1e6, tz=UTC)
        lines = messages(batch, self._ae_title)
        data = "".join(f"{line}\n" for line in lines).encode()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _append(self._folder / f"audit-{day:%Y-%m-%d}.log", data)

    def _lose(self, count: int, reason: str) -> None:
        with self._lock:
            self._lost += count
        log.error(
            "audit events lost",
            extra={"action": "audit_lost", "count": count, "in_all": self._lost, "reason": reason},
        )


def open_trail(config: Config, clock: Clock) -> Trail | None:
    """Return the configured trail; None where none is wanted."""
    if not config.audit.enabled:
        return None
    folder = Path(config.audit.folder) if config.audit.folder else config.state_dir / "audit"
    return Trail(folder, config.node.ae_title, clock)


def _append(path: Path, data: bytes) -> None:
    """Append to a file and sync it; where that fails, the file is left as it was."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        before = os.fstat(fd).st_size
        try:
            view = memoryview(data)
            while len(view):
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, before)  # half a line would spoil the next one
            raise
    finally:
        os.close(fd)
