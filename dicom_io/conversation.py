"""The DIMSE messages of one association, from its acceptance to its release (PS3.7 section 9)."""

import logging
import time
from collections.abc import Mapping
from typing import NamedTuple

from dicom_io import dimse
from dicom_io.commitment import NO_SUCH_CLASS, NO_SUCH_INSTANCE, PUSH_MODEL_INSTANCE
from dicom_io.journal import Journal
from dicom_io.messages import Action, Receiver, Refusal, Report, Store
from dicom_io.negotiation import Context
from dicom_io.pdu import (
    A_ABORT,
    A_ASSOCIATE_RQ,
    A_RELEASE_RQ,
    INVALID_PARAMETER,
    NOT_SPECIFIED,
    P_DATA_TF,
    UNEXPECTED_PDU,
    UNRECOGNISED_PDU,
    Cut,
    PduStream,
    Pdv,
    command_pdus,
    data_pdus,
    data_values,
    release_response,
)
from dicom_io.reception import CommitmentProvider, Handler, Limits, Peer, StoreRequest
from dicom_io.syntaxes import STORAGE_COMMITMENT, VERIFICATION
from dicom_io.uids import is_uid

_MESSAGE_ID = 1  # of our own requests, of which one at a time is open
_RESPONSE_BIT = 0x8000
_C_CANCEL_RQ = 0x0FFF


class _Request(NamedTuple):
    """A request whose answer is owed."""

    context_id: int
    command: dimse.Command
    receiver: Receiver


