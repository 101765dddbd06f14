"""A modality that never gives up: it sends until each instance is acknowledged, and remembers."""

import hashlib
import queue
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

import sample_dicoms
from dicom_io import scu
from dicom_io.errors import PeerError
from dicom_io.scu import Remote

_SOURCES = ("5-both-sides-2.dcm", "4-colour-flow-2.dcm", "7-normal-1.dcm")
_PAUSE_S = 0.1


def digest(path: Path) -> str:
    """Hash transfer syntax and data set of a Part 10 file, by the standard's own layout."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<L", data, 140)  # (0002,0000) follows preamble and mark
    syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    return hashlib.sha256(str(syntax).encode() + data[144 + length :]).hexdigest()


@dataclass
class Ledger:
    """What the modality was told."""

    acknowledged: dict[str, str] = field(default_factory=dict)  # SOP Instance UID to digest
    studies: set[str] = field(default_factory=set)  # of acknowledged instances
    refused: dict[str, list[int]] = field(default_factory=dict)  # conflicting files' statuses


class Studies:
    """Makes studies out of the samples: the same pictures under UIDs of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        root = Path(sample_dicoms.__file__).parent
        self._sources = [pydicom.dcmread(root / name) for name in _SOURCES]
        self._made = 0

    def make(self, instances: int, study_uid: str = "") -> list[Path]:
        """Write the instances of one study, a series each."""
        study_uid = study_uid or generate_uid(None)
        return [self._write(study_uid, generate_uid(None)) for _ in range(instances)]

    def conflict(self, path: Path) -> Path:
        """Write other content under the UID of an instance."""
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        return self._write(str(ds.StudyInstanceUID), str(ds.SOPInstanceUID), "another picture")

    def _write(self, study_uid: str, sop_uid: str, comment: str = "") -> Path:
        ds = self._sources[self._made % len(self._sources)]
        self._made += 1
        ds.StudyInstanceUID, ds.SOPInstanceUID = study_uid, sop_uid
        ds.SeriesInstanceUID = generate_uid(None)
        ds.file_meta.MediaStorageSOPInstanceUID = sop_uid
        ds.PatientID = hashlib.sha256(study_uid.encode()).hexdigest()[:8]
        ds.ImageComments = comment
        path = self._folder / f"{self._made:06d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        return path


class Modality:
    """Sends in a thread of its own, association after association.

    Parameters
    ----------
    deposit
        Called with the instances that were acknowledged over one association.
    """

    def __init__(
        self, remote: Remote, deposit: Callable[[Sequence[str]], None] | None = None
    ) -> None:
        self.ledger = Ledger()
        self._deposit = deposit
        self._remote = remote
        self._queue: queue.Queue[Path] = queue.Queue()
        self._conflicts: set[Path] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modality", daemon=True)
        self._thread.start()

    def offer(self, *paths: Path, conflicting: bool = False) -> None:
        """Queue files; `conflicting` ones must never be answered with success."""
        for path in paths:
            if conflicting:
                self._conflicts.add(path)
            self._queue.put(path)

    @property
    def idle(self) -> bool:
        """Whether everything was answered."""
        return self._queue.unfinished_tasks == 0

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(90)

    def _run(self) -> None:
        waiting: list[Path] = []
        while not self._stop.is_set():
            while not self._queue.empty():
                waiting.append(self._queue.get())
            waiting = self._send(waiting) if waiting else []
            self._stop.wait(_PAUSE_S)

    def _send(self, paths: list[Path]) -> list[Path]:
        """Send over one association; return what got no final answer."""
        try:
            results = scu.store(self._remote, paths, progress_timeout_s=30)
        except PeerError:
            return paths
        again, known = [], set(self.ledger.acknowledged)
        for result in results:
            if result.status is None or 0xA700 <= result.status <= 0xA7FF:
                again.append(result.path)
                continue
            self._note(result.path, result.status)
            self._queue.task_done()
        if self._deposit and (fresh := self.ledger.acknowledged.keys() - known):
            self._deposit(sorted(fresh))
        return again

    def _note(self, path: Path, status: int) -> None:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        uid = str(ds.SOPInstanceUID)
        if path in self._conflicts:
            self.ledger.refused.setdefault(uid, []).append(status)
        elif status == 0:
            self.ledger.acknowledged[uid] = digest(path)
            self.ledger.studies.add(str(ds.StudyInstanceUID))
        else:
            raise AssertionError(f"a good instance was answered 0x{status:04X}")
