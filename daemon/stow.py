"""A Store Transaction (PS3.18 10.5): each part of its body goes the way of a C-STORE.

Here without HTTP: `daemon.stow_http` brings the bytes, in a thread that may wait for the disk.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from daemon.receive import Reception
from dicom_io import part10, syntaxes
from dicom_io.errors import DicomIOError, MultipartError, StoreRefused
from dicom_io.journal import Journal
from dicom_io.messages import Store
from dicom_io.multipart import Begin, End, MultipartReader
from dicom_io.part10 import FileMeta
from dicom_io.reception import Peer, StoreRequest
from dicom_io.store_response import (
    CANNOT_UNDERSTAND,
    CLASS_NOT_SUPPORTED,
    SUCCESS,
    SYNTAX_NOT_SUPPORTED,
    Stored,
)

_NUMBERS = itertools.count(1)  # of requests, for the log
_CONFLICT = "other content came under a known SOP Instance UID; the first was kept"
_MEDIA_TYPES = ("", "application/dicom")


@dataclass(frozen=True)
class StowLimits:
    """Deadlines and caps of STOW-RS; those of an instance are reception's."""

    requests: int = 32  # at once; one source has at most as many as it leaves to the others
    part_bytes: int = 4 << 30  # of one instance
    request_bytes: int = 16 << 30
    parts: int = 10_000  # of one request
    gap_s: float = 30.0  # between two pieces of a body
    body_s: float = 60.0  # for a body, and longer by its bytes over the next rate
    min_rate: int = 16 * 1024  # bytes a second that a client must reach on average


STOW_LIMITS = StowLimits()


class TooLarge(DicomIOError):
    """A request, or an instance in it, is larger than is taken (413)."""


class Transaction:
    """One request; what it holds is durable and known as soon as each part is whole.

    Parameters
    ----------
    peer
        Who sends it, as reception knows modalities.
    boundary
        Between its parts.
    study_uid
        That all of it must be of; "": of any.
    """

    def __init__(
        self,
        reception: Reception,
        peer: Peer,
        boundary: str,
        study_uid: str = "",
        limits: StowLimits = STOW_LIMITS,
    ) -> None:
        self._reception = reception
        self._peer = peer
        self._reader = MultipartReader(boundary)
        self._study_uid = study_uid
        self._limits = limits
        self._accepted = reception.accepted
        self._journal = Journal(f"stow-{next(_NUMBERS)}")
        self._part: _Part | None = None
        self._size = 0  # bytes of the body so far
        self.results: list[Stored] = []  # of the parts that are whole, in their order

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises
        ------
        MultipartError
            They are not the parts that the request announced.
        TooLarge
            They are too many.
        """
        self._size += len(data)
        if self._size > self._limits.request_bytes:
            most = self._limits.request_bytes
            raise TooLarge(f"a request has at most {most} bytes; send several")
        for event in self._reader.feed(data):
            if isinstance(event, Begin):
                self._begin(event)
            elif self._part is not None and isinstance(event, End):
                self._finish(self._part)
            elif self._part is not None and isinstance(event, memoryview):
                self._part.write(event)

    def end(self) -> None:
        """Take note that the body has ended; raises `MultipartError` where it may not end."""
        if not self._reader.closed:
            raise MultipartError("the body ends before its last boundary; send it again")
        if not self.results:
            raise MultipartError("the body has no part")

    def break_off(self) -> None:
        """Take note that the body is wrong from here on; the parts that are whole stay."""
        part = self._part
        self.results.append(part.result(CANNOT_UNDERSTAND) if part else Stored(CANNOT_UNDERSTAND))
        self.close()

    def close(self) -> None:
        """Forget the part that never became whole, if there is one."""
        part, self._part = self._part, None
        if part is not None:
            part.discard()

    def _begin(self, begin: Begin) -> None:
        if len(self.results) >= self._limits.parts:
            raise TooLarge(f"a request has at most {self._limits.parts} instances; send several")
        self._part = _Part(self._open, begin.media_type, self._limits.part_bytes)

    def _open(self, meta: FileMeta) -> Store:
        """Begin what would be a C-STORE, in a presentation context that would be accepted."""
        allowed = self._accepted.get(meta.sop_class_uid)
        if allowed is None:
            raise StoreRefused("SOP class not supported", CLASS_NOT_SUPPORTED)
        if meta.transfer_syntax_uid not in allowed:
            raise StoreRefused("its transfer syntax is not supported", SYNTAX_NOT_SUPPORTED)
        request = StoreRequest(
            self._peer,
            meta.sop_class_uid,
            meta.sop_instance_uid,
            meta.transfer_syntax_uid,
            self._study_uid,
        )
        return Store(self._reception, request, self._journal)

    def _finish(self, part: "_Part") -> None:
        status = part.finish()
        self._part = None
        self.results.append(part.result(status))
        if status != SUCCESS:
            what, names = part.names()
            self._reception.refused(self._peer, what, names, part.why or _CONFLICT)


class _Part:
    """One part of a body: first its header as a file, then a C-STORE."""

    def __init__(
        self, opens: Callable[[FileMeta], Store], media_type: str, most_bytes: int
    ) -> None:
        self._opens = opens
        self._most = most_bytes
        self._size = 0
        self._head = part10.Head()
        self._meta: FileMeta | None = None
        self._store: Store | None = None
        self._refused: StoreRefused | None = None
        if media_type not in _MEDIA_TYPES:
            self._refused = StoreRefused("a part is not application/dicom", CANNOT_UNDERSTAND)

    @property
    def why(self) -> str:
        """What has failed, in words; "": nothing, or what the status says."""
        if self._refused is not None:
            return str(self._refused)
        return self._store.why if self._store else ""

    def write(self, data: memoryview) -> None:
        """Take the next bytes; those of a part that is refused are read past."""
        self._size += len(data)
        if self._size > self._most:
            raise TooLarge(f"an instance has at most {self._most} bytes")
        if self._store is not None:
            self._store.write(data)
        elif self._refused is None:
            try:
                found = self._head.take(data)
                if found is not None:
                    self._begin(*found)
            except StoreRefused as error:
                self._refused = error

    def finish(self) -> int:
        """Take the end; return the status."""
        if self._store is None and self._refused is None:
            try:
                self._begin(*self._head.end())
            except StoreRefused as error:
                self._refused = error
        if self._refused is not None:
            return self._refused.status
        return self._store.finish() if self._store else CANNOT_UNDERSTAND

    def discard(self) -> None:
        """Forget it."""
        if self._store is not None:
            self._store.discard()

    def result(self, status: int) -> Stored:
        """Return what became of it."""
        meta = self._meta
        return Stored(status, meta.sop_class_uid, meta.sop_instance_uid) if meta else Stored(status)

    def names(self) -> tuple[str, str]:
        """Return SOP class and transfer syntax in words."""
        if self._meta is None:
            return "a part of a STOW-RS request", ""
        meta = self._meta
        return syntaxes.name(meta.sop_class_uid), syntaxes.name(meta.transfer_syntax_uid)

    def _begin(self, meta: FileMeta, rest: bytes) -> None:
        self._meta = meta
        self._store = self._opens(meta)
        self._store.write(memoryview(rest))