class Conversation:
    """Reads requests and answers them one after another."""

    def __init__(
        self,
        stream: PduStream,
        peer: Peer,
        contexts: Mapping[int, Context],
        peer_maximum: int,
        handler: Handler,
        limits: Limits,
        journal: Journal,
        provider: CommitmentProvider | None = None,
    ) -> None:
        self._stream = stream
        self._peer = peer
        self._contexts = contexts
        self._peer_maximum = peer_maximum
        self._handler = handler
        self._limits = limits
        self._journal = journal
        self._provider = provider
        self._promised: dict[int, int] = {}  # results that are owed, with their context
        self._told: int | None = None  # the result that was sent, and has no answer yet
        self._command = bytearray()  # fragments of a command set so far
        self._context_id = 0  # of the message under way
        self._request: _Request | None = None
        self._complete = False  # the request's last byte is here
        self._received = 0  # bytes of the message under way
        self._started = 0.0  # monotonic, of the message under way

    def run(self) -> None:
        """Serve until the peer releases the association; raises Cut or Stopping otherwise."""
        while True:
            kind, length, deadline = self._next_pdu()
            if kind == A_RELEASE_RQ:
                self._stream.send(release_response(), self._limits.send_s)
                return
            if kind == A_ABORT:
                raise Cut("the peer aborted the association")
            if kind != P_DATA_TF:
                raise Cut("a PDU that does not belong here", UNEXPECTED_PDU)
            if not 0 < length <= self._limits.pdu_bytes:
                raise Cut("a PDU is empty or over the advertised length", INVALID_PARAMETER)
            for value in data_values(self._stream.body(length, deadline)):
                self._take(value)

    def _next_pdu(self) -> tuple[int, int, float]:
        """Wait for a PDU; returns its type, its length and when its body is due."""
        idle = not self._command and self._request is None
        wait = self._limits.idle_s if idle else self._limits.message_gap_s
        kind = self._stream.await_byte(
            wait,
            f"silence for {wait:g} s",
            may_stop=idle,
            on_tick=self._tell if idle else lambda: None,
        )
        if not A_ASSOCIATE_RQ <= kind <= A_ABORT:
            raise Cut("a PDU of an unknown type", UNRECOGNISED_PDU)
        if not idle:
            self._check_pace()
        deadline = time.monotonic() + self._limits.pdu_s
        return *self._stream.header(deadline), deadline

    def _check_pace(self) -> None:
        """Cut a message that trickles in small PDUs."""
        allowed = self._limits.dataset_s + self._received / self._limits.dataset_min_rate
        if time.monotonic() - self._started > allowed:
            raise Cut("a message arrives too slowly", NOT_SPECIFIED)

    def _take(self, value: Pdv) -> None:
        if not self._command and self._request is None:
            self._context_id = value.context_id
            self._received, self._started = 0, time.monotonic()
        self._received += len(value.data)
        if value.context_id != self._context_id or value.context_id not in self._contexts:
            raise Cut("a message in a context that was not accepted", INVALID_PARAMETER)
        if value.is_command != (self._request is None):
            raise Cut("command and data set out of order", INVALID_PARAMETER)
        if self._request is None:
            self._take_command(value)
        else:
            self._take_data(self._request, value)

    def _take_command(self, value: Pdv) -> None:
        if self._received > self._limits.command_bytes:
            raise Cut("a command set is larger than this node accepts", NOT_SPECIFIED)
        self._command += value.data
        if not value.is_last:
            return
        command = dimse.decode(self._command)
        self._command = bytearray()
        if command is not None and self._is_heard(command):
            return
        if command is None or (command.message_id is None and command.field != _C_CANCEL_RQ):
            raise Cut("a command set is damaged or lacks required elements", INVALID_PARAMETER)
        if command.field == _C_CANCEL_RQ:
            return  # there is nothing to cancel: every request is answered before the next
        if command.field & _RESPONSE_BIT:
            raise Cut("an answer to a question that was not asked", INVALID_PARAMETER)
        self._request = _Request(self._context_id, command, self._receiver(command))
        self._received = 0
        if not command.has_data_set:
            self._answer(self._request)

    def _take_data(self, request: _Request, value: Pdv) -> None:
        if self._received > self._limits.dataset_bytes:
            raise Cut("a data set is larger than this node accepts", NOT_SPECIFIED)
        request.receiver.write(value.data)
        if value.is_last:
            self._answer(request)

    def _answer(self, request: _Request) -> None:
        self._complete = True
        status = request.receiver.finish()
        self._respond(request, status)
        if isinstance(request.receiver, Action) and request.receiver.number is not None:
            self._promised[request.receiver.number] = request.context_id

    def _tell(self) -> None:
        """Send a result that is owed on this association, while the peer says nothing."""
        if self._provider is None or self._told is not None:
            return
        for number, context_id in self._promised.items():
            syntax = self._contexts[context_id].transfer_syntax
            report = self._provider.result(number, syntax)
            if report is not None:
                self._told = number
                break
        else:
            return
        del self._promised[number]
        command = dimse.event_report(
            _MESSAGE_ID, STORAGE_COMMITMENT, PUSH_MODEL_INSTANCE, report.event_type_id
        )
        self._stream.send(
            command_pdus(context_id, command, self._peer_maximum)
            + data_pdus(context_id, report.dataset, self._peer_maximum),
            self._limits.send_s,
        )

    def _is_heard(self, command: dimse.Command) -> bool:
        """Take the answer to a result of ours, if it is one."""
        number = self._told
        answered = (command.field, command.responded_to, command.has_data_set)
        if number is None or answered != (dimse.N_EVENT_REPORT_RSP, _MESSAGE_ID, False):
            return False
        self._told = None
        if self._provider is not None and command.status is not None:
            self._provider.heard(number, command.status)
        return True

    def _respond(self, request: _Request, status: int) -> None:
        self._request, self._complete = None, False
        self._journal.note(
            logging.DEBUG,
            "answer",
            f"command 0x{request.command.field:04X} answered 0x{status:04X}",
        )
        answer = dimse.response(request.command, status)
        self._stream.send(
            command_pdus(request.context_id, answer, self._peer_maximum), self._limits.send_s
        )

    def _receiver(self, command: dimse.Command) -> Receiver:
        context = self._contexts[self._context_id]
        if command.field == dimse.C_STORE_RQ:
            return self._store(command, context)
        if command.field == dimse.C_ECHO_RQ:
            known = context.abstract_syntax == VERIFICATION
            return Refusal(dimse.SUCCESS if known else dimse.SOP_CLASS_NOT_SUPPORTED)
        small = context.transfer_syntax, self._limits.report_bytes
        if command.field == dimse.N_EVENT_REPORT_RQ and command.event_type_id is not None:
            return Report(self._handler, self._peer, command.event_type_id, *small)
        if self._provider is not None and command.field == dimse.N_ACTION_RQ:
            return self._action(self._provider, command, context)
        return Refusal(dimse.UNRECOGNISED_OPERATION)

    def _action(
        self, provider: CommitmentProvider, command: dimse.Command, context: Context
    ) -> Receiver:
        named = (context.abstract_syntax, command.sop_class_uid)
        if named != (STORAGE_COMMITMENT, STORAGE_COMMITMENT):
            return Refusal(NO_SUCH_CLASS)
        if command.sop_instance_uid != PUSH_MODEL_INSTANCE:
            return Refusal(NO_SUCH_INSTANCE)
        kind = command.action_type_id or 0
        return Action(
            provider, self._peer, kind, context.transfer_syntax, self._limits.report_bytes
        )

    def _store(self, command: dimse.Command, context: Context) -> Receiver:
        refused = self._store_fault(command, context)
        if refused is not None:
            self._journal.note(
                logging.WARNING, "store_refused", f"C-STORE refused with 0x{refused:04X}"
            )
            return Refusal(refused)
        request = StoreRequest(
            self._peer, command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax
        )
        return Store(self._handler, request, self._journal)

    def _store_fault(self, command: dimse.Command, context: Context) -> int | None:
        """Return the status of a C-STORE that is wrong in its command set already."""
        if not (command.has_data_set and command.sop_class_uid and command.sop_instance_uid):
            return dimse.CANNOT_UNDERSTAND
        if not is_uid(command.sop_instance_uid):
            return dimse.INVALID_SOP_INSTANCE
        if command.sop_class_uid != context.abstract_syntax or (
            context.abstract_syntax == VERIFICATION
        ):
            return dimse.SOP_CLASS_NOT_SUPPORTED
        return None

    def give_up(self) -> None:
        """Drop the request under way."""
        request, self._request = self._request, None
        if request is not None:
            request.receiver.discard()

    def confess(self) -> None:
        """Answer a fully received request with a processing failure, then drop it."""
        request, complete = self._request, self._complete
        self.give_up()
        if request is not None and complete:
            self._respond(request, dimse.PROCESSING_FAILURE)
