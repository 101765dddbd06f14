"""A PACS that writes down every C-STORE it answers, and that comes and goes."""

import hashlib
import threading
from collections import defaultdict
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_io.syntaxes import STORAGE_COMMITMENT
from tests.peers import free_port
from tests.soak.commitment import Reporter

AE_TITLE = "RECORDER"


class RecordingPacs:
    """Answers every C-STORE with success; `down` and `up` make outages on the same port.

    It commits to what it has, once it is asked to.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self.port = free_port()
        self.outages = 0
        self._lock = threading.Lock()
        self._stored: dict[str, list[str]] = defaultdict(list)
        self._server: Any = None
        self.reporter = Reporter(AE_TITLE, lambda uid: uid in self.stored)
        self.up()

    def close(self) -> None:
        """End."""
        self.reporter.close()
        self.down()

    @property
    def stored(self) -> dict[str, list[str]]:
        """SHA-256 of the data set of every C-STORE, by SOP Instance UID, in order of arrival."""
        with self._lock:
            return {uid: list(digests) for uid, digests in self._stored.items()}

    @property
    def is_up(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    def up(self) -> None:
        """Listen."""
        if self._server is not None:
            return
        ae = AE(AE_TITLE)
        for sop_class in (
            SegmentationStorage,
            ComprehensiveSRStorage,
            SecondaryCaptureImageStorage,
        ):
            ae.add_supported_context(sop_class)
        ae.add_supported_context(STORAGE_COMMITMENT)
        self._server = ae.start_server(
            (self._host, self.port),
            block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_N_ACTION, self.reporter.asked),
            ],
        )

    def down(self) -> None:
        """Stop listening, and abort what is under way."""
        if self._server is not None:
            self.outages += 1
            self._server.shutdown()
            self._server = None

    def _store(self, event: Any) -> int:
        data = event.request.DataSet.getvalue()
        with self._lock:
            self._stored[str(event.request.AffectedSOPInstanceUID)].append(
                hashlib.sha256(data).hexdigest()
            )
        return 0x0000
