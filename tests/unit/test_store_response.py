"""What a Store Transaction is answered with, as other programs read it."""

import pydicom
import pytest

from dicom_io.store_response import Stored, http_status, module

FINE = Stored(0, "1.2.840.10008.5.1.4.1.1.6.1", "1.2.3")
FULL = Stored(0xA700, "1.2.840.10008.5.1.4.1.1.6.1", "1.2.4")
ODD = Stored(0xC000)


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([FINE, FINE], 200),
        ([FINE, ODD], 202),
        ([FULL, FINE], 202),
        ([FULL, FULL], 503),  # time puts it right
        ([FULL, ODD], 409),
        ([ODD], 409),
    ],
)
def test_the_whole_has_the_status_of_table_10_5_3_1(results: list[Stored], status: int) -> None:
    assert http_status(results) == status


def test_pydicom_reads_the_module() -> None:
    ds = pydicom.Dataset.from_json(module([FINE, FULL, ODD]))
    assert ds.RetrieveURL == ""
    assert [item.ReferencedSOPInstanceUID for item in ds.ReferencedSOPSequence] == ["1.2.3"]
    assert [item.FailureReason for item in ds.FailedSOPSequence] == [0xA700]
    assert [item.FailureReason for item in ds.OtherFailuresSequence] == [0xC000]


def test_sequences_of_nothing_are_left_out() -> None:
    ds = pydicom.Dataset.from_json(module([FINE]))
    assert [element.keyword for element in ds] == ["RetrieveURL", "ReferencedSOPSequence"]
