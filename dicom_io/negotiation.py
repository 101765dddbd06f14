"""Association negotiation as acceptor (PS3.8 section 7.1, PS3.7 annex D), without a socket.

pynetdicom's codecs read the request and write the answer. What they do not check is checked on
the raw bytes first: a megabyte of four-byte items would cost them seconds.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from dicom_io.pdu import INVALID_PARAMETER, Cut
from dicom_io.reception import CONTEXT_UNKNOWN, PROTOCOL_UNKNOWN, Rejection
from dicom_io.syntaxes import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    STORAGE_COMMITMENT,
    VERIFICATION,
)
from dicom_io.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, is_uid

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
MAX_CONTEXTS: Final = 128  # identifiers are the odd numbers below 256 (PS3.8 9.3.2.2)
MAX_SUB_ITEMS: Final = 8192  # of one request; 128 contexts of 64 syntaxes

_FIXED_BYTES = 68  # of an A-ASSOCIATE-RQ before its variable items
_CONTEXT_ITEM, _USER_INFORMATION_ITEM = 0x20, 0x50
_ITEM = struct.Struct(">BxH")
_ANSWERED_IDENTITIES = (1, 2)  # user name, with or without a passcode (PS3.7 D.3.3.7)

# What pynetdicom's codecs raise on bytes that are no A-ASSOCIATE-RQ.
_CODEC_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
)
# Results of a presentation context in words (PS3.8 table 9-18)
_REASONS = {
    1: "refused: this node cannot act in the proposed role",
    2: "refused: no reason",
    3: "SOP class not supported",
    4: "none of its transfer syntaxes is supported",
}


@dataclass(frozen=True)
class Context:
    """A presentation context that was accepted."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class RejectedContext:
    """A presentation context that was not accepted."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]  # as proposed
    reason: str


@dataclass(frozen=True)
class Proposal:
    """An A-ASSOCIATE-RQ."""

    calling_ae: str  # control characters replaced, for it is logged
    called_ae: str
    implementation_version: str
    maximum_length: int  # of PDUs that the peer takes; 0: any
    fault: Rejection | None  # rejected whoever asks
    primitive: Any  # pynetdicom's A_ASSOCIATE


@dataclass(frozen=True)
class Agreement:
    """The answer to a proposal."""

    contexts: Mapping[int, Context]  # accepted, by presentation context identifier
    rejected: tuple[RejectedContext, ...]
    pdu: bytes  # the A-ASSOCIATE-AC


def read_proposal(pdu: bytes) -> Proposal:
    """Read an A-ASSOCIATE-RQ, header included.

    Raises
    ------
    Cut
        It is damaged, or breaks a rule for which there is no rejection.
    """
    _check_items(memoryview(pdu)[6:])
    request = A_ASSOCIATE_RQ()
    try:
        request.decode(pdu)
        primitive = request.to_primitive()
        information = {type(item): item for item in primitive.user_information}
    except _CODEC_ERRORS as error:
        raise Cut("the association request is damaged", INVALID_PARAMETER) from error
    _check_contexts(primitive.presentation_context_definition_list)
    version = information.get(ImplementationVersionNameNotification)
    length = information.get(MaximumLengthNotification)
    return Proposal(
        calling_ae=_printable(primitive.calling_ae_title),
        called_ae=_printable(primitive.called_ae_title),
        implementation_version=_printable(version and version.implementation_version_name),
        maximum_length=(length and length.maximum_length_received) or 0,
        fault=_fault(request.protocol_version, primitive.application_context_name),
        primitive=primitive,
    )


def _items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    position = 0
    while position < len(data):
        if position + _ITEM.size > len(data):
            raise Cut("the association request ends within an item", INVALID_PARAMETER)
        kind, length = _ITEM.unpack_from(data, position)
        position += _ITEM.size
        if position + length > len(data):
            raise Cut("the association request ends within an item", INVALID_PARAMETER)
        yield kind, data[position : position + length]
        position += length


def _check_items(body: memoryview) -> None:
    """Bound the number of items before any codec sees them."""
    if len(body) < _FIXED_BYTES:
        raise Cut("the association request is too short", INVALID_PARAMETER)
    contexts = sub_items = 0
    for kind, item in _items(body[_FIXED_BYTES:]):
        contexts += kind == _CONTEXT_ITEM
        if kind == _CONTEXT_ITEM:
            sub_items += sum(1 for _ in _items(item[4:]))
        elif kind == _USER_INFORMATION_ITEM:
            sub_items += sum(1 for _ in _items(item))
        else:
            sub_items += 1
        if contexts > MAX_CONTEXTS or sub_items > MAX_SUB_ITEMS:
            raise Cut("the association request has too many items", INVALID_PARAMETER)


def _check_contexts(contexts: Sequence[PresentationContext]) -> None:
    """Apply PS3.8 9.3.2.2: identifiers are odd and used once, and syntaxes are named."""
    identifiers = [context.context_id for context in contexts]
    if len(set(identifiers)) != len(identifiers) or any(number % 2 == 0 for number in identifiers):
        raise Cut("presentation context identifiers are repeated or even", INVALID_PARAMETER)
    if not all(context.abstract_syntax and context.transfer_syntax for context in contexts):
        raise Cut("a presentation context names no syntax", INVALID_PARAMETER)


def _fault(protocol_version: int, application_context: object) -> Rejection | None:
    if not protocol_version & 1:  # PS3.8 9.3.2: bit 0 is the only version there is
        return PROTOCOL_UNKNOWN
    if application_context != APPLICATION_CONTEXT:
        return CONTEXT_UNKNOWN
    return None


def _printable(text: object) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(text or "")).strip()


def _uid(text: object) -> str:
    """Return a UID; what is none may be anything, a name too, and is not written down."""
    found = str(text or "").strip()
    return found if is_uid(found) else "something that is no UID"


class Negotiator:
    """Answers proposals by what the node accepts: SOP class to transfer syntaxes."""

    def __init__(self, accept: Mapping[str, Sequence[str]], maximum_length: int) -> None:
        self._accept = {
            VERIFICATION: frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE)),
            STORAGE_COMMITMENT: frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE)),
        } | {sop_class: frozenset(syntaxes) for sop_class, syntaxes in accept.items()}
        self._maximum_length = maximum_length

    def answer(self, proposal: Proposal) -> Agreement:
        """Choose among the proposed contexts; the association is accepted even if none suits."""
        primitive = proposal.primitive
        proposed = primitive.presentation_context_definition_list
        wanted = {
            item.sop_class_uid: (item.scu_role, item.scp_role)
            for item in primitive.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
        }
        results: list[PresentationContext] = []
        roles: dict[str, SCP_SCU_RoleSelectionNegotiation] = {}
        for context in proposed:
            answered, role = negotiate_as_acceptor([context], self._offer(context), wanted)
            results += answered
            roles |= {item.sop_class_uid: item for item in role}
        return Agreement(
            contexts={c.context_id: _accepted(c) for c in results if c.result == 0},
            rejected=tuple(
                _rejected(asked, got)
                for asked, got in zip(proposed, results, strict=True)
                if got.result != 0
            ),
            pdu=self._encode(primitive, results, list(roles.values())),
        )

    def _offer(self, context: PresentationContext) -> list[PresentationContext]:
        """Our side of one context: the first syntax in the peer's own order that we know.

        A scanner proposes first what it has; pynetdicom would choose by the acceptor's order.
        """
        known = self._accept.get(context.abstract_syntax, frozenset())
        if not known:
            return []
        first = next((uid for uid in context.transfer_syntax if uid in known), None)
        offer = build_context(context.abstract_syntax, first or sorted(known)[0])
        offer.scu_role = True  # whether the peer may be SCU
        # PS3.4 J.3.3: a PACS reports storage commitment on an association of its own, as SCP
        offer.scp_role = context.abstract_syntax == STORAGE_COMMITMENT
        return [offer]

    def _encode(
        self,
        request: Any,
        results: list[PresentationContext],
        roles: list[SCP_SCU_RoleSelectionNegotiation],
    ) -> bytes:
        """Encode the A-ASSOCIATE-AC (PS3.8 9.3.3).

        Asynchronous operations and extended negotiation go unanswered, which declines them.
        """
        answer = A_ASSOCIATE()
        answer.application_context_name = APPLICATION_CONTEXT
        answer.calling_ae_title = request.calling_ae_title
        answer.called_ae_title = request.called_ae_title
        answer.result, answer.result_source = 0, 1
        answer.presentation_context_definition_results_list = results
        length = MaximumLengthNotification()
        length.maximum_length_received = self._maximum_length
        implementation = ImplementationClassUIDNotification()
        implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        version = ImplementationVersionNameNotification()
        version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        information = [length, implementation, version, *roles, *_identity(request)]
        answer.user_information = information
        return bytes(A_ASSOCIATE_AC(answer).encode())


def _identity(request: Any) -> list[UserIdentityNegotiation]:
    """Confirm a user name where that is asked for; who may associate is decided elsewhere."""
    for item in request.user_information:
        if (
            isinstance(item, UserIdentityNegotiation)
            and item.positive_response_requested
            and item.user_identity_type in _ANSWERED_IDENTITIES
        ):
            answer = UserIdentityNegotiation()
            answer.server_response = b""
            return [answer]
    return []


def _accepted(context: PresentationContext) -> Context:
    return Context(str(context.abstract_syntax), str(context.transfer_syntax[0]))


def _rejected(asked: PresentationContext, got: PresentationContext) -> RejectedContext:
    return RejectedContext(
        abstract_syntax=_uid(asked.abstract_syntax),
        transfer_syntaxes=tuple(_uid(uid) for uid in asked.transfer_syntax),
        reason=_REASONS.get(got.result, f"refused: {got.result}"),
    )
