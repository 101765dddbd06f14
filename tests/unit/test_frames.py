import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless

from dicom_io.codestream import codestream
from dicom_io.errors import FrameError
from dicom_io.findings import Reason
from dicom_io.frames import Image, read_header
from tests import builders
from tests.acceptance.us_dicom_expected import EXPECTED
from tests.builders_frames import (
    JPEG_BASELINE,
    coloured_picture,
    image_dataset,
    jpeg,
    jpeg_dataset,
    monochrome,
    to_ybr,
    us_dicom,
    write,
)

DECODED = sorted(name for name, expected in EXPECTED.items() if expected.decodes)


def first(name: str) -> NDArray[np.uint8]:
    return Image.open(us_dicom() / name).frame(0)


def opened(tmp_path: Path, ds: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> Image:
    return Image.open(write(tmp_path / "image.dcm", ds, syntax))


def reason_of(tmp_path: Path, ds: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> Reason:
    with pytest.raises(FrameError) as error:
        opened(tmp_path, ds, syntax).frame(0)
    return Reason(error.value.reason)


# --- real files ---------------------------------------------------------------------------------


def test_the_table_names_every_real_file():
    assert sorted(path.name for path in us_dicom().glob("*.dcm")) == sorted(EXPECTED)


@pytest.mark.parametrize("name", DECODED)
def test_every_real_file_becomes_rgb(name: str):
    image = Image.open(us_dicom() / name)
    assert image.frame_count == EXPECTED[name].frames
    frame = image.frame(image.frame_count - 1)
    assert (frame.shape, frame.dtype) == ((image.rows, image.columns, 3), np.uint8)
    assert frame.max() > 150  # a picture, not a black frame of the wrong scale


def test_jpeg_xl_is_an_unsupported_syntax():
    with pytest.raises(FrameError) as error:
        Image.open(us_dicom() / "ge_vingmed_jpegxl_27f.dcm")
    assert error.value.reason == Reason.UNSUPPORTED_SYNTAX


@pytest.mark.parametrize(
    ("one", "other", "most"),
    [
        ("nema_US1_RLE.dcm", "nema_US1_UNC_explLE.dcm", 0),
        ("nema_US1_J2KR.dcm", "nema_US1_UNC_explLE.dcm", 0),
        ("nema_US1_J2KI.dcm", "nema_US1_UNCI.dcm", 3),  # UNCI was decoded from J2KI elsewhere
        ("acme_color-pl_retiredUS.dcm", "acme_color-px_retiredUS.dcm", 0),
        ("aloka_BE_segpalette16.dcm", "aloka_implLE_segpalette16.dcm", 0),
        ("philips_cx50_OBXXXX1A_explBE.dcm", "philips_cx50_OBXXXX1A_explLE.dcm", 0),
        ("philips_cx50_OBXXXX1A_rle.dcm", "philips_cx50_OBXXXX1A_explLE.dcm", 0),
        ("philips_cx50_OBXXXX1A_rle_2frame.dcm", "philips_cx50_OBXXXX1A_2frame.dcm", 0),
        ("acme_palette_jpegls_10f.dcm", "acme_US-PAL-8-10x-echo_rle.dcm", 0),
    ],
)
def test_encodings_of_one_picture_agree(one: str, other: str, most: int):
    difference = np.abs(first(one).astype(int) - first(other).astype(int))
    assert int(difference.max()) <= most


def test_lossy_jpeg_2000_agrees_with_the_original_within_its_error():
    difference = np.abs(
        first("nema_US1_J2KI.dcm").astype(int) - first("nema_US1_UNC_explLE.dcm").astype(int)
    )
    assert difference.mean() < 6


def test_jpeg_tagged_rgb_that_is_ybr_is_grey():
    """sonoque: JFIF, chroma subsampled, yet PhotometricInterpretation says RGB."""
    frame = first("sonoque_phantom_anechoic_jpeg_rgb.dcm").astype(int)
    assert float(np.ptp(frame, axis=2).mean()) < 2


def test_colours_are_true():
    """Energy Doppler is yellow and orange: red over green over blue, never the other way round."""
    frame = first("ge_US-RGB-8-epicard_BE.dcm").astype(int)
    coloured = frame[np.ptp(frame, axis=2) > 100]
    red, green, blue = np.median(coloured, axis=0)
    assert red > green > blue + 50


# --- photometric interpretations ----------------------------------------------------------------


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_rgb_of_both_planar_configurations(tmp_path: Path, planar: int, syntax: str):
    frame = coloured_picture()
    pixels = frame if planar == 0 else np.ascontiguousarray(np.moveaxis(frame, 2, 0))
    ds = image_dataset(pixels.tobytes(), *frame.shape[:2], PlanarConfiguration=planar)
    assert np.array_equal(opened(tmp_path, ds, syntax).frame(0), frame)


def test_ybr_full_is_converted(tmp_path: Path):
    frame = coloured_picture()
    ds = image_dataset(
        to_ybr(frame).tobytes(), *frame.shape[:2], PhotometricInterpretation="YBR_FULL"
    )
    difference = opened(tmp_path, ds).frame(0).astype(int) - frame
    assert int(np.abs(difference).max()) <= 2


def test_rgb_left_tagged_as_ybr_by_a_decompressor_stays_rgb(tmp_path: Path):
    frame = coloured_picture()
    ds = image_dataset(frame.tobytes(), *frame.shape[:2], PhotometricInterpretation="YBR_FULL_422")
    assert np.array_equal(opened(tmp_path, ds).frame(0), frame)


def test_uncompressed_422_is_upsampled(tmp_path: Path):
    frame = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None], 32, axis=0)
    packed = np.full((32, 32, 4), 128, np.uint8)
    packed[..., 0], packed[..., 1] = frame[:, ::2], frame[:, 1::2]
    ds = image_dataset(packed.tobytes(), 32, 64, PhotometricInterpretation="YBR_FULL_422")
    assert np.array_equal(opened(tmp_path, ds).frame(0), np.repeat(frame[..., None], 3, axis=2))


