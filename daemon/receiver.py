"""A small receiving PACS: files whatever it is sent. For the demonstration, not for a hospital."""

import itertools
import threading
from collections import defaultdict
from pathlib import Path

from dicom_io import part10, syntaxes
from dicom_io.acceptor import Acceptor, Peer, Rejection, Sink, StoreRequest

_SUCCESS = 0x0000
_FAILURE = 0x0110


class ReceivingPacs:
    """Accepts every instance and writes it to a folder, numbered in the order of arrival.

    Parameters
    ----------
    folder
        Where the files go.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._counter = itertools.count(1)
        self._lock = threading.Lock()
        self._files: dict[str, list[Path]] = defaultdict(list)
        classes = (*syntaxes.RECEIVED_SOP_CLASSES, *syntaxes.RESULT_SOP_CLASSES)
        accept = dict.fromkeys(classes, syntaxes.RECEIVED_TRANSFER_SYNTAXES)
        self._acceptor = Acceptor(self, accept, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        """Port on which it listens."""
        return self._acceptor.port

    def start(self) -> None:
        """Listen."""
        self._acceptor.start()

    def stop(self) -> None:
        """Stop listening."""
        self._acceptor.stop(5)

    def files(self, sop_class_name: str) -> list[Path]:
        """Return the files received of a SOP class, by its name in words."""
        with self._lock:
            return list(self._files[sop_class_name])

    # dicom_io.acceptor.Handler

    def associate(self, peer: Peer) -> Rejection | None:
        """Admit everyone."""
        return None

    def store(self, request: StoreRequest) -> Sink:
        """Take an instance."""
        return _FileSink(self, request)

    def context_rejected(
        self, peer: Peer, abstract_syntax: str, transfer_syntaxes: tuple[str, ...], reason: str
    ) -> None:
        """Nothing to note."""

    def association_failed(
        self, address: str, reason: str, *, abuse: bool, calling_ae: str = ""
    ) -> None:
        """Nothing to note."""

    def event_report(
        self, peer: Peer, event_type_id: int, dataset: bytes, transfer_syntax_uid: str
    ) -> int:
        """No report was asked for."""
        return _FAILURE

    def keep(self, request: StoreRequest, data: bytes) -> None:
        """File an instance."""
        name = syntaxes.name(request.sop_class_uid)
        path = self._folder / f"{next(self._counter):03d}-{name.replace(' ', '-').lower()}.dcm"
        head = part10.header(
            request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax_uid
        )
        path.write_bytes(head + data)
        with self._lock:
            self._files[name].append(path)


class _FileSink:
    def __init__(self, pacs: ReceivingPacs, request: StoreRequest) -> None:
        self._pacs = pacs
        self._request = request
        self._data = bytearray()

    def write(self, data: memoryview) -> None:
        self._data += data

    def commit(self) -> int:
        self._pacs.keep(self._request, bytes(self._data))
        return _SUCCESS

    def discard(self) -> None:
        self._data.clear()
