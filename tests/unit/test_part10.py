import io
from pathlib import Path

import pydicom
import pytest

from dicom_io.errors import MalformedInstance
from dicom_io.part10 import FileMeta, Head, header, split
from tests import builders_wire as wire


def test_a_header_makes_a_file_that_pydicom_reads() -> None:
    head = header(wire.US_IMAGE, "1.2.3.4", wire.EXPLICIT, "US1")

    ds = pydicom.dcmread(io.BytesIO(head + wire.dataset()))

    assert ds.preamble == bytes(128)
    assert ds.file_meta.MediaStorageSOPClassUID == wire.US_IMAGE
    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert ds.file_meta.TransferSyntaxUID == wire.EXPLICIT
    assert ds.file_meta.SourceApplicationEntityTitle == "US1"
    assert ds.file_meta.ImplementationClassUID.is_valid
    assert ds.SOPInstanceUID == "1.2.3.4"


@pytest.mark.parametrize("source", ["", "ODD"])
def test_a_header_is_split_off_again(tmp_path: Path, source: str) -> None:
    head = header(wire.US_IMAGE, "1.2.3.44", wire.BIG, source)
    path = tmp_path / "image"
    path.write_bytes(head + wire.dataset(wire.BIG))

    assert split(path) == (FileMeta(wire.US_IMAGE, "1.2.3.44", wire.BIG), len(head))


def test_a_file_without_preamble(tmp_path: Path) -> None:
    head = header(wire.US_IMAGE, "1.2.3.4", wire.EXPLICIT)[132:]
    path = tmp_path / "image"
    path.write_bytes(head + wire.dataset())

    assert split(path) == (FileMeta(wire.US_IMAGE, "1.2.3.4", wire.EXPLICIT), len(head))


@pytest.mark.parametrize("syntax", [wire.IMPLICIT, wire.EXPLICIT])
def test_a_bare_data_set(tmp_path: Path, syntax: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(wire.dataset(syntax))

    assert split(path) == (FileMeta(wire.US_IMAGE, "1.2.3.4", syntax), 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"A letter to somebody. " * 20,
        bytes(128) + b"DICM",
        header(wire.US_IMAGE, "1.2.3.4", wire.EXPLICIT)[:-5],
        b"\x89PNG\r\n\x1a\n" + bytes(200),
    ],
)
def test_what_is_no_dicom_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "DOE_JANE.dcm"
    path.write_bytes(content)

    with pytest.raises(MalformedInstance) as caught:
        split(path)
    assert "DOE" not in str(caught.value)


def pieces(data: bytes, size: int) -> tuple[FileMeta, bytes]:
    """Give a file to `Head` in pieces; return what it says, and its data set."""
    head, found = Head(), None
    for start in range(0, len(data), size):
        if found is not None:
            return found[0], found[1] + data[start:]
        found = head.take(memoryview(data[start : start + size]))
    return found or head.end()


@pytest.mark.parametrize("size", [1, 7, 600, 1 << 20])
@pytest.mark.parametrize("length", [16, 100_000])
def test_a_file_in_pieces_is_split_like_a_whole_one(size: int, length: int) -> None:
    body = wire.dataset(pixels=bytes(length))
    head = header(wire.US_IMAGE, "1.2.3.4", wire.EXPLICIT, "US1")

    assert pieces(head + body, size) == (FileMeta(wire.US_IMAGE, "1.2.3.4", wire.EXPLICIT), body)


WHOLE = header(wire.US_IMAGE, "1.2.3.4", wire.EXPLICIT)
MARKED = bytes(128) + b"DICM"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a DICOM file"),
        (b"A letter to somebody. " * 200, "not a DICOM file"),
        (WHOLE[132:] + wire.dataset(), "not a DICOM file"),  # as a file it would be read
        (WHOLE, "holds no data set"),
        (WHOLE[:-5], "holds no data set"),
        (MARKED + wire.dataset(), "lacks SOP class"),
        (header(wire.US_IMAGE, "../x", wire.EXPLICIT) + wire.dataset(), "lacks SOP class"),
        (MARKED + wire.element(0x00020100, b"OB", b"", length=1 << 30), "does not end"),
        (MARKED + wire.element(0x00020102, b"OB", b"x" * 50) * 2000, "does not end"),
    ],
)
@pytest.mark.parametrize("size", [97, 1 << 20])
def test_pieces_that_are_no_dicom_file(content: bytes, words: str, size: int) -> None:
    with pytest.raises(MalformedInstance, match=words):
        pieces(content, size)