@pytest.mark.parametrize("tag", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("stored_as", ["RGB", "YBR"])
def test_jpeg_colour_comes_from_the_stream_not_from_the_tag(
    tmp_path: Path, tag: str, stored_as: str
):
    frame = coloured_picture()
    planes = to_ybr(frame) if stored_as == "YBR" else frame
    data = jpeg(planes, transform=stored_as == "YBR")
    ds = jpeg_dataset([data], *frame.shape[:2], PhotometricInterpretation=tag)
    decoded = opened(tmp_path, ds, JPEG_BASELINE).frame(0).astype(int)
    assert np.abs(decoded - frame).mean() < 4


def test_jpeg_markers_that_lie_are_overruled_by_the_pixels(tmp_path: Path):
    """RGB components in a stream whose JFIF marker promises YCbCr."""
    frame = coloured_picture()
    ds = jpeg_dataset([jpeg(frame, transform=True)], *frame.shape[:2])
    decoded = opened(tmp_path, ds, JPEG_BASELINE).frame(0).astype(int)
    assert np.abs(decoded - frame).mean() < 4


def test_16_bit_rgb_is_scaled(tmp_path: Path):
    frame = coloured_picture()
    deep = frame.astype("<u2") << 4
    ds = image_dataset(
        deep.tobytes(), *frame.shape[:2], BitsAllocated=16, BitsStored=12, HighBit=11
    )
    assert np.array_equal(opened(tmp_path, ds).frame(0), frame)


def grey_row(values: list[int], dtype: str, **attributes: object) -> Dataset:
    return monochrome(np.array([values], dtype), **attributes)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, [0, 128, 255]),  # the range of the stored bits
        ({"PhotometricInterpretation": "MONOCHROME1"}, [255, 127, 0]),
        ({"WindowCenter": 2048, "WindowWidth": 1024}, [0, 128, 255]),
        ({"WindowCenter": 0, "WindowWidth": 0}, [0, 128, 255]),  # an impossible window
        ({"WindowCenter": 1024, "WindowWidth": 2048}, [0, 255, 255]),
        ({"RescaleSlope": 2, "RescaleIntercept": -100}, [0, 128, 255]),
    ],
)
def test_monochrome_of_12_bits(tmp_path: Path, attributes: dict[str, object], expected: list[int]):
    ds = grey_row([0, 2048, 4095], "<u2", BitsStored=12, HighBit=11, **attributes)
    frame = opened(tmp_path, ds).frame(0)
    assert frame[0, :, 0].tolist() == pytest.approx(expected, abs=1)


def test_signed_monochrome(tmp_path: Path):
    ds = grey_row([-128, 0, 127], "i1", PixelRepresentation=1)
    assert opened(tmp_path, ds).frame(0)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("stored", [[20, 10, 40, 30], [10, 20, 30, 40]])
def test_big_endian_8_bit_words_are_put_in_order(tmp_path: Path, stored: list[int]):
    """They are to be swapped, but some writers (a real file among them) do not."""
    ds = grey_row(stored, "u1")
    ds["PixelData"].VR = "OW"
    frame = opened(tmp_path, ds, ExplicitVRBigEndian).frame(0)
    assert frame[0, :, 0].tolist() == [10, 20, 30, 40]


