"""Command sets of DIMSE messages (PS3.7 section 6.3 and annex E), implicit VR little endian."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dicom_io.uids import uid_text

C_STORE_RQ: Final = 0x0001
C_ECHO_RQ: Final = 0x0030
N_EVENT_REPORT_RQ: Final = 0x0100
N_EVENT_REPORT_RSP: Final = 0x8100
N_ACTION_RQ: Final = 0x0130
_RESPONSE: Final = 0x8000

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110  # PS3.7 C.5.14
INVALID_SOP_INSTANCE: Final = 0x0117  # PS3.7 C.5.11
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122  # PS3.7 C.5.19
UNRECOGNISED_OPERATION: Final = 0x0211  # PS3.7 C.5.23
OUT_OF_RESOURCES: Final = 0xA700  # PS3.4 B.2.3
CANNOT_UNDERSTAND: Final = 0xC000  # PS3.4 B.2.3

_DATA_SET, _NO_DATA_SET = 0x0001, 0x0101
_GROUP_LENGTH, _AFFECTED_CLASS, _COMMAND_FIELD = 0x0000, 0x0002, 0x0100
_REQUESTED_CLASS, _REQUESTED_INSTANCE, _ACTION_TYPE = 0x0003, 0x1001, 0x1008
_MESSAGE_ID, _RESPONDED_TO, _DATA_SET_TYPE = 0x0110, 0x0120, 0x0800
_STATUS, _AFFECTED_INSTANCE, _EVENT_TYPE = 0x0900, 0x1000, 0x1002

_ELEMENT = struct.Struct("<HHL")
_US = struct.Struct("<H")


@dataclass(frozen=True)
class Command:
    """A command set, as far as an acceptor needs it."""

    field: int  # Command Field
    message_id: int | None  # None: absent, and no answer is possible
    has_data_set: bool
    sop_class_uid: str  # "" where absent
    sop_instance_uid: str  # "" where absent
    event_type_id: int | None
    action_type_id: int | None = None
    responded_to: int | None = None  # of an answer
    status: int | None = None  # of an answer


def decode(data: bytes | bytearray) -> Command | None:
    """Read a command set; None if the bytes are none."""
    elements = _elements(data)
    field = _number(elements, _COMMAND_FIELD)
    if field is None or _DATA_SET_TYPE not in elements:
        return None
    return Command(
        field=field,
        message_id=_number(elements, _MESSAGE_ID),
        has_data_set=_number(elements, _DATA_SET_TYPE) != _NO_DATA_SET,
        sop_class_uid=_first_uid(elements, _AFFECTED_CLASS, _REQUESTED_CLASS),
        sop_instance_uid=_first_uid(elements, _AFFECTED_INSTANCE, _REQUESTED_INSTANCE),
        event_type_id=_number(elements, _EVENT_TYPE),
        action_type_id=_number(elements, _ACTION_TYPE),
        responded_to=_number(elements, _RESPONDED_TO),
        status=_number(elements, _STATUS),
    )


def _first_uid(elements: Mapping[int, bytes], *numbers: int) -> str:
    """Text of the first of these UIDs that is there; "" where none is."""
    return next((uid_text(elements[number]) for number in numbers if number in elements), "")


def _elements(data: bytes | bytearray) -> Mapping[int, bytes]:
    """Values by element number; empty if a length does not fit or a group is foreign."""
    elements: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        if position + _ELEMENT.size > len(data):
            return {}
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group or position + length > len(data):
            return {}
        elements[element] = bytes(data[position : position + length])
        position += length
    return elements


def _number(elements: Mapping[int, bytes], element: int) -> int | None:
    value = elements.get(element, b"")
    return _US.unpack(value)[0] if len(value) == _US.size else None


def response(request: Command, status: int) -> bytes:
    """Encode the answer to a request; its UIDs are repeated as they came."""
    body = b"".join(
        (
            _uid(_AFFECTED_CLASS, request.sop_class_uid),
            _us(_COMMAND_FIELD, request.field | _RESPONSE),
            _us(_RESPONDED_TO, request.message_id or 0),
            _us(_DATA_SET_TYPE, _NO_DATA_SET),
            _us(_STATUS, status),
            _uid(_AFFECTED_INSTANCE, request.sop_instance_uid),
            _us(_EVENT_TYPE, request.event_type_id),
            _us(_ACTION_TYPE, request.action_type_id),
        )
    )
    return _with_length(body)


def event_report(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type_id: int
) -> bytes:
    """Encode an N-EVENT-REPORT request that has a data set (PS3.7 10.3.1.1)."""
    return _with_length(
        b"".join(
            (
                _uid(_AFFECTED_CLASS, sop_class_uid),
                _us(_COMMAND_FIELD, N_EVENT_REPORT_RQ),
                _us(_MESSAGE_ID, message_id),
                _us(_DATA_SET_TYPE, _DATA_SET),
                _uid(_AFFECTED_INSTANCE, sop_instance_uid),
                _us(_EVENT_TYPE, event_type_id),
            )
        )
    )


def _with_length(body: bytes) -> bytes:
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + struct.pack("<L", len(body)) + body


def _us(element: int, number: int | None) -> bytes:
    return b"" if number is None else _ELEMENT.pack(0, element, 2) + _US.pack(number)


def _uid(element: int, uid: str) -> bytes:
    if not uid:
        return b""
    value = uid.encode("ascii", "replace")[:64]
    value += b"\0" * (len(value) % 2)
    return _ELEMENT.pack(0, element, len(value)) + value
