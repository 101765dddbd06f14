"""Sending: C-ECHO and C-STORE to other nodes, bytes as they lie on disk."""

import queue
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from pydicom.errors import InvalidDicomError
from pynetdicom import _config
from pynetdicom.presentation import build_context

from dicom_io import syntaxes
from dicom_io.deflate import DEFLATED, inflated
from dicom_io.errors import DicomIOError, PeerError
from dicom_io.line import Line, Remote
from dicom_io.part10 import FileMeta, split

__all__ = ["Outcome", "Remote", "StoreResult", "classify", "echo", "store"]

# Files are read in pieces and sent as they lie; nothing is decoded or encoded again.
_config.STORE_SEND_CHUNKED_DATASET = True

MAX_CONTEXTS: Final = 128  # of one association (PS3.8 9.3.2.2)
# What pynetdicom raises on a file that it cannot send as it lies.
_FILE_ERRORS = (AttributeError, InvalidDicomError, OSError, TypeError, ValueError)


class Outcome(StrEnum):
    """What became of one object."""

    STORED = "stored"
    WARNING = "warning"  # delivered, with a remark of the peer
    TRANSIENT = "transient"  # try again
    PERMANENT = "permanent"  # trying again does not help
    UNSUPPORTED = "unsupported"  # the peer does not take this SOP class or transfer syntax


@dataclass(frozen=True)
class StoreResult:
    """What became of one file."""

    path: Path
    outcome: Outcome
    status: int | None  # C-STORE status; None: there was no answer
    detail: str  # one line for the administrator


# Statuses of C-STORE (PS3.4 B.2.3, PS3.7 annex C): first, last, outcome, words
_STATUSES = (
    (0x0000, 0x0000, Outcome.STORED, "stored"),
    (0x0001, 0x0001, Outcome.WARNING, "stored with a warning"),
    (0x0107, 0x0107, Outcome.WARNING, "stored with a warning"),
    (0x0110, 0x0110, Outcome.TRANSIENT, "the peer failed to process the object"),
    (0x0111, 0x0111, Outcome.WARNING, "the peer had the object already"),
    (0x0116, 0x0116, Outcome.WARNING, "stored with a warning"),
    (0x0122, 0x0122, Outcome.UNSUPPORTED, "the peer does not support the SOP class"),
    (0x0124, 0x0124, Outcome.PERMANENT, "the peer does not allow us to store"),
    (0x0210, 0x0210, Outcome.TRANSIENT, "the peer took the message for a repetition"),
    (0x0213, 0x0213, Outcome.TRANSIENT, "the peer is out of resources"),
    (0xA700, 0xA7FF, Outcome.TRANSIENT, "the peer is out of resources"),
    (0xA900, 0xA9FF, Outcome.PERMANENT, "the peer says the data set is not of its SOP class"),
    (0xB000, 0xBFFF, Outcome.WARNING, "stored with a warning"),
    (0xC000, 0xCFFF, Outcome.PERMANENT, "the peer cannot understand the object"),
)


def classify(status: int) -> tuple[Outcome, str]:
    """Return what a C-STORE status means, and in words."""
    for first, last, outcome, words in _STATUSES:
        if first <= status <= last:
            return outcome, f"{words} (0x{status:04X})"
    return Outcome.PERMANENT, f"the peer refused the object (0x{status:04X})"


def echo(remote: Remote, timeout_s: float = 10) -> None:
    """C-ECHO another node.

    Raises
    ------
    PeerError
        It does not answer, or not with success.
    """
    statuses: list[int | None] = []

    def work(assoc: Any) -> None:
        if assoc.is_established:
            statuses.append(getattr(assoc.send_c_echo(), "Status", None))

    context = build_context(
        syntaxes.VERIFICATION, [syntaxes.IMPLICIT_LITTLE, syntaxes.EXPLICIT_LITTLE]
    )
    line = Line(remote, [context], timeout_s)
    line.run(work, lambda: None)
    if statuses != [0x0000]:
        why = line.trouble or "it does not offer the service; see its log"
        raise PeerError(f"{remote} did not answer C-ECHO: {why}", transient=True)


def store(
    remote: Remote,
    paths: Sequence[Path],
    on_result: Callable[[StoreResult], None] | None = None,
    progress_timeout_s: float = 60,
    on_tick: Callable[[], None] = lambda: None,
) -> list[StoreResult]:
    """C-STORE files over one association (more only if they need over 128 contexts).

    Every file has a result, in the order of `paths`; `on_result` is called in the calling thread
    as results come, and so is `on_tick`, ten times a second. What `on_result` raises ends the
    association before the next file. A peer that neither reads nor answers for
    `progress_timeout_s` is cut off; files that it did not answer are TRANSIENT.

    Raises
    ------
    PeerError
        There was no association at all.
    """
    results: dict[int, StoreResult] = {}

    def keep(number: int, result: StoreResult) -> None:
        results[number] = result
        if on_result is not None:
            on_result(result)

    for position, batch in enumerate(_batches(paths, keep)):
        try:
            batch.send(remote, keep, progress_timeout_s, on_tick)
        except PeerError as error:
            if position == 0:
                raise
            batch.fail(keep, str(error))
    return [results[number] for number in range(len(paths))]


_Keep = Callable[[int, StoreResult], None]


