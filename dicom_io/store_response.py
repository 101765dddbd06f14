"""What a Store Transaction is answered with (PS3.18 10.5.3, annex I)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

MEDIA_TYPE: Final = "application/dicom+json"
FAILED: Final = "00081198"  # FailedSOPSequence
REASON: Final = "00081197"  # FailureReason
STORED: Final = "00081199"  # ReferencedSOPSequence
_OTHERS = "0008119A"  # OtherFailuresSequence
_URL = "00081190"  # RetrieveURL
_SOP_CLASS, _SOP_INSTANCE = "00081150", "00081155"

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
CLASS_NOT_SUPPORTED: Final = 0x0122
SYNTAX_NOT_SUPPORTED: Final = 0xC122  # I.2.2: Referenced Transfer Syntax not supported


@dataclass(frozen=True)
class Stored:
    """What became of one part of a request."""

    status: int  # as of a C-STORE; 0xC122: see I.2.2
    sop_class_uid: str = ""  # "": the part does not say
    sop_instance_uid: str = ""


def module(results: Sequence[Stored]) -> dict[str, Any]:
    """Return the Store Instances Response Module of parts, in their order, as DICOM JSON.

    RetrieveURL, which must be there, is empty: nothing is retrieved here. There is no
    WarningReason: nothing is coerced, and no element is discarded.
    """
    stored = [_item(each) for each in results if each.status == SUCCESS]
    failed = [each for each in results if each.status != SUCCESS]
    named = [_item(each) for each in failed if each.sop_instance_uid]
    others = [_reason(each) for each in failed if not each.sop_instance_uid]
    sequences = ((FAILED, named), (STORED, stored), (_OTHERS, others))
    return {_URL: {"vr": "UR"}} | {
        tag: {"vr": "SQ", "Value": items} for tag, items in sequences if items
    }


def _item(result: Stored) -> dict[str, Any]:
    item = {
        _SOP_CLASS: {"vr": "UI", "Value": [result.sop_class_uid]},
        _SOP_INSTANCE: {"vr": "UI", "Value": [result.sop_instance_uid]},
    }
    return item | ({_URL: {"vr": "UR"}} if result.status == SUCCESS else _reason(result))


def _reason(result: Stored) -> dict[str, Any]:
    return {REASON: {"vr": "US", "Value": [result.status]}}


def http_status(results: Sequence[Stored]) -> int:
    """Return the status of the whole (table 10.5.3-1).

    503 where space or database were wanting for all: they are to be sent again.
    """
    statuses = {each.status for each in results}
    if statuses == {SUCCESS}:
        return 200
    if SUCCESS in statuses:
        return 202
    return 503 if statuses == {OUT_OF_RESOURCES} else 409
