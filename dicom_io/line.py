"""An association as requestor that cannot hang, on pynetdicom.

pynetdicom's calls block without a limit in some places: a peer that stops reading, a reactor
thread that died. So the work runs in a thread whose progress is watched; when it stops, the socket
is shut down, and if even that does not free the thread, it is left behind.
"""

import fcntl
import logging
import queue
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext

from dicom_io.errors import PeerError
from dicom_io.tls_socket import Opening, sever
from dicom_io.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

CONNECT_S: Final = 10.0  # for the TCP connection
_TICK_S = 0.1  # how often progress is looked at
_GRACE_S = 5.0  # for the thread to end after its socket was shut down
_PDU_BYTES = 128 * 1024  # that we take; answers are small
_LOG = logging.getLogger("dicom_io.scu")


@dataclass(frozen=True)
class Remote:
    """Another node, as the configuration names it."""

    name: str  # for people
    ae_title: str
    host: str
    port: int
    calling_ae: str  # our own AE title
    tls: ssl.SSLContext | None = None  # see dicom_io.tls.client_context; None: plain DICOM
    certificate_name: str | None = None  # that its certificate must hold; None: its host

    def __str__(self) -> str:
        return f"{self.name} ({self.ae_title} at {self.host}:{self.port})"


class _Answers(queue.Queue[Any]):
    """Answers for the thread that waits for one.

    pynetdicom's own thread of an association polls them as well. It is meant to pause during a
    send, but on a busy machine it may go on for one round, take the answer and drop it; the send
    would wait for ever.
    """

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take an answer; one who does not wait for it gets none."""
        if not block:
            raise queue.Empty
        return super().get(block, timeout)


class Line:
    """One association to a peer; `trouble` says why it was cut, "" while it was not."""

    def __init__(
        self,
        remote: Remote,
        contexts: Sequence[PresentationContext],
        progress_timeout_s: float,
        handlers: Sequence[tuple[Any, Callable[[Any], Any]]] = (),  # pynetdicom's, of its events
        roles: Sequence[Any] = (),  # pynetdicom's, that are proposed with it
    ) -> None:
        self._remote = remote
        self._contexts = list(contexts)
        self._timeout_s = progress_timeout_s
        self._handlers = handlers
        self._roles = list(roles)
        self._refusal: PeerError | None = None
        self._assoc: Any = None  # pynetdicom's Association
        self._socket: socket.socket | None = None
        self._opening = None if remote.tls is None else Opening(remote.tls)
        self._events = 0  # PDUs sent and received
        self._news = threading.Event()  # something for `on_tick`, or the end
        self._ended = threading.Event()  # the work is done
        self._over = threading.Event()  # nobody hears `on_tick` any more
        self.trouble = ""

    def told(self, heard: threading.Semaphore) -> bool:
        """Have `on_tick` called now and wait until it has released `heard`; False: it never will.

        For the thread that works.
        """
        self._news.set()
        while not heard.acquire(timeout=_TICK_S):
            if self._over.is_set():
                return False
        return True

    def run(self, work: Callable[[Any], None], on_tick: Callable[[], None]) -> None:
        """Do `work` with the association and release it; `on_tick` is called in this thread.

        `work` is also called when the peer refused every context: it then finds no accepted one.

        Raises
        ------
        PeerError
            There was no association.
        """
        thread = threading.Thread(target=self._run, args=(work,), name="scu", daemon=True)
        thread.start()
        try:
            self._watch(thread, on_tick)
        finally:
            self._over.set()
        if not thread.is_alive():
            self._close()
        self._raise_refusal()

    def _watch(self, thread: threading.Thread, on_tick: Callable[[], None]) -> None:
        seen, since = self._progress(), time.monotonic()
        allowed = self._timeout_s
        while thread.is_alive():
            self._news.wait(_TICK_S)
            self._news.clear()
            if self._ended.is_set():
                thread.join(_TICK_S)
            on_tick()
            now, progress = time.monotonic(), self._progress()
            if progress != seen and not self.trouble:
                seen, since = progress, now
            elif now - since > allowed:
                if self.trouble:
                    _LOG.error("a sending thread was left behind", extra={"action": "scu_stuck"})
                    break
                self._cut()
                since, allowed = now, _GRACE_S
        on_tick()

    def _close(self) -> None:
        """Close what went wrong: pynetdicom leaves a socket open that it cannot shut down."""
        sock = self._sock()
        if sock is not None and (self.trouble or self._refusal is not None):
            sock.close()

    def _sock(self) -> socket.socket | None:
        """Return the connection's socket; one of TLS is known before it is connected."""
        return self._socket or (self._opening.sock if self._opening else None)

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        if self.trouble and (self._assoc is None or not self._assoc.acceptor.primitive):
            raise PeerError(f"{self._remote} gave no answer: {self.trouble}", transient=True)

    def _progress(self) -> tuple[int, int]:
        """Return something that changes whenever bytes move.

        The kernel's queue is looked at too, for pynetdicom sends a whole data set in one PDU to a
        peer that takes any length.
        """
        queued = 0
        if self._socket is not None:
            try:
                answer = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
                (queued,) = struct.unpack("i", answer)
            except (OSError, ValueError):  # closed meanwhile
                queued = -1
        return self._events, queued

    def _cut(self) -> None:
        self.trouble = f"the peer made no progress for {self._timeout_s:g} s and was cut off"
        sock = self._sock()
        if sock is not None:
            sever(sock)  # if it has gone already, the thread may wait nevertheless
        if self._assoc is not None:
            self._assoc.dimse.msg_queue.put((None, None))  # what pynetdicom puts on a lost line

    def _run(self, work: Callable[[Any], None]) -> None:
        """Open, work, release; the thread's entry."""
        try:
            assoc = self._open()
            if assoc is None:
                return
            work(assoc)
            if assoc.is_established:
                assoc.release()
        except Exception as error:  # noqa: BLE001 - the thread's one last resort
            self.trouble = self.trouble or f"sending failed ({type(error).__name__})"
            _LOG.error("%s", self.trouble, extra={"action": "scu_fault"})
        finally:
            self._ended.set()
            self._news.set()

    def _open(self) -> Any:
        ae = AE(self._remote.calling_ae)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.connection_timeout = CONNECT_S
        ae.acse_timeout = self._timeout_s
        # Waiting is limited by progress, not by these: a long data set takes its time.
        ae.dimse_timeout = ae.network_timeout = None
        assoc = ae.associate(
            self._remote.host,
            self._remote.port,
            contexts=self._contexts,
            ae_title=self._remote.ae_title,
            max_pdu=_PDU_BYTES,
            ext_neg=self._roles,
            tls_args=self._tls_args(),
            evt_handlers=[
                *self._handlers,
                (evt.EVT_CONN_OPEN, self._opened),
                (evt.EVT_DATA_SENT, self._moved),
                (evt.EVT_DATA_RECV, self._moved),
            ],
        )
        if assoc.is_established or assoc.rejected_contexts:
            return assoc
        self._refusal = self._why_not(assoc)
        return None

    def _tls_args(self) -> tuple[Opening, str] | None:
        if self._opening is None:
            return None
        return self._opening, self._remote.certificate_name or self._remote.host

    def _opened(self, event: Any) -> None:
        self._assoc = event.assoc
        self._assoc.dimse.msg_queue = _Answers()
        self._socket = sock = event.assoc.dul.socket.socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # unacknowledged data, at a peer that vanished
            milliseconds = max(1, int(self._timeout_s * 1000))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def _moved(self, event: Any) -> None:
        self._events += 1

    def _why_not(self, assoc: Any) -> PeerError:
        answer = assoc.acceptor.primitive
        if assoc.is_rejected and answer is not None:
            return PeerError(
                f"{self._remote} rejected the association: {answer.reason_str}; "
                "check the AE titles on both sides",
                transient=answer.result != 1,
            )
        if self._opening is not None and self._opening.failure:
            words = f"no TLS connection to {self._remote}: {self._opening.failure}"
            return PeerError(words, transient=True)
        if self._socket is None:
            return PeerError(f"{self._remote} cannot be reached; is it running?", transient=True)
        hint = "" if self._opening else "; does it want TLS?"
        return PeerError(f"{self._remote} ended the association at once{hint}", transient=True)
