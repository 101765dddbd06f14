"""Bodies of several parts, whole and broken, in pieces of any length."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_io.errors import MultipartError
from dicom_io.multipart import Begin, End, MultipartReader, boundary

MARK = "a-mark"
HEAD = b"Content-Type: application/dicom\r\n\r\n"
ONE, TWO = b"\r\n--a-mar\r\nk\r\n--", b"\x00" * 300 + b"\r\n\r\n--a-mark"[:-1]
BODY = b"".join(
    (
        b"said before\r\n--a-mark \t\r\nCONTENT-TYPE:  Application/DICOM;\r\n transfer-syntax=*",
        b"\r\nX: y\r\n\r\n" + ONE + b"\r\n--a-mark\r\n\r\n" + TWO,
        b"\r\n--a-mark\r\n" + HEAD + b"\r\n--a-mark--\r\nsaid after",
    )
)
PARTS = [("application/dicom", ONE), ("", TWO), ("application/dicom", b"")]


def read(pieces: list[bytes]) -> tuple[list[tuple[str, bytes]], bool]:
    """Return the parts of a body, media type and bytes, and whether it has come to its end."""
    reader, parts, whole = MultipartReader(MARK), [], []
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, Begin):
                parts.append((event.media_type, b""))
            elif isinstance(event, End):
                whole.append(parts[-1])
            else:
                parts[-1] = (parts[-1][0], parts[-1][1] + bytes(event))
    return whole, reader.closed


@given(st.lists(st.integers(0, len(BODY))))
def test_parts_are_the_same_however_they_come(cuts: list[int]) -> None:
    edges = sorted({0, len(BODY), *cuts})
    assert read([BODY[start:end] for start, end in pairwise(edges)]) == (PARTS, True)


def test_byte_by_byte() -> None:
    assert read([bytes((each,)) for each in BODY]) == (PARTS, True)


@pytest.mark.parametrize("cut", [10, 60, 110, 150, len(BODY) - 15])
def test_a_body_that_is_cut_short_is_not_at_its_end(cut: int) -> None:
    whole, closed = read([BODY[:cut]])
    assert not closed
    assert whole == PARTS[: len(whole)]


BEGUN = b"--a-mark\r\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"x" * 70_000, "before the first boundary"),
        (BEGUN + HEAD + b"\r\n--a-mark--" + b"x" * 70_000, "after the last boundary"),
        (BEGUN + b"X" * 9000, "the header of a part does not end"),
        (BEGUN + b"X: " + b"y" * 9000 + b"\r\n\r\n", "the header of a part does not end"),
        (BEGUN + b"\r\n".join([b"X: y"] * 3000), "the header of a part does not end"),
        (BEGUN + b"no header\r\n\r\n", "a line that is none"),
        (BEGUN + HEAD + b"z\r\n--a-mark-longer\r\n", "goes on where its line must end"),
        (BEGUN + HEAD + b"z\r\n--a-mark" + b" " * 300, "goes on where its line must end"),
    ],
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_what_is_no_such_body_is_said_in_words(body: bytes, words: str, size: int) -> None:
    with pytest.raises(MultipartError, match=words):
        read([body[start : start + size] for start in range(0, len(body), size)])


def test_no_part_is_held() -> None:
    reader = MultipartReader(MARK)
    list(reader.feed(BEGUN + HEAD))
    (piece,) = reader.feed(bytes(1 << 20))
    assert isinstance(piece, memoryview)
    assert len(piece) > (1 << 20) - 100


@pytest.mark.parametrize(
    ("content_type", "found"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', "abc"),
        (
            f'multipart/related; type="application/dicom"; boundary={"u" * 73}',
            "u" * 73,
        ),  # Orthanc's
        ("Multipart/Related;type=application/dicom;boundary=abc", "abc"),
        ('multipart/related; boundary="a b=c"; type="Application/DICOM"', "a b=c"),
        ('multipart/related; type="application/dicom+xml"; boundary=abc', None),
        ("multipart/related; boundary=abc", None),
        ("multipart/form-data; type=application/dicom; boundary=abc", None),
        ("application/dicom", None),
        ("", None),
    ],
)
def test_the_boundary_is_that_of_the_media_type(content_type: str, found: str | None) -> None:
    assert boundary(content_type) == found


@pytest.mark.parametrize(
    "named",
    [
        "",
        "boundary=",
        f"boundary={'x' * 201}",
        'boundary="\xe4"',
        "boundary*=a; boundary*0=b",
        "boundary*=idna''%ff",
    ],
)
def test_a_boundary_that_is_none(named: str) -> None:
    with pytest.raises(MultipartError, match="no boundary"):
        boundary(f'multipart/related; type="application/dicom"; {named}')
