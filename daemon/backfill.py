"""Studies of an archive brought to the node again: found by QIDO-RS, fetched, pushed by C-STORE.

One study after another, as slowly as the node works them, at the hours that are given. A journal
says what is done, so that it goes on where it ended.
"""

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import select

from daemon import schema, status
from daemon.database import Database
from daemon.errors import InputError, UnavailableError
from daemon.lifecycle import UNREAD, FileState
from dicom_io.dicomweb_query import Found
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome, StoreResult

log = logging.getLogger(__name__)
_PAUSE_S = 5.0  # before the node's queue, or the clock, is looked at again
_MODALITY = "US"
SENT, KNOWN, NOTHING = "sent", "known", "no ultrasound image"
BEGUN = "begun"


class Asking(Protocol):
    """What an archive is asked: `dicom_io.dicomweb_query.Query`."""

    def studies(self, filters: Mapping[str, str]) -> Iterator[Found]:
        """Yield the studies that match."""

    def files(self, study_uid: str, modality: str, folder: Path) -> Iterator[Path]:
        """Fetch the instances of a modality that a study has, a file each."""


@dataclass(frozen=True)
class Hours:
    """From when to when it may work, local time; the same moment twice: always."""

    begin_min: int = 0  # of the day
    end_min: int = 0

    @classmethod
    def read(cls, words: str) -> "Hours":
        """Read ``20:00-06:00``.

        Raises
        ------
        InputError
            It is no such thing.
        """
        try:
            begin, end = (datetime.strptime(part, "%H:%M") for part in words.split("-"))
        except ValueError:
            raise InputError(f"--between {words}: write it as 20:00-06:00") from None
        return cls(begin.hour * 60 + begin.minute, end.hour * 60 + end.minute)

    def hold(self, now: datetime) -> bool:
        """Tell whether it is time."""
        minute = now.hour * 60 + now.minute
        if self.begin_min <= self.end_min:
            return self.begin_min == self.end_min or self.begin_min <= minute < self.end_min
        return minute >= self.begin_min or minute < self.end_min


class Journal:
    """What became of each study, one JSON object a line; the latest line of a study counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.done: dict[str, str] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError):  # one that was being written at a power cut
                    entry = json.loads(line)
                    self.done[entry["study_uid"]] = entry["outcome"]

    def note(self, study_uid: str, outcome: str, images: int) -> None:
        """Write a line."""
        self.done[study_uid] = outcome
        entry = {
            "at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "study_uid": study_uid,
            "outcome": outcome,
            "images": images,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def is_over(self, study_uid: str) -> bool:
        """Tell whether a study needs nothing more; what failed is tried again."""
        return self.done.get(study_uid, "") in (SENT, KNOWN, NOTHING)


class Backfill:
    """Brings studies.

    Parameters
    ----------
    push
        Sends files to the node.
    waiting
        So many studies may be under way at the node before the next is fetched.
    """

    def __init__(
        self,
        archive: Asking,
        push: Callable[[list[Path]], Iterable[StoreResult]],
        database: Database,
        journal: Journal,
        hours: Hours = Hours(),
        waiting: int = 10,
        now: Callable[[], datetime] = datetime.now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._archive = archive
        self._push = push
        self._database = database
        self._journal = journal
        self._hours = hours
        self._waiting = waiting
        self._now = now
        self._sleep = sleep

    def run(self, filters: Mapping[str, str], most: int | None = None) -> Iterator[tuple[str, str]]:
        """Bring every study that matches; yields its UID and what became of it.

        Raises
        ------
        PeerError
            The archive does not answer the query.
        UnavailableError
            The node does not take calls.
        """
        count = 0
        for found in self._archive.studies(filters):
            if most is not None and count >= most:
                return
            if self._journal.is_over(found.study_uid):
                continue
            self._wait()
            outcome, images = self._bring(found.study_uid)
            self._journal.note(found.study_uid, outcome, images)
            count += 1
            yield found.study_uid, outcome

    def _wait(self) -> None:
        while not self._hours.hold(self._now()) or self._queue() >= self._waiting:
            self._sleep(_PAUSE_S)

    def _queue(self) -> int:
        with self._database.read() as connection:
            counts = status.counts(connection)
        return sum(counts[state] for state in UNREAD)

    def _bring(self, study_uid: str) -> tuple[str, int]:
        if study_uid not in self._journal.done and self._is_here(study_uid):
            return KNOWN, 0
        try:
            with tempfile.TemporaryDirectory(prefix="axnode-backfill-") as folder:
                files = list(self._archive.files(study_uid, _MODALITY, Path(folder)))
                if not files:
                    return NOTHING, 0
                self._journal.note(study_uid, BEGUN, 0)  # part of it may arrive
                return self._sent(files), len(files)
        except PeerError as error:
            return f"failed: {error}", 0
        except UnavailableError:
            raise
        except Exception as error:  # one study that cannot be read must not end the others
            log.exception("not brought", extra={"action": "backfill"})
            return f"failed: {type(error).__name__}", 0

    def _sent(self, files: list[Path]) -> str:
        try:
            results = self._push(files)
        except PeerError as error:  # not this study's fault
            raise UnavailableError(f"{error}; run it again, and it goes on") from error
        for result in results:
            if result.outcome not in (Outcome.STORED, Outcome.WARNING):
                return f"failed: the node did not take an image: {result.detail}"
        return SENT

    def _is_here(self, study_uid: str) -> bool:
        """Tell whether the node has a study's images: then it is analysed from the console."""
        studies, instances = schema.studies, schema.instances
        with self._database.read() as connection:
            kept = connection.execute(
                select(instances.c.id)
                .join(studies, studies.c.id == instances.c.study_id)
                .where(studies.c.study_uid == study_uid, instances.c.file == FileState.KEPT)
                .limit(1)
            )
            return kept.first() is not None