def _batches(paths: Sequence[Path], keep: _Keep) -> list["_Batch"]:
    """Sort files into associations; one that is no DICOM file has its result at once."""
    batches: list[_Batch] = []
    for number, path in enumerate(paths):
        try:
            meta, _ = split(path)
        except (DicomIOError, OSError) as error:
            why = str(error) if isinstance(error, DicomIOError) else type(error).__name__
            keep(number, StoreResult(path, Outcome.PERMANENT, None, f"not sent: {why}"))
            continue
        if not batches or not batches[-1].add(number, path, meta):
            batches.append(_Batch())
            batches[-1].add(number, path, meta)
    return batches


class _Batch:
    """The files of one association."""

    def __init__(self) -> None:
        self._files: dict[int, tuple[Path, FileMeta]] = {}  # not answered yet
        self._pairs: dict[tuple[str, str], None] = {}  # SOP class and transfer syntax, in order
        self._results: queue.SimpleQueue[tuple[int, StoreResult]] = queue.SimpleQueue()
        self._heard = threading.Semaphore(0)  # released for each result that was handed on

    def add(self, number: int, path: Path, meta: FileMeta) -> bool:
        """Take a file, unless its presentation context has no room any more."""
        pairs = self._pairs | dict.fromkeys(_pairs(meta))
        if len(pairs) > MAX_CONTEXTS:
            return False
        self._pairs = pairs
        self._files[number] = (path, meta)
        return True

    def send(
        self,
        remote: Remote,
        keep: _Keep,
        progress_timeout_s: float,
        on_tick: Callable[[], None],
    ) -> None:
        """Send every file and hand on its result."""
        contexts = [build_context(*pair) for pair in self._pairs]
        line = Line(remote, contexts, progress_timeout_s)

        def tick() -> None:
            on_tick()
            self._hand_on(keep)

        line.run(lambda assoc: self._work(assoc, line), tick)
        self.fail(keep, line.trouble or "the peer ended the association without an answer")

    def fail(self, keep: _Keep, why: str) -> None:
        """Give every file without an answer its result."""
        for number, (path, _) in self._files.items():
            keep(number, StoreResult(path, Outcome.TRANSIENT, None, why))

    def _hand_on(self, keep: _Keep) -> None:
        while not self._results.empty():
            number, result = self._results.get()
            del self._files[number]
            keep(number, result)
            self._heard.release()

    def _work(self, assoc: Any, line: Line) -> None:
        """Send file after file, each once the result of the one before was handed on.

        So a process that dies has at most one answer that it did not tell, and sends at most one
        file again.
        """
        accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in assoc.accepted_contexts}
        for number, (path, meta) in list(self._files.items()):
            pairs = [pair for pair in _pairs(meta) if pair in accepted]
            if not pairs:
                result: StoreResult | None = _unsupported(path, meta)
            elif assoc.is_established:
                result = _send_any(assoc, path, meta, pairs, number % 0xFFFF + 1)
            else:
                continue
            if result is not None:
                self._results.put((number, result))
            # pynetdicom calls a lost association established for a moment, and a second send in
            # that moment would wait for an answer that nobody sends
            if result is None or not line.told(self._heard):
                return


def _pairs(meta: FileMeta) -> list[tuple[str, str]]:
    """Return the SOP class with each transfer syntax in which a file may go, the best first."""
    own = (meta.sop_class_uid, meta.transfer_syntax_uid)
    plain = (meta.sop_class_uid, syntaxes.EXPLICIT_LITTLE)
    return [own, plain] if meta.transfer_syntax_uid == DEFLATED else [own]


def _unsupported(path: Path, meta: FileMeta) -> StoreResult:
    offered = " or ".join(syntaxes.name(syntax) for _, syntax in _pairs(meta))
    what = f"{syntaxes.name(meta.sop_class_uid)} in {offered}"
    return StoreResult(path, Outcome.UNSUPPORTED, None, f"the peer does not take {what}")


def _send_any(
    assoc: Any, path: Path, meta: FileMeta, pairs: Sequence[tuple[str, str]], message_id: int
) -> StoreResult | None:
    """Send in the first context; where the peer refuses for good, in the next."""
    result = None
    for _, syntax in pairs:
        send = _send if syntax == meta.transfer_syntax_uid else _send_inflated
        result = send(assoc, path, message_id)
        if result is None or result.outcome not in (Outcome.PERMANENT, Outcome.UNSUPPORTED):
            break
    return result


def _send(assoc: Any, path: Path, message_id: int) -> StoreResult | None:
    """Send one file as it lies; None if there was no answer."""
    try:
        status = getattr(assoc.send_c_store(path, msg_id=message_id), "Status", None)
    except _FILE_ERRORS as error:
        why = f"not sent: the file cannot be read as DICOM ({type(error).__name__})"
        return StoreResult(path, Outcome.PERMANENT, None, why)
    except RuntimeError:  # the association ended between two files
        return None
    if status is None:
        return None
    outcome, detail = classify(int(status))
    return StoreResult(path, outcome, int(status), detail)


def _send_inflated(assoc: Any, path: Path, message_id: int) -> StoreResult | None:
    """Send a deflated file to a peer that takes its SOP class only uncompressed."""
    try:
        with tempfile.NamedTemporaryFile(suffix=".dcm") as copy:
            copy.write(inflated(path))
            copy.flush()
            result = _send(assoc, Path(copy.name), message_id)
    except DicomIOError as error:
        return StoreResult(path, Outcome.PERMANENT, None, f"not sent: {error}")
    except OSError as error:  # this node's disk, not the file
        why = f"not sent: {error.strerror} while it was inflated"
        return StoreResult(path, Outcome.TRANSIENT, None, why)
    return result and replace(result, path=path)
