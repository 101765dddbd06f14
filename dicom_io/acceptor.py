"""Reception: a listening socket and one blocking thread per association.

Why this is not pynetdicom's own acceptor is told, with figures, in docs/decisions.
"""

import errno
import itertools
import logging
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Mapping

from dicom_io.admission import Admission
from dicom_io.association import Association
from dicom_io.errors import DicomIOError
from dicom_io.negotiation import Negotiator
from dicom_io.reception import (
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    CONGESTED,
    LIMIT_EXCEEDED,
    CommitmentProvider,
    EventReport,
    Handler,
    Limits,
    Peer,
    Rejection,
    Sink,
    StoreRequest,
)

__all__ = [
    "CALLED_AE_UNKNOWN",
    "CALLING_AE_UNKNOWN",
    "CONGESTED",
    "LIMIT_EXCEEDED",
    "Acceptor",
    "CommitmentProvider",
    "EventReport",
    "Handler",
    "Limits",
    "Peer",
    "Rejection",
    "Sink",
    "StoreRequest",
]

_LOG = logging.getLogger(__name__)
_PAUSE_S = 0.1  # after a failed accept, such as for want of descriptors
_NUMBERS = itertools.count(1)


class Acceptor:
    """Accepts associations and hands their messages to a handler.

    Parameters
    ----------
    handler
        The node behind; called from the associations' threads.
    accept
        SOP classes that are received, each with its transfer syntaxes. C-ECHO and storage
        commitment results are always taken.
    host, port
        Where to listen; port 0 picks a free one.
    limits
        Deadlines and byte caps.
    listener
        A listening socket that somebody else opened, instead of `host` and `port`; it may be
        shared with other processes.
    tls
        Context that every connection is taken in; None: plain DICOM. The handshake is the
        association's, in its own thread.
    provider
        Who is asked to commit to storage; without one such requests are refused.
    """

    def __init__(
        self,
        handler: Handler,
        accept: Mapping[str, tuple[str, ...]],
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        listener: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
        provider: CommitmentProvider | None = None,
    ) -> None:
        self._handler = handler
        self._provider = provider
        self._limits = limits or Limits()
        self._negotiator = Negotiator(accept, self._limits.pdu_bytes)
        self._admission = Admission(self._limits)
        self._where = (host, port)
        self._listener = listener
        self._tls = tls
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[threading.Thread, Association] = {}
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, after `start`."""
        if self._listener is None:
            raise DicomIOError("the acceptor has not been started")
        return int(self._listener.getsockname()[1])

    @property
    def associations(self) -> int:
        """Number of associations now."""
        return self._admission.counts()[1]

    @property
    def alive(self) -> bool:
        """Whether connections are being accepted."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Listen, and accept in a thread of its own.

        Raises
        ------
        DicomIOError
            The address cannot be listened on.
        """
        if self._listener is None:
            self._listener = _listen(*self._where, self._limits.backlog)
        # Another process may win the race for a connection: accept must not block.
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="acceptor", daemon=True)
        self._thread.start()

    def stop(self, drain_s: float = 30.0) -> None:
        """Stop listening, let messages under way finish, then end every association."""
        if self._thread is None:
            return
        deadline = time.monotonic() + drain_s
        self._stopping.set()
        self._wake.send(b"\0")
        self._thread.join()
        self._thread = None
        for end in (self._wake, self._woken):
            end.close()
        self._join(deadline)
        for association in self._associations():
            association.sever()
        self._join(time.monotonic() + self._limits.linger_s + 1)

    def _join(self, deadline: float) -> None:
        with self._lock:
            threads = list(self._running)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _associations(self) -> list[Association]:
        with self._lock:
            return list(self._running.values())

    def _accept(self) -> None:
        listener = self._listener
        if listener is None:
            return
        with selectors.DefaultSelector() as selector, listener:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                if not self._stopping.is_set():
                    self._take_one(listener)

    def _take_one(self, listener: socket.socket) -> None:
        try:
            sock, name = listener.accept()
        except OSError as error:
            # The connection may have gone again, or another process has taken it.
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                _LOG.error(
                    "no connection can be accepted (%s); raise LimitNOFILE",
                    error.strerror,
                    extra={"action": "accept_failed"},
                )
                self._stopping.wait(_PAUSE_S)
            return
        self._start_one(sock, _address(name[0]))

    def _start_one(self, sock: socket.socket, address: str) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError:  # the peer has gone already; the association's thread will see it
            pass
        try:
            sock = self._secured(sock)
        except (OSError, ValueError):  # the peer has gone already
            sock.close()
            return
        number = next(_NUMBERS)
        association = Association(
            sock,
            address,
            number,
            self._handler,
            self._negotiator,
            self._admission,
            self._limits,
            self._stopping,
            self._provider,
        )
        self._admission.connect(association.ticket)
        thread = threading.Thread(
            target=self._run, args=(association,), name=f"assoc-{number}", daemon=True
        )
        with self._lock:
            self._running[thread] = association
        try:
            thread.start()
        except RuntimeError:  # no thread can be had; the peer tries again
            _LOG.error(
                "no thread for a connection; raise TasksMax", extra={"action": "accept_failed"}
            )
            with self._lock:
                del self._running[thread]
            self._admission.leave(association.ticket)
            sock.close()

    def _secured(self, sock: socket.socket) -> socket.socket:
        """Put TLS around a connection; not a byte is exchanged yet."""
        if self._tls is None:
            return sock
        return self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def _run(self, association: Association) -> None:
        try:
            association.run()
        finally:
            with self._lock:
                del self._running[threading.current_thread()]


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            (host, port), family=family, backlog=backlog, dualstack_ipv6=both
        )
    except OSError as error:
        raise DicomIOError(
            f"cannot listen on {host}:{port} ({error.strerror}); "
            "choose another address or port, or stop what holds it"
        ) from error


def _address(host: str) -> str:
    """IP address of a peer; a dual-stack socket shows IPv4 as ::ffff:10.0.0.5."""
    return host.removeprefix("::ffff:") if "." in host else host
