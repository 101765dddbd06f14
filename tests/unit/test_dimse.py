import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dsutils import decode as pynetdicom_decode

from dicom_io import dimse
from tests import builders_wire as wire


def test_a_store_request() -> None:
    data = wire.command(
        0x0001, message_id=513, sop_class=wire.US_IMAGE, instance="1.2.3", has_data_set=True
    )

    assert dimse.decode(data) == dimse.Command(0x0001, 513, True, wire.US_IMAGE, "1.2.3", None)


def test_an_event_report_request() -> None:
    data = wire.command(0x0100, sop_class=wire.COMMITMENT, instance="1.2", event_type=2)

    assert dimse.decode(data) == dimse.Command(0x0100, 7, False, wire.COMMITMENT, "1.2", 2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\0",
        wire.command(None),
        wire.command(0x0030)[:-1],
        struct.pack("<HHLH", 8, 0x100, 2, 0x30) + wire.command(0x0030),
        struct.pack("<HHL", 0, 0x100, 0xFFFFFFFF),
    ],
)
def test_what_is_no_command_set(data: bytes) -> None:
    assert dimse.decode(data) is None


@given(st.binary(max_size=200))
def test_random_bytes_never_raise(data: bytes) -> None:
    dimse.decode(data)


def test_an_answer_is_what_another_implementation_reads() -> None:
    request = dimse.Command(0x0001, 513, True, wire.US_IMAGE, "1.2.3", None)

    ds = pynetdicom_decode(io.BytesIO(dimse.response(request, 0xA700)), True, True)

    assert ds.CommandField == 0x8001
    assert ds.MessageIDBeingRespondedTo == 513
    assert ds.CommandDataSetType == 0x0101
    assert ds.Status == 0xA700
    assert ds.AffectedSOPClassUID == wire.US_IMAGE
    assert ds.AffectedSOPInstanceUID == "1.2.3"
    assert ds.CommandGroupLength == len(dimse.response(request, 0)) - 12


def test_an_action_request_names_what_it_requests() -> None:
    def ui(number: int, text: str) -> bytes:
        value = text.encode() + b"\0" * (len(text) % 2)
        return struct.pack("<HHL", 0, number, len(value)) + value

    data = wire.command(0x0130, sop_class="", has_data_set=True)
    data += ui(0x0003, wire.COMMITMENT) + ui(0x1001, "1.2.3")
    data += struct.pack("<HHLH", 0, 0x1008, 2, 1)

    found = dimse.decode(data)

    assert found == dimse.Command(0x0130, 7, True, wire.COMMITMENT, "1.2.3", None, 1)
    ds = pynetdicom_decode(io.BytesIO(dimse.response(found, 0)), True, True)
    assert (ds.CommandField, ds.ActionTypeID, ds.Status) == (0x8130, 1, 0)
    assert (ds.AffectedSOPClassUID, ds.AffectedSOPInstanceUID) == (wire.COMMITMENT, "1.2.3")


def test_an_event_report_is_what_another_implementation_reads() -> None:
    data = dimse.event_report(9, wire.COMMITMENT, "1.2.3", 2)

    ds = pynetdicom_decode(io.BytesIO(data), True, True)

    assert (ds.CommandField, ds.MessageID, ds.EventTypeID) == (0x0100, 9, 2)
    assert (ds.AffectedSOPClassUID, ds.AffectedSOPInstanceUID) == (wire.COMMITMENT, "1.2.3")
    assert ds.CommandDataSetType != 0x0101
    assert ds.CommandGroupLength == len(data) - 12


def test_an_answer_is_told_by_what_it_answers() -> None:
    request = dimse.Command(0x0100, 9, True, wire.COMMITMENT, "1.2.3", 2)

    found = dimse.decode(dimse.response(request, 0x0110))

    assert found is not None
    assert (found.field, found.responded_to, found.status) == (0x8100, 9, 0x0110)
