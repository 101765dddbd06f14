"""What becomes of a DIMSE request's data set: stored, reported, or read past."""

import errno
import logging
from typing import Any, Protocol

from dicom_io.dimse import OUT_OF_RESOURCES, PROCESSING_FAILURE
from dicom_io.errors import StoreRefused
from dicom_io.journal import Journal
from dicom_io.pdu import NOT_SPECIFIED, Cut
from dicom_io.reception import CommitmentProvider, Handler, Peer, Sink, StoreRequest

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Receiver(Protocol):
    """Takes the data set of one request and gives the status of the answer."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes."""

    def finish(self) -> int:
        """Return the status of the answer, after the last byte."""

    def discard(self) -> None:
        """Forget the request: the association ended before its answer."""


class Refusal:
    """Reads past a data set that nobody wants, so that the association stays usable."""

    def __init__(self, status: int) -> None:
        self._status = status

    def write(self, data: memoryview) -> None:
        """Ignore the bytes."""

    def finish(self) -> int:
        """Return the status that was decided at the start."""
        return self._status

    def discard(self) -> None:
        """Nothing was kept."""


class Store:
    """Hands a data set to the node's sink and turns its failures into C-STORE statuses.

    `why` says in words what has failed; "": nothing has.
    """

    def __init__(self, handler: Handler, request: StoreRequest, journal: Journal) -> None:
        self._journal = journal
        self._sink: Sink | None = None
        self.why = ""
        self._status = PROCESSING_FAILURE
        try:
            self._sink = handler.store(request)
        except (StoreRefused, OSError) as error:
            self._refuse(error)

    def write(self, data: memoryview) -> None:
        """Pass the bytes on; after a failure, read past them."""
        if self._sink is None:
            return
        try:
            self._sink.write(data)
        except (StoreRefused, OSError) as error:
            self._refuse(error)

    def finish(self) -> int:
        """Commit the instance."""
        if self._sink is None:
            return self._status
        try:
            self._status = self._sink.commit()
        except (StoreRefused, OSError) as error:
            self._refuse(error)
        self._sink = None
        return self._status

    def discard(self) -> None:
        """Let the sink forget what it has."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        try:
            sink.discard()
        except OSError as error:
            self._journal.note(
                logging.WARNING,
                "discard_failed",
                f"a partly received instance could not be removed ({type(error).__name__})",
            )

    def _refuse(self, error: StoreRefused | OSError) -> None:
        self._status, self.why = _status(error)
        words = f"C-STORE refused with 0x{self._status:04X}: {self.why}"
        self._journal.note(logging.WARNING, "store_refused", words)
        self.discard()


def _status(error: StoreRefused | OSError) -> tuple[int, str]:
    """Status of a failure and its reason; an operating system's message may hold a path."""
    if isinstance(error, StoreRefused):
        return error.status, str(error)
    if error.errno in _FULL:
        return OUT_OF_RESOURCES, "no space left; free space on the spool's disk"
    return PROCESSING_FAILURE, f"the instance could not be written ({type(error).__name__})"


class _Small:
    """Collects a data set that is small and held in memory."""

    def __init__(self, peer: Peer, type_id: int, syntax: str, limit: int) -> None:
        self._peer = peer
        self._type_id = type_id
        self._syntax = syntax
        self._limit = limit
        self._data = bytearray()

    def write(self, data: memoryview) -> None:
        """Collect the bytes."""
        if len(self._data) + len(data) > self._limit:
            raise Cut("a report or request is larger than this node accepts", NOT_SPECIFIED)
        self._data += data

    def discard(self) -> None:
        """Nothing outlives this object."""


class Report(_Small):
    """An N-EVENT-REPORT."""

    def __init__(self, handler: Handler, *of_small: Any) -> None:
        super().__init__(*of_small)
        self._handler = handler

    def finish(self) -> int:
        """Hand the report to the node."""
        return self._handler.event_report(
            self._peer, self._type_id, bytes(self._data), self._syntax
        )


class Action(_Small):
    """An N-ACTION; `number` is that of its result, once it was accepted."""

    def __init__(self, provider: CommitmentProvider, *of_small: Any) -> None:
        super().__init__(*of_small)
        self._provider = provider
        self.number: int | None = None

    def finish(self) -> int:
        """Hand the request to the node."""
        status, self.number = self._provider.request(
            self._peer, self._type_id, bytes(self._data), self._syntax
        )
        return status
