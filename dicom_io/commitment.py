"""Storage commitment: requests and reports as values, and their data sets (PS3.4 annex J).

A request (N-ACTION) names instances that its sender would like to forget; the report
(N-EVENT-REPORT) says of each whether its receiver keeps it safe.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final
from uuid import uuid4

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from dicom_io.errors import CommitmentRefused, MalformedInstance
from dicom_io.header import DAMAGE
from dicom_io.structure import Structure
from dicom_io.syntaxes import IMPLICIT_LITTLE
from dicom_io.uids import is_uid, uid_text

PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"  # the well-known instance (PS3.4 J.3.5)
REQUEST: Final = 1  # Action Type ID (PS3.4 J.3.2.1.1)
ALL_COMMITTED: Final = 1  # Event Type ID (PS3.4 J.3.3.1.1)
FAILURES_EXIST: Final = 2

# Statuses of N-ACTION and N-EVENT-REPORT (PS3.7 annex C)
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
NO_SUCH_EVENT_TYPE: Final = 0x0113
INVALID_ARGUMENT: Final = 0x0115
NO_SUCH_CLASS: Final = 0x0118
NO_SUCH_ACTION: Final = 0x0123

# Values of Failure Reason (PS3.3 C.14.1.1)
CLASS_INSTANCE_CONFLICT: Final = 0x0119
CLASS_NOT_SUPPORTED: Final = 0x0122
DUPLICATE_TRANSACTION: Final = 0x0131
_REASONS = {
    PROCESSING_FAILURE: "it failed to process the object",
    NO_SUCH_INSTANCE: "it does not have the object",
    CLASS_INSTANCE_CONFLICT: "it has the object as one of another SOP class",
    CLASS_NOT_SUPPORTED: "it does not commit to this SOP class",
    DUPLICATE_TRANSACTION: "it takes the request for a repetition",
    0x0213: "it is out of resources",
}

_CLASS, _INSTANCE = 0x00081150, 0x00081155
_TRANSACTION, _FAILURE_REASON = 0x00081195, 0x00081197
_FAILED, _REFERENCED = 0x00081198, 0x00081199
MAX_REFERENCES: Final = 100_000  # of one data set; a study has thousands at most


@dataclass(frozen=True)
class Reference:
    """An instance that a request or a report names."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Request:
    """What an N-ACTION asks for."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class Report:
    """What an N-EVENT-REPORT says."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]  # with its Failure Reason; 0: none was given


def new_transaction_uid() -> str:
    """Return a UID that nobody can guess (PS3.5 B.2)."""
    return f"2.25.{uuid4().int}"


def reason_words(reason: int) -> str:
    """Return a Failure Reason in words."""
    return f"{_REASONS.get(reason, 'it gives no known reason')} (0x{reason:04X})"


def request_dataset(request: Request) -> Dataset:
    """Return the Action Information of a request (PS3.4 J.3.2.1.2)."""
    ds = Dataset()
    ds.TransactionUID = request.transaction_uid
    ds.ReferencedSOPSequence = [_item(reference) for reference in request.references]
    return ds


def report_dataset(report: Report) -> Dataset:
    """Return the Event Information of a report (PS3.4 J.3.3.1.2); sequences have items or go."""
    ds = Dataset()
    ds.TransactionUID = report.transaction_uid
    if report.committed:
        ds.ReferencedSOPSequence = [_item(reference) for reference in report.committed]
    if report.failed:
        ds.FailedSOPSequence = [_item(reference, reason) for reference, reason in report.failed]
    return ds


def event_type(report: Report) -> int:
    """Return the Event Type ID of a report."""
    return FAILURES_EXIST if report.failed else ALL_COMMITTED


def encoded(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    """Return the bytes of a data set in one of the two uncompressed little endian syntaxes."""
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, transfer_syntax_uid == IMPLICIT_LITTLE
    write_dataset(stream, ds)
    return bytes(stream.getvalue())


def _item(reference: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item


def read_request(action_type_id: int, data: bytes, transfer_syntax_uid: str) -> Request:
    """Read the Action Information of an N-ACTION.

    Raises
    ------
    CommitmentRefused
        It is none, or names nothing; carries the status of the answer.
    """
    if action_type_id != REQUEST:
        raise CommitmentRefused("the action is not a request to commit", NO_SUCH_ACTION)
    ds = _read(data, transfer_syntax_uid)
    references = tuple(reference for reference, _ in _references(ds, _REFERENCED))
    if not references:
        raise CommitmentRefused("the request names no instance", INVALID_ARGUMENT)
    return Request(_transaction(ds), references)


def read_report(event_type_id: int, data: bytes, transfer_syntax_uid: str) -> Report:
    """Read the Event Information of an N-EVENT-REPORT.

    What it calls failed has failed, whichever type the event has.

    Raises
    ------
    CommitmentRefused
        It is none; carries the status of the answer.
    """
    if event_type_id not in (ALL_COMMITTED, FAILURES_EXIST):
        raise CommitmentRefused("the event is not a result of a request", NO_SUCH_EVENT_TYPE)
    ds = _read(data, transfer_syntax_uid)
    failed = tuple(_references(ds, _FAILED))
    named = {reference for reference, _ in failed}
    committed = (reference for reference, _ in _references(ds, _REFERENCED))
    return Report(_transaction(ds), tuple(r for r in committed if r not in named), failed)


def _read(data: bytes, transfer_syntax_uid: str) -> Dataset:
    try:
        Structure(memoryview(data), transfer_syntax_uid).run()  # bounds lengths and nesting
        implicit = transfer_syntax_uid == IMPLICIT_LITTLE
        return read_dataset(BytesIO(data), implicit, is_little_endian=True)
    except (MalformedInstance, *DAMAGE, OSError) as error:
        raise CommitmentRefused("the data set cannot be read", INVALID_ARGUMENT) from error


def _transaction(ds: Dataset) -> str:
    uid = _uid(ds, _TRANSACTION)
    if not uid:
        raise CommitmentRefused("the data set names no transaction", INVALID_ARGUMENT)
    return uid


def _references(ds: Dataset, tag: int) -> Iterable[tuple[Reference, int]]:
    """Return the instances of a sequence, each once, with their Failure Reason or 0."""
    try:
        items = ds[tag].value if tag in ds else []
    except (*DAMAGE, OSError) as error:
        raise CommitmentRefused("a sequence cannot be read", INVALID_ARGUMENT) from error
    if not isinstance(items, Sequence | list) or len(items) > MAX_REFERENCES:
        raise CommitmentRefused("a sequence is none, or too long", INVALID_ARGUMENT)
    found: dict[Reference, int] = {}
    for item in items:
        reference = Reference(_uid(item, _CLASS), _uid(item, _INSTANCE))
        if reference.sop_instance_uid:
            found[reference] = int.from_bytes(_raw(item, _FAILURE_REASON)[:2], "little")
    return found.items()


def _uid(ds: Dataset, tag: int) -> str:
    text = uid_text(_raw(ds, tag))
    return text if is_uid(text) else ""


def _raw(ds: Dataset, tag: int) -> bytes:
    """Return a value's bytes as they came: pydicom's conversion warns of values it dislikes."""
    element: Any = ds.get_item(tag) if tag in ds else None
    value = getattr(element, "value", None)
    return value if isinstance(value, bytes) else b""