# --- palettes -----------------------------------------------------------------------------------


def with_palette(
    pixels: NDArray[np.generic], entries: int, first_value: int, bits: int, data: bytes, kind: str
) -> Dataset:
    ds = monochrome(pixels, PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [entries, first_value, bits])
        setattr(ds, f"{kind}{colour}PaletteColorLookupTableData", data)
    return ds


@pytest.mark.parametrize(
    ("bits", "data"),
    [
        (16, np.array([0, 0x8000, 0xFF00], "<u2").tobytes()),
        (16, np.array([0, 0x80, 0xFF], "<u2").tobytes()),  # 8-bit values in 16-bit entries
        (8, bytes([0, 0x80, 0xFF, 0])),
    ],
)
def test_palette_entries_of_any_width(tmp_path: Path, bits: int, data: bytes):
    ds = with_palette(np.array([[9, 10, 11, 12, 13]], "u1"), 3, 10, bits, data, "")
    frame = opened(tmp_path, ds).frame(0)
    assert frame[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def segmented(words: list[int]) -> bytes:
    return np.array(words, "<u2").tobytes()


def test_segmented_palette_with_a_line_and_an_indirect_segment(tmp_path: Path):
    # Discrete 0; linear in 4 steps to 0x4000; then both segments, from byte 0, once more.
    words = [0, 1, 0, 1, 4, 0x4000, 2, 2, 0, 0]
    ds = with_palette(np.arange(10, dtype="u1")[None], 10, 0, 16, segmented(words), "Segmented")
    expected = [0, 16, 32, 48, 64] * 2
    assert opened(tmp_path, ds).frame(0)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    "words",
    [
        [1, 4, 9],  # a line from nowhere
        [0, 1, 0],  # too short
        [7, 1, 0],  # no such segment
        [0, 1, 0, 2, 2, 6, 0],  # an indirect segment that points to itself
    ],
)
def test_broken_segmented_palettes_are_undecodable(tmp_path: Path, words: list[int]):
    ds = with_palette(np.zeros((2, 2), "u1"), 256, 0, 16, segmented(words), "Segmented")
    assert reason_of(tmp_path, ds) == Reason.UNDECODABLE


