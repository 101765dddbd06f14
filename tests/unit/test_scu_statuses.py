import pytest

from dicom_io.scu import Outcome, classify


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Outcome.STORED),
        (0x0111, Outcome.WARNING),
        (0xB000, Outcome.WARNING),
        (0xB006, Outcome.WARNING),
        (0xB007, Outcome.WARNING),
        (0xA700, Outcome.TRANSIENT),
        (0xA7FF, Outcome.TRANSIENT),
        (0x0110, Outcome.TRANSIENT),
        (0xA900, Outcome.PERMANENT),
        (0xC000, Outcome.PERMANENT),
        (0xC211, Outcome.PERMANENT),
        (0x0122, Outcome.UNSUPPORTED),
        (0x0124, Outcome.PERMANENT),
        (0xD000, Outcome.PERMANENT),
    ],
)
def test_statuses_are_read(status: int, outcome: Outcome) -> None:
    assert classify(status)[0] == outcome


def test_the_detail_names_the_status() -> None:
    assert "0xA700" in classify(0xA700)[1]
