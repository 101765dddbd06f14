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
    import io

    request = dimse.Command(0x0001, 513, True, wire.US_IMAGE, "1.2.3", None)

    ds = pynetdicom_decode(io.BytesIO(dimse.response(request, 0xA700)), True, True)

    assert ds.CommandField == 0x8001
    assert ds.MessageIDBeingRespondedTo == 513
    assert ds.CommandDataSetType == 0x0101
    assert ds.Status == 0xA700
    assert ds.AffectedSOPClassUID == wire.US_IMAGE
    assert ds.AffectedSOPInstanceUID == "1.2.3"
    assert ds.CommandGroupLength == len(dimse.response(request, 0)) - 12
