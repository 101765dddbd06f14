"""Stand-ins for what the service has around it: the clock, the model, the network's other end."""

import errno
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from daemon.clock import seconds
from daemon.spool import Spool
from dicom_io.commitment import Request
from dicom_io.commitment_scu import Answer, OnReport
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome, Remote, StoreResult
from dicom_io.syntaxes import EXPLICIT_LITTLE
from model.nodes import PredictedNode
from model.preprocess import Prepared

NOON_US = 1_800_000_000_000_000  # some noon; every fake clock starts here


class FakeClock:
    """A wall clock that moves only when it is told to."""

    def __init__(self, now_us: int = NOON_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        """Tell the time."""
        return self.now_us

    def advance(self, by_s: float) -> None:
        """Move on, or back where `by_s` is negative."""
        self.now_us += seconds(by_s)


def disk(row: int, column: int, size: int = 20, score: float = 0.5) -> PredictedNode:
    """Return a round node whose bounding box begins at (row, column)."""
    y, x = np.mgrid[:size, :size] + 0.5
    mask = (x - size / 2) ** 2 + (y - size / 2) ** 2 <= (size / 2) ** 2
    return PredictedNode(row, column, mask, score, int(mask.sum()), 1.0)


@dataclass
class FakePredictor:
    """Answers every prepared frame with what `sees` says of its number, counted from 0."""

    sees: Callable[[int], list[PredictedNode]] = lambda number: []
    regions: list[tuple[int, int, int, int]] = field(default_factory=list)  # boxes it was given
    batches: list[int] = field(default_factory=list)  # their sizes
    together: int = 4

    def predict(self, batch: Sequence[Prepared]) -> list[list[PredictedNode]]:
        """Answer as scripted, and remember."""
        self.batches.append(len(batch))
        answers = []
        for prepared in batch:
            answers.append(self.sees(len(self.regions)))
            self.regions.append(prepared.placement.source)
        return answers


@dataclass
class FakeSend:
    """The other end of a delivery: answers file after file as scripted, then with success."""

    script: list[tuple[Outcome, int | None]] = field(default_factory=list)
    unreachable: PeerError | None = None  # raised instead of the answers
    before: Callable[[Path], None] = lambda path: None
    aborts_at: Path | None = None  # the peer ends the association at this file
    sent: list[bytes] = field(default_factory=list)  # the files' bytes
    associations: int = 0

    def __call__(
        self,
        peer: Remote,
        paths: Sequence[Path],
        on_result: Callable[[StoreResult], None],
        on_tick: Callable[[], None],
    ) -> None:
        """Send, as `daemon.deliver` asks it."""
        self.associations += 1
        aborted = False
        for path in paths:
            on_tick()
            aborted = aborted or path == self.aborts_at
            if aborted:  # as `dicom_io.scu` reports every file that got no answer
                on_result(StoreResult(path, Outcome.TRANSIENT, None, "no answer"))
                continue
            if self.unreachable is not None and not self.script:
                raise self.unreachable
            outcome, status = self.script.pop(0) if self.script else (Outcome.STORED, 0)
            self.before(path)
            self.sent.append(path.read_bytes())
            on_result(StoreResult(path, outcome, status, f"answered {outcome.value}"))


@dataclass
class FakeAsk:
    """The other end of a request for storage commitment: answers as scripted, or accepts."""

    answers: list[tuple[int | None, bool]] = field(default_factory=list)  # status, permanent
    unreachable: PeerError | None = None
    # what it reports of a request while it is open: event type and data set; None: nothing
    reports: Callable[[Request], tuple[int, bytes] | None] = lambda request: None
    before: Callable[[], None] = lambda: None  # called before the first request is sent
    asked: list[Request] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # that its reports were answered with
    heard: list[bool] = field(default_factory=list)  # whether all was heard, after each association

    def __call__(
        self,
        peer: Remote,
        requests: Sequence[Request],
        on_report: OnReport,
        done: Callable[[], bool],
        on_tick: Callable[[], None],
    ) -> list[Answer]:
        """Take the requests, as `daemon.asker` asks it."""
        self.before()
        if self.unreachable is not None:
            raise self.unreachable
        found = []
        for request in requests:
            self.asked.append(request)
            status, permanent = self.answers.pop(0) if self.answers else (0, False)
            uid, accepted = request.transaction_uid, status == 0
            words = "asked to commit" if accepted else f"refused with {status}"
            found.append(Answer(uid, accepted, permanent, status, words))
            report = self.reports(request)
            if report is not None:
                self.statuses.append(on_report(*report, EXPLICIT_LITTLE))
            on_tick()
        self.heard.append(done())
        return found


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond `most_bytes`, as a disk that has filled up.

    Python ignores SIGXFSZ, so that writes fail with EFBIG.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Share:
    """Stands between this process and its disk as a client of NFS does, for files opened here.

    What was looked for before it was there counts as missing until its folder is opened; what
    another node has deleted is said to be there by `stat`, which nobody asks here, and cannot be
    opened; a server that has forgotten a file answers with an error.
    """

    def __init__(self) -> None:
        self.remembered: set[str] = set()  # as missing
        self.errors: dict[str, int] = {}  # file or folder to errno
        self.answers_lost = 0  # to renames that are done: they are asked for again
        self.maps = 0  # files that were mapped: a page that is not given ends the process

    def missing(self, path: Path) -> None:
        """Remember that a file was not there."""
        self.remembered.add(os.fspath(path))

    def deleted(self, path: Path) -> None:
        """Have another node delete a file."""
        self.errors[os.fspath(path)] = errno.ENOENT

    def fails(self, path: Path, number: int) -> None:
        """Have the server answer with an error to whoever opens a file."""
        self.errors[os.fspath(path)] = number

    def opened(self, path: str) -> None:
        """Be told that a file or folder is being opened; raises what the open would."""
        number = errno.ENOENT if path in self.remembered else self.errors.get(path)
        if number is not None:
            raise OSError(number, os.strerror(number), path)
        folder = path + os.sep
        self.remembered = {each for each in self.remembered if not each.startswith(folder)}

    def renamed(self, path: str, target: str) -> None:
        """Be told that a file is about to be renamed; do it first where the answer gets lost."""
        if self.answers_lost:
            self.answers_lost -= 1
            Path(target).unlink(missing_ok=True)
            os.link(path, target)
            os.unlink(path)


_shares: list[Share] = []  # those in use


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _shares and not isinstance(arguments[0], int):
        _shares[-1].opened(os.fsdecode(arguments[0]))
    elif event == "os.rename" and _shares:
        _shares[-1].renamed(os.fsdecode(arguments[0]), os.fsdecode(arguments[1]))
    elif event == "mmap.__new__" and _shares:
        _shares[-1].maps += 1


@cache
def _hooked() -> None:
    sys.addaudithook(_watch)  # for the process's life


@contextmanager
def mounted() -> Iterator[Share]:
    """Have all files opened over a share."""
    _hooked()
    share = Share()
    _shares.append(share)
    try:
        yield share
    finally:
        _shares.remove(share)


class SilentSpool(Spool):
    """A folder of a share whose server does not answer until it is `back`."""

    def __init__(self, root: Path) -> None:
        self.mark = root.parent / "mark"
        self.mark.write_text("mine")
        self.back = threading.Event()
        super().__init__(root, mark=self.mark, patience_s=0.05)

    def free_bytes(self) -> int:
        """Wait, as a client of NFS does."""
        self.back.wait(60)
        return super().free_bytes()
