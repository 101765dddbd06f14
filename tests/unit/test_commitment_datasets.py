"""Data sets of storage commitment: written to be read by others, read with distrust."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_io import commitment
from dicom_io.commitment import (
    Reference,
    Report,
    Request,
    encoded,
    event_type,
    new_transaction_uid,
    read_report,
    read_request,
    reason_words,
    report_dataset,
    request_dataset,
)
from dicom_io.errors import CommitmentRefused
from tests import builders_wire as wire

A, B = Reference(wire.US_IMAGE, "1.2.3.4"), Reference("1.2.840.10008.5.1.4.1.1.66.4", "1.2.3.5")
SYNTAXES = [wire.IMPLICIT, wire.EXPLICIT]
TRANSACTION, REFERENCED, FAILED, REASON = 0x00081195, 0x00081199, 0x00081198, 0x00081197


def item(reference: Reference, syntax: str, reason: int | None = None) -> bytes:
    """One item by hand."""
    content = wire.uid(0x00081150, reference.sop_class_uid, syntax)
    content += wire.uid(0x00081155, reference.sop_instance_uid, syntax)
    content += wire.short(REASON, reason, syntax) if reason is not None else b""
    return wire.item(content, syntax)


def sequence(tag: int, syntax: str, *items: bytes, undefined: bool = False) -> bytes:
    if undefined:
        data = b"".join(items) + wire.delimiter(0xE0DD, syntax)
        return wire.element(tag, b"SQ", data, syntax, wire.UNDEFINED)
    return wire.element(tag, b"SQ", b"".join(items), syntax)


def by_hand(syntax: str, *, undefined: bool = False) -> bytes:
    """Return a report of one committed and one failed instance."""
    return (
        wire.uid(TRANSACTION, "1.2.9", syntax)
        + sequence(FAILED, syntax, item(B, syntax, 0x0112), undefined=undefined)
        + sequence(REFERENCED, syntax, item(A, syntax), undefined=undefined)
    )


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_request_is_what_the_standard_asks_for(syntax: str) -> None:
    data = encoded(request_dataset(Request("1.2.9", (A, B))), syntax)
    items = (item(A, syntax), item(B, syntax))
    assert data == wire.uid(TRANSACTION, "1.2.9", syntax) + sequence(REFERENCED, syntax, *items)
    assert read_request(1, data, syntax) == Request("1.2.9", (A, B))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_a_report_is_read_in_every_form(syntax: str, undefined: bool) -> None:
    found = read_report(2, by_hand(syntax, undefined=undefined), syntax)
    assert found == Report("1.2.9", (A,), ((B, 0x0112),))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (Report("1.2.9", (A, B), ()), 1),
        (Report("1.2.9", (A,), ((B, 0x0112),)), 2),
        (Report("1.2.9", (), ((A, 0x0110), (B, 0x0119))), 2),
    ],
)
def test_a_report_comes_back_as_it_was_written(syntax: str, report: Report, kind: int) -> None:
    assert event_type(report) == kind
    ds = report_dataset(report)
    assert ("ReferencedSOPSequence" in ds) is bool(report.committed)
    assert ("FailedSOPSequence" in ds) is bool(report.failed)
    assert read_report(kind, encoded(ds, syntax), syntax) == report


def test_what_failed_is_not_committed_whatever_the_event_is_called() -> None:
    syntax = wire.EXPLICIT
    both = (
        wire.uid(TRANSACTION, "1.2.9")
        + sequence(FAILED, syntax, item(A, syntax, 0x0110))
        + sequence(REFERENCED, syntax, item(A, syntax), item(B, syntax))
    )
    assert read_report(1, both, syntax) == Report("1.2.9", (B,), ((A, 0x0110),))


def test_a_failure_without_a_reason_is_a_failure() -> None:
    syntax = wire.EXPLICIT
    data = wire.uid(TRANSACTION, "1.2.9") + sequence(FAILED, syntax, item(A, syntax))
    assert read_report(2, data, syntax).failed == ((A, 0),)


def test_items_that_name_no_uid_are_passed_over() -> None:
    syntax = wire.EXPLICIT
    odd = Reference(wire.US_IMAGE, "../../x")
    data = wire.uid(TRANSACTION, "1.2.9")
    data += sequence(REFERENCED, syntax, wire.item(b""), item(odd, syntax), item(B, syntax))
    assert read_report(1, data, syntax).committed == (B,)


NO_SEQUENCE = wire.element(REFERENCED, b"LO", b"nothing ")
NO_UID = wire.uid(TRANSACTION, "Doe^Jane")


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        (3, by_hand(wire.EXPLICIT), 0x0113),
        (0, by_hand(wire.EXPLICIT), 0x0113),
        (1, b"", 0x0115),
        (1, b"\xff" * 40, 0x0115),
        (1, by_hand(wire.EXPLICIT)[:-3], 0x0115),
        (1, by_hand(wire.IMPLICIT), 0x0115),
        (1, NO_UID + sequence(REFERENCED, wire.EXPLICIT), 0x0115),
        (1, wire.uid(TRANSACTION, "1.2.9") + NO_SEQUENCE, 0x0115),
        (1, wire.uid(TRANSACTION, "1.2.9") + wire.nested(400), 0x0115),
    ],
)
def test_what_is_no_report_has_its_status(kind: int, data: bytes, status: int) -> None:
    with pytest.raises(CommitmentRefused) as caught:
        read_report(kind, data, wire.EXPLICIT)
    assert caught.value.status == status
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        (2, by_hand(wire.EXPLICIT), 0x0123),
        (1, wire.uid(TRANSACTION, "1.2.9"), 0x0115),
        (1, sequence(REFERENCED, wire.EXPLICIT, item(A, wire.EXPLICIT)), 0x0115),
        (1, b"\0", 0x0115),
    ],
)
def test_what_is_no_request_has_its_status(kind: int, data: bytes, status: int) -> None:
    with pytest.raises(CommitmentRefused) as caught:
        read_request(kind, data, wire.EXPLICIT)
    assert caught.value.status == status


@given(
    at=st.integers(0, len(by_hand(wire.EXPLICIT)) - 1),
    to=st.binary(min_size=0, max_size=8),
    syntax=st.sampled_from(SYNTAXES),
    undefined=st.booleans(),
)
def test_damaged_bytes_raise_nothing_else(at: int, to: bytes, syntax: str, undefined: bool) -> None:
    data = by_hand(syntax, undefined=undefined)
    damaged = data[:at] + to + data[at + max(1, len(to)) :]
    try:
        found = read_report(2, damaged, syntax)
    except CommitmentRefused:
        return
    assert set(found.committed).isdisjoint(reference for reference, _ in found.failed)


def test_a_reason_has_its_words() -> None:
    assert reason_words(0x0112) == "it does not have the object (0x0112)"
    assert reason_words(0xABCD) == "it gives no known reason (0xABCD)"


def test_transactions_are_never_repeated() -> None:
    uids = {new_transaction_uid() for _ in range(1000)}
    assert len(uids) == 1000
    assert all(len(uid) <= 64 for uid in uids)
    assert commitment.PUSH_MODEL_INSTANCE == "1.2.840.10008.1.20.1.1"