def test_a_palette_that_asks_for_gigabytes_stops_at_its_stated_size(tmp_path: Path):
    words = [0, 1, 0, *([1, 65535, 65535] * 20_000)]
    ds = with_palette(np.zeros((2, 2), "u1"), 256, 0, 16, segmented(words), "Segmented")
    image = opened(tmp_path, ds)
    tracemalloc.start()
    image.frame(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20


# --- frames of a cine ---------------------------------------------------------------------------


def test_random_access_decodes_only_the_frame_asked_for(tmp_path: Path):
    """All frames but the last are garbage: decoding them would fail."""
    frame = coloured_picture()
    good = jpeg(to_ybr(frame), transform=True)
    image = opened(
        tmp_path,
        jpeg_dataset([b"\xff\xd8\xff\xd9"] * 299 + [good], *frame.shape[:2]),
        JPEG_BASELINE,
    )
    assert image.frame_count == 300
    assert np.abs(image.frame(299).astype(int) - frame).mean() < 4
    with pytest.raises(FrameError) as error:
        image.frame(0)
    assert error.value.reason == Reason.UNDECODABLE


def test_frames_are_made_one_by_one(tmp_path: Path):
    stack = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((3, 4, 6), np.uint8)
    ds = monochrome(stack[0], NumberOfFrames=3)
    ds.PixelData = stack.tobytes()
    image = opened(tmp_path, ds)
    assert [int(frame[0, 0, 0]) for frame in image.frames((2, 0))] == [2, 0]
    assert [int(frame[0, 0, 0]) for frame in image.frames()] == [0, 1, 2]
    with pytest.raises(FrameError) as error:
        image.frame(3)
    assert error.value.reason == Reason.NO_IMAGE


@pytest.mark.parametrize("has_bot", [True, False])
def test_frames_of_several_fragments(tmp_path: Path, has_bot: bool):
    pictures = [coloured_picture(), 255 - coloured_picture()]
    streams = [jpeg(to_ybr(picture), transform=True) for picture in pictures]
    ds = jpeg_dataset(streams, *pictures[0].shape[:2])
    ds.PixelData = encapsulate(streams, fragments_per_frame=3, has_bot=has_bot)
    image = opened(tmp_path, ds, JPEG_BASELINE)
    for index, picture in enumerate(pictures):
        assert np.abs(image.frame(index).astype(int) - picture).mean() < 5


# --- files that lie or are broken ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Rows": 0}, Reason.UNDECODABLE),
        ({"NumberOfFrames": 0}, Reason.UNDECODABLE),
        ({"NumberOfFrames": -1}, Reason.UNDECODABLE),
        ({"NumberOfFrames": 1_000_000_000}, Reason.UNDECODABLE),
        ({"BitsAllocated": 7}, Reason.UNDECODABLE),
        ({"BitsStored": 12}, Reason.UNDECODABLE),
        ({"SamplesPerPixel": 4}, Reason.UNDECODABLE),
        ({"PhotometricInterpretation": "CMYK"}, Reason.UNDECODABLE),
        ({"Rows": 65535, "Columns": 65535}, Reason.TOO_LARGE),
        ({"Columns": 640}, Reason.UNDECODABLE),  # fewer bytes than that needs
    ],
)
def test_headers_that_lie(tmp_path: Path, attributes: dict[str, object], reason: Reason):
    frame = coloured_picture()
    ds = image_dataset(frame.tobytes(), *frame.shape[:2], **attributes)
    path = write(tmp_path / "image.dcm", ds)
    tracemalloc.start()
    with pytest.raises(FrameError) as error:
        Image.open(path).frame(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.value.reason == reason
    assert peak < 2**20


def measured(path: Path) -> tuple[Image, int]:
    """Open an image; return it and the most memory that took, in bytes."""
    tracemalloc.start()
    try:
        return Image.open(path), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_private_volume_before_the_pixels_is_stepped_over(tmp_path: Path):
    """Some scanners put hundreds of mebibytes there; the image is read without them."""
    frame = coloured_picture()
    ds = image_dataset(frame.tobytes(), *frame.shape[:2])
    ds.add_new(0x00090010, "LO", "TESTS")
    ds.add_new(0x00091001, "OB", bytes(80 * 2**20))
    image, peak = measured(write(tmp_path / "image.dcm", ds))
    assert peak < 2**22
    assert (image.frame(0) == frame).all()
    assert 0x00091001 not in image.header


def test_a_header_that_never_ends_is_not_read(tmp_path: Path):
    """In a sequence of undefined length nothing can be stepped over."""
    frame = coloured_picture()
    ds = image_dataset(frame.tobytes(), *frame.shape[:2])
    inner = Dataset()
    inner.add_new(0x00090010, "LO", "TESTS")
    inner.add_new(0x00091001, "OB", bytes(80 * 2**20))
    ds.ReferencedImageSequence = [inner]
    ds["ReferencedImageSequence"].is_undefined_length = True
    path = write(tmp_path / "image.dcm", ds)
    tracemalloc.start()
    with pytest.raises(FrameError, match="64 MiB") as error:
        Image.open(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.value.reason == Reason.TOO_LARGE
    assert peak < 2**22


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path):
    data = jpeg(np.zeros((3000, 3000, 3), np.uint8), transform=True)
    image = opened(tmp_path, jpeg_dataset([data], 48, 64), JPEG_BASELINE)
    tracemalloc.start()
    with pytest.raises(FrameError) as error:
        image.frame(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.value.reason == Reason.UNDECODABLE
    assert peak < 4 * 2**20  # decoded it would take 27 MB


def without_app0(data: bytes) -> bytes:
    length = int.from_bytes(data[4:6], "big")
    assert data[2:4] == b"\xff\xe0"
    return data[:2] + data[4 + length :]


def test_a_codestream_longer_than_any_picture_is_not_read(tmp_path: Path):
    data = jpeg(coloured_picture(), transform=True) + bytes(70 * 2**20)
    image = opened(tmp_path, jpeg_dataset([data], 48, 64), JPEG_BASELINE)
    tracemalloc.start()
    with pytest.raises(FrameError, match="64 MiB") as error:
        image.frame(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.value.reason == Reason.TOO_LARGE
    assert peak < 2**20


def test_what_a_jpeg_says_of_its_colours():
    """JFIF, Adobe marker, component ids and subsampled chroma, each on its own."""
    plain = jpeg(coloured_picture(), transform=True)
    halved = jpeg(coloured_picture(), transform=True, subsampling=2)
    by_markers = {
        "jfif": plain,
        "adobe": jpeg(coloured_picture(), transform=False),
        "nothing": without_app0(plain),
        "subsampled": without_app0(halved),
    }
    said = {name: codestream(data).colour for name, data in by_markers.items()}
    assert said == {"jfif": "YBR", "adobe": "RGB", "nothing": None, "subsampled": "YBR"}


def test_a_damaged_codestream_is_undecodable(tmp_path: Path):
    data = jpeg(coloured_picture(), transform=True)[:200]
    assert reason_of(tmp_path, jpeg_dataset([data], 48, 64), JPEG_BASELINE) == Reason.UNDECODABLE


@pytest.mark.parametrize("data", [b"\0" * 64, b"\xff\xd8\xff\xdb\xff\xff" + bytes(600)])
def test_a_frame_without_a_frame_header_reaches_no_decoder(tmp_path: Path, data: bytes):
    """GDCM ends the process at the last of these."""
    assert reason_of(tmp_path, jpeg_dataset([data], 48, 64), JPEG_BASELINE) == Reason.UNDECODABLE


def test_a_jp2_file_is_checked_as_the_codestream_within(tmp_path: Path):
    path = write(tmp_path / "image.dcm", image_dataset(coloured_picture().tobytes(), 48, 64))
    ds = dcmread(path)
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    stream = get_frame(ds.PixelData, 0, number_of_frames=1)
    boxed = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0jp2c" + stream
    assert codestream(boxed) == codestream(stream)
    assert codestream(stream).rows == 48


def test_fewer_fragments_than_frames_are_undecodable(tmp_path: Path):
    data = jpeg(coloured_picture(), transform=True)
    ds = jpeg_dataset([data, data], 48, 64, NumberOfFrames=3)
    assert reason_of(tmp_path, ds, JPEG_BASELINE) == Reason.UNDECODABLE


@pytest.mark.parametrize(
    "syntax",
    [
        "1.2.840.10008.1.2.4.102",  # MPEG-4
        "1.2.840.10008.1.2.4.107",  # HEVC
        "1.2.840.10008.1.2.4.110",  # JPEG XL
        "1.2.840.10008.1.2.4.94",  # JPIP
        "1.2.3.4.5",
    ],
)
def test_syntaxes_without_a_decoder(tmp_path: Path, syntax: str):
    assert reason_of(tmp_path, jpeg_dataset([b"\0" * 64], 48, 64), syntax) == (
        Reason.UNSUPPORTED_SYNTAX
    )


def test_a_malformed_syntax_is_unsupported_and_not_quoted(tmp_path: Path):
    path = write(tmp_path / "image.dcm", image_dataset(bytes(12), 2, 2))
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.Canary^Jane.1.2\0"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FrameError) as error:
            Image.open(path)
    assert error.value.reason == Reason.UNSUPPORTED_SYNTAX
    assert "Canary" not in str(error.value)


def test_deflated_data_sets_are_refused_unread(tmp_path: Path):
    ds = image_dataset(b"\0" * 12, 2, 2)
    assert reason_of(tmp_path, ds, "1.2.840.10008.1.2.1.99") == Reason.UNSUPPORTED_SYNTAX


def test_an_object_without_pixels_is_no_image(tmp_path: Path):
    ds = image_dataset(b"", 2, 2)
    del ds.PixelData
    assert reason_of(tmp_path, ds) == Reason.NO_IMAGE


def test_an_image_that_group_0002_alone_names_has_that_name(tmp_path: Path):
    """Some scanners leave SOPInstanceUID out of the data set; C-STORE named it."""
    path = builders.nameless(tmp_path / "1.dcm", builders.Picture(sop="1.2.3.7"))
    assert "SOPInstanceUID" not in read_header(path)
    assert Image.open(path).sop_instance_uid == "1.2.3.7"


@pytest.mark.parametrize("content", [b"", b"not a DICOM file\n" * 40])
def test_other_files_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "note.txt"
    path.write_bytes(content)
    with pytest.raises(FrameError) as error:
        read_header(path)
    assert error.value.reason == Reason.UNDECODABLE


def test_a_truncated_file_is_undecodable(tmp_path: Path):
    frame = coloured_picture()
    path = write(tmp_path / "image.dcm", image_dataset(frame.tobytes(), *frame.shape[:2]))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FrameError) as error:
        Image.open(path)
    assert error.value.reason == Reason.UNDECODABLE


def test_no_value_of_the_header_is_warned_about(tmp_path: Path):
    """Warnings of pydicom quote the value: here none may get out."""
    ds = image_dataset(b"\0" * 12, 2, 2)
    ds.add_new("StudyDate", "LO", "Canary^Jane 1970")
    ds["StudyDate"].VR = "LO"
    path = write(tmp_path / "image.dcm", ds, "1.2.840.10008.1.2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(path).frame(0)
    assert [str(warning.message) for warning in caught] == []
