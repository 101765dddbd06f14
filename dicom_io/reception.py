"""What reception asks of the node that it serves, and the limits within which it does so."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Peer:
    """The other end of an association."""

    address: str  # IP address, IPv4 in its own form even on a dual-stack socket
    calling_ae: str
    called_ae: str
    implementation_version: str  # "" where the peer does not say
    certificate_names: frozenset[str] | None = None  # see dicom_io.tls.names; None: no TLS

    @property
    def certificate(self) -> str:
        """Whose certificate it has shown, for people: the first names in it."""
        return ", ".join(sorted(self.certificate_names or ())[:3]) or "nobody"


@dataclass(frozen=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int  # 1 permanent, 2 transient
    source: int  # 1 service user, 2 ACSE provider, 3 presentation provider
    reason: int
    message: str  # for the administrator; the peer sees the numbers only


CALLED_AE_UNKNOWN = Rejection(1, 1, 7, "called AE title not recognised")
CALLING_AE_UNKNOWN = Rejection(1, 1, 3, "calling AE title not recognised")
CONTEXT_UNKNOWN = Rejection(1, 1, 2, "application context name not supported")
PROTOCOL_UNKNOWN = Rejection(1, 2, 2, "protocol version not supported")
CONGESTED = Rejection(2, 3, 1, "temporary congestion")
LIMIT_EXCEEDED = Rejection(2, 3, 2, "local limit exceeded")


@dataclass(frozen=True)
class StoreRequest:
    """A C-STORE request before its data set; or what takes its place in a STOW-RS request."""

    peer: Peer
    sop_class_uid: str
    sop_instance_uid: str  # a UID by its characters and length
    transfer_syntax_uid: str
    study_instance_uid: str = ""  # that it must be of (PS3.18 10.5.1.1); "": of any


class Sink(Protocol):
    """Takes the data set of one C-STORE.

    Exactly one of these ends it: a `commit` that returns, or one `discard`, which also follows a
    `commit` or `write` that raised.
    """

    def write(self, data: memoryview) -> None:
        """Take the next bytes; `data` is valid until the call returns."""

    def commit(self) -> int:
        """Make the instance durable and return the C-STORE status; may raise StoreRefused."""

    def discard(self) -> None:
        """Forget what was written."""


class Handler(Protocol):
    """The node behind the acceptor; called from many threads at once."""

    def associate(self, peer: Peer) -> Rejection | None:
        """Decide whether the peer may associate."""

    def store(self, request: StoreRequest) -> Sink:
        """Begin a C-STORE; may raise StoreRefused."""

    def context_rejected(
        self, peer: Peer, abstract_syntax: str, transfer_syntaxes: tuple[str, ...], reason: str
    ) -> None:
        """Take note of a presentation context that was not accepted."""

    def association_failed(
        self, address: str, reason: str, *, abuse: bool, calling_ae: str = ""
    ) -> None:
        """Take note of an association that was cut: bad PDU, time-out, abort, lost connection.

        Also of one that was rejected without asking `associate`, or in spite of its answer.
        `abuse`: the peer broke the protocol. `calling_ae`: the title that it gave, if it had.
        """

    def event_report(
        self, peer: Peer, event_type_id: int, dataset: bytes, transfer_syntax_uid: str
    ) -> int:
        """Take a storage commitment result (PS3.4 J.3.3) and return the N-EVENT-REPORT status."""


@dataclass(frozen=True)
class EventReport:
    """A storage commitment result that the node sends."""

    event_type_id: int
    dataset: bytes


class CommitmentProvider(Protocol):
    """The node as one that is asked to commit (PS3.4 J); called from many threads at once."""

    def request(
        self, peer: Peer, action_type_id: int, dataset: bytes, transfer_syntax_uid: str
    ) -> tuple[int, int | None]:
        """Take an N-ACTION; return its status, and the number under which its result will be."""

    def result(self, number: int, transfer_syntax_uid: str) -> EventReport | None:
        """Return the result of a request, once it is there and nobody has heard it."""

    def heard(self, number: int, status: int) -> None:
        """Take the peer's answer to a result."""


@dataclass(frozen=True)
class Limits:
    """Deadlines and byte caps of reception; the defaults suit a hospital network."""

    associate_s: float = 9.5  # from the connection to the whole A-ASSOCIATE-RQ; ends within 10
    pdu_s: float = 30.0  # for one PDU, from its first byte
    message_gap_s: float = 30.0  # between two PDUs of one message
    idle_s: float = 120.0  # between two messages; scanners keep associations open
    dataset_s: float = 60.0  # for one data set, and longer by its bytes over the next rate
    dataset_min_rate: int = 16 * 1024  # bytes a second that a sender must reach on average
    send_s: float = 10.0  # for one answer of ours
    linger_s: float = 1.0  # for the peer to read a reject, abort or release answer
    associate_bytes: int = 1 << 20  # of an A-ASSOCIATE-RQ
    pdu_bytes: int = 128 * 1024  # of a P-DATA-TF; advertised to the peer
    command_bytes: int = 64 * 1024  # of a command set
    dataset_bytes: int = 4 << 30  # of a data set
    report_bytes: int = 16 << 20  # of an N-EVENT-REPORT's or N-ACTION's data set, held in memory
    max_associations: int = 64  # at once
    max_associations_per_address: int = 32
    max_connections: int = 512  # that have not associated yet; the oldest makes room
    pending_bytes_per_address: int = 16 << 20  # of memory before association
    backlog: int = 128  # connections that the kernel holds for us
