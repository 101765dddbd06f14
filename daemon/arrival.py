"""The bytes of one instance on their way to the spool: hashed as they come, walked at their end.

They come by C-STORE, or as a part of a STOW-RS request.
"""

import hashlib
from collections.abc import Callable

from daemon.errors import UnavailableError
from daemon.spool import Incoming
from dicom_io import part10
from dicom_io.acceptor import StoreRequest
from dicom_io.errors import IdentifierMismatch, StoreRefused
from dicom_io.walker import InstanceHeader, walk

_SUCCESS = 0x0000
_OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3 Refused: Out of Resources
Accept = Callable[[StoreRequest, InstanceHeader, str, Incoming], int]
"""Takes request, what the walk found, the instance hash and the file; returns the status."""


class Arrival:
    """One instance on its way in (`dicom_io.acceptor.Sink`).

    Parameters
    ----------
    accept
        Makes the instance durable and known, once it is whole and has been walked.
    file
        Takes its bytes; closed here.
    """

    def __init__(self, accept: Accept, file: Incoming, request: StoreRequest) -> None:
        self._accept = accept
        self._request = request
        self._file = file
        self._hash = hashlib.sha256(request.transfer_syntax_uid.encode())
        self._head = part10.header(
            request.sop_class_uid,
            request.sop_instance_uid,
            request.transfer_syntax_uid,
            request.peer.calling_ae,
        )
        self._offset = len(self._head)

    def write(self, data: memoryview) -> None:
        """Append a fragment of the data set; the file's header goes with the first."""
        self._hash.update(data)
        self._file.write(self._head, data)
        self._head = b""

    def commit(self) -> int:
        """Check, keep, record; return the status."""
        try:
            header = self._walk()
            self._agree(header)
            return self._accept(self._request, header, self._hash.hexdigest(), self._file)
        except UnavailableError as error:
            raise StoreRefused(str(error), _OUT_OF_RESOURCES) from error
        finally:
            self._file.close()

    def _walk(self) -> InstanceHeader:
        if self._file.size <= self._offset:
            raise StoreRefused("the instance has no data set")
        with self._file.mapped() as view, view[self._offset :] as dataset:
            return walk(dataset, self._request.transfer_syntax_uid)

    def _agree(self, header: InstanceHeader) -> None:
        if header.sop_instance_uid and header.sop_instance_uid != self._request.sop_instance_uid:
            raise IdentifierMismatch("command and data set name different SOP Instance UIDs")
        if header.sop_class_uid and header.sop_class_uid != self._request.sop_class_uid:
            raise IdentifierMismatch("command and data set name different SOP classes")
        if self._request.study_instance_uid not in ("", header.study_instance_uid):
            raise IdentifierMismatch("the image is of another study than the request's address")

    def discard(self) -> None:
        """Forget the instance; its file is deleted."""
        self._file.close()


class Discard:
    """A sink for classes that are accepted, recorded and discarded."""

    def __init__(self, on_commit: Callable[[], None]) -> None:
        self._on_commit = on_commit

    def write(self, data: memoryview) -> None:
        """Drop a fragment."""

    def commit(self) -> int:
        """Record it."""
        self._on_commit()
        return _SUCCESS

    def discard(self) -> None:
        """Nothing was kept."""
