"""One association as acceptor: request, answer, messages, end; one thread, one socket."""

import logging
import socket
import ssl
import struct
import threading
import time

from dicom_io.admission import Admission, Ticket
from dicom_io.conversation import Conversation
from dicom_io.journal import Journal
from dicom_io.negotiation import Agreement, Negotiator, Proposal, read_proposal
from dicom_io.pdu import (
    A_ABORT,
    A_ASSOCIATE_RQ,
    HEADER_BYTES,
    INVALID_PARAMETER,
    NOT_SPECIFIED,
    UNEXPECTED_PDU,
    UNRECOGNISED_PDU,
    Cut,
    PduStream,
    Stopping,
    abort,
    reject,
)
from dicom_io.reception import CommitmentProvider, Handler, Limits, Peer, Rejection
from dicom_io.tls_socket import HANDSHAKE_BYTES, HANDSHAKE_RECORD, sever


class Association:
    """Serves one connection from its first byte to its end."""

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        number: int,
        handler: Handler,
        negotiator: Negotiator,
        admission: Admission,
        limits: Limits,
        stopping: threading.Event,
        provider: CommitmentProvider | None = None,
    ) -> None:
        self._sock = sock
        self._address = address
        self._handler = handler
        self._negotiator = negotiator
        self._admission = admission
        self._limits = limits
        self._provider = provider
        self._journal = Journal(str(number))
        self._stream = PduStream(sock, stopping.is_set)
        self._conversation: Conversation | None = None
        self._calling_ae = ""  # once it is known
        self.ticket = Ticket(address, self.sever)

    def sever(self) -> None:
        """End the connection from another thread."""
        sever(self._sock)

    def run(self) -> None:
        """Serve the connection; the thread's entry."""
        try:
            self._serve_to_end()
        except Exception as error:  # noqa: BLE001 - the thread's one last resort
            self._journal.fault(error)
            self._confess()
        finally:
            self._end()

    def _serve_to_end(self) -> None:
        try:
            self._serve()
        except Stopping:
            self._abort(NOT_SPECIFIED, "the node is stopping")
        except Cut as cut:
            self._cut(cut)

    def _serve(self) -> None:
        deadline = time.monotonic() + self._limits.associate_s
        names = self._shake_hands(deadline) if isinstance(self._sock, ssl.SSLSocket) else None
        proposal = self._proposal(deadline)
        self._calling_ae = proposal.calling_ae
        peer = Peer(
            self._address,
            proposal.calling_ae,
            proposal.called_ae,
            proposal.implementation_version,
            names,
        )
        judged = None if proposal.fault else self._handler.associate(peer)
        rejection = proposal.fault or judged or self._admission.associate(self.ticket)
        if rejection is not None:
            self._reject(peer, rejection)
            if rejection is not judged:  # the handler knows its own
                self._failed(rejection.message, abuse=False)
            return
        agreement = self._negotiator.answer(proposal)
        # Twice the longest PDU: one is worked on while the next arrives in the same buffer.
        self._stream.grow(2 * (self._limits.pdu_bytes + HEADER_BYTES))
        self._stream.send(agreement.pdu, self._limits.send_s)
        self._report(peer, agreement)
        self._conversation = Conversation(
            self._stream,
            peer,
            agreement.contexts,
            proposal.maximum_length,
            self._handler,
            self._limits,
            self._journal,
            self._provider,
        )
        self._conversation.run()
        self._journal.note(logging.INFO, "association_released", "association released")

    def _shake_hands(self, deadline: float) -> frozenset[str]:
        """Do the TLS handshake; return the names in the peer's certificate.

        A connection takes no memory before its first byte, which also tells a peer without TLS.
        """
        late = "no TLS handshake in time"
        first = self._stream.peek(deadline, late)
        if first != HANDSHAKE_RECORD:
            plain = A_ASSOCIATE_RQ <= first <= A_ABORT
            what = "plain DICOM" if plain else "neither TLS nor DICOM"
            raise Cut(f"no TLS: {what} on the TLS port; check what connects here")
        self._reserve(HANDSHAKE_BYTES)
        return self._stream.shake_hands(deadline, late)

    def _proposal(self, deadline: float) -> Proposal:
        """Read the A-ASSOCIATE-RQ under one deadline, in memory that its address may have."""
        late = "no association request in time"
        kind = self._stream.await_byte(deadline - time.monotonic(), late, may_stop=True)
        if kind == HANDSHAKE_RECORD:
            raise Cut("TLS on the port without TLS; only one side is set up", UNRECOGNISED_PDU)
        if kind != A_ASSOCIATE_RQ:
            known = A_ASSOCIATE_RQ < kind <= A_ABORT
            reason = UNEXPECTED_PDU if known else UNRECOGNISED_PDU
            raise Cut("not a DICOM association request; check what connects here", reason)
        kind, length = self._stream.header(deadline)
        if length > self._limits.associate_bytes:
            raise Cut("the association request is larger than accepted", INVALID_PARAMETER)
        self._make_room(length)
        body = self._stream.body(length, deadline)
        return read_proposal(struct.pack(">BxL", kind, length) + body)

    def _make_room(self, length: int) -> None:
        """Grow the buffer for a long request, if its address has not taken too much already."""
        if length <= self._stream.capacity - HEADER_BYTES:
            return
        self._reserve(length)
        self._stream.grow(length + HEADER_BYTES)

    def _reserve(self, size: int) -> None:
        if not self._admission.reserve(self.ticket, size):
            raise Cut("too much memory held before association by one address", NOT_SPECIFIED)

    def _reject(self, peer: Peer, rejection: Rejection) -> None:
        self._journal.note(
            logging.WARNING,
            "association_rejected",
            f"association of {peer.calling_ae} from {peer.address} to {peer.called_ae} "
            f"rejected: {rejection.message}",
            result=rejection.result,
            source=rejection.source,
            reason=rejection.reason,
        )
        self._stream.send(reject(rejection), self._limits.send_s)

    def _report(self, peer: Peer, agreement: Agreement) -> None:
        fields = {} if peer.certificate_names is None else {"certificate": peer.certificate}
        self._journal.note(
            logging.INFO,
            "association_accepted",
            f"association of {peer.calling_ae} from {peer.address} to {peer.called_ae}: "
            f"{len(agreement.contexts)} contexts accepted, {len(agreement.rejected)} not",
            **fields,
        )
        for context in agreement.rejected:
            self._handler.context_rejected(
                peer, context.abstract_syntax, context.transfer_syntaxes, context.reason
            )

    def _cut(self, cut: Cut) -> None:
        if not self._stream.heard:
            # A load balancer's or a port scanner's connection; there is nothing to report.
            self._journal.note(logging.DEBUG, "connection_silent", "a connection without a byte")
            return
        self._journal.note(
            logging.WARNING,
            "association_failed",
            f"association from {self._address} ended: {cut}",
        )
        if self._conversation is not None:
            self._conversation.give_up()
        if cut.abort_reason is not None:
            self._abort(cut.abort_reason, "")
        self._failed(str(cut), abuse=cut.abuse)

    def _failed(self, reason: str, *, abuse: bool) -> None:
        title = self._calling_ae
        self._handler.association_failed(self._address, reason, abuse=abuse, calling_ae=title)

    def _confess(self) -> None:
        try:
            if self._conversation is not None:
                self._conversation.confess()
            self._abort(NOT_SPECIFIED, "")
        except Cut:  # the peer has gone; the fault is logged
            return

    def _abort(self, reason: int, why: str) -> None:
        if why:
            self._journal.note(logging.INFO, "association_aborted", f"aborted: {why}")
        try:
            self._stream.send(abort(reason), self._limits.send_s)
        except Cut:  # the peer has gone already
            return

    def _end(self) -> None:
        """Give the place back first: what follows waits for the peer."""
        self._admission.leave(self.ticket)
        try:
            if self._conversation is not None:
                self._conversation.give_up()
            self._stream.linger(self._limits.linger_s)
        finally:
            self._sock.close()
