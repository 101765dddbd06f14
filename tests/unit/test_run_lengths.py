"""Run-length coded frames: decoded fast, and as pydicom decodes them."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydicom.pixels.encoders.native import _encode_segment
from pydicom.uid import RLELossless

from dicom_io.decode import decoder_for, samples
from dicom_io.errors import FrameError
from dicom_io.findings import Reason
from dicom_io.pixel_format import PixelFormat

DECODER = decoder_for(RLELossless)


def fmt(rows: int, columns: int, count: int = 1, bits: int = 8) -> PixelFormat:
    """Return checked attributes of a frame."""
    photometric = "RGB" if count == 3 else "MONOCHROME2"
    return PixelFormat(rows, columns, count, photometric, 0, bits, bits, bits - 1, False, 1)


def coded(*segments: bytes) -> bytes:
    """Return a frame of segments, each of an even length, behind its table (PS3.5 G.5)."""
    starts = np.cumsum([64, *map(len, segments)])[:-1]
    return struct.pack("<16L", len(segments), *starts, *[0] * (15 - len(segments))) + b"".join(
        segments
    )


def decoded(data: bytes, of: PixelFormat) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the samples of a frame."""
    return samples(data, of, DECODER, "OB")[0]


SIDES = st.integers(1, 40)
FEW = st.sampled_from([0, 0, 0, 7, 255])  # runs, and what lies between them


@given(st.data(), SIDES, SIDES, st.sampled_from([1, 3]))
def test_frames_of_bytes_come_back(
    data: st.DataObject, rows: int, columns: int, count: int
) -> None:
    picture = data.draw(arrays(np.uint8, (count, rows, columns), elements=FEW))
    frame = coded(*(bytes(_encode_segment(plane.tobytes(), columns)) for plane in picture))
    expected = picture[0] if count == 1 else np.moveaxis(picture, 0, 2)
    np.testing.assert_array_equal(decoded(frame, fmt(rows, columns, count)), expected)


def test_a_run_may_reach_into_the_next_row() -> None:
    """The standard forbids it; writers do it."""
    frame = coded(bytes([257 - 12, 9, 128, 3, 1, 2, 3, 4]))  # a no-operation between
    np.testing.assert_array_equal(
        decoded(frame, fmt(4, 4)), [[9] * 4, [9] * 4, [9] * 4, [1, 2, 3, 4]]
    )


def test_two_bytes_a_sample_come_back() -> None:
    frame = coded(bytes([257 - 4, 1]), bytes([257 - 4, 2]))  # the higher byte first
    np.testing.assert_array_equal(decoded(frame, fmt(2, 2, bits=16)), [[258, 258], [258, 258]])


@pytest.mark.parametrize(
    "segments",
    [(), (b"",), (bytes([257 - 3, 9]),), (bytes([15, 1, 2, 3]),), (bytes([257 - 16, 9]),) * 2],
    ids=["none", "empty", "too short", "cut off", "too many"],
)
def test_damage_is_said(segments: tuple[bytes, ...]) -> None:
    with pytest.raises(FrameError) as caught:
        decoded(coded(*segments), fmt(4, 4))
    assert caught.value.reason == Reason.UNDECODABLE


def test_what_follows_the_last_pixel_is_nothing() -> None:
    frame = coded(bytes([257 - 16, 9, 257 - 4, 1]))
    assert (decoded(frame, fmt(4, 4)) == 9).all()
