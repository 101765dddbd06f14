"""Bodies of STOW-RS: the first byte is the length of the pieces, the rest is the body."""

from collections.abc import Iterator
from pathlib import Path

from dicom_io.errors import MalformedInstance, MultipartError
from dicom_io.multipart import Begin, End, MultipartReader
from dicom_io.part10 import FileMeta, Head
from tests import stow

Said = tuple[FileMeta, int] | str  # what a file says of itself and where its data set begins
NO_FILE = "no DICOM file"  # which rule it breaks first depends on how much of it was seen


def check(data: bytes) -> None:
    """Read as a whole and in pieces, and hold the two against each other."""
    if not data:
        return
    size, body = data[0] + 1, data[1:]
    whole, pieces = _read(body, len(body) + 1), _read(body, size)
    assert whole == pieces, f"{whole} as a whole, {pieces} in pieces of {size}"


def _read(body: bytes, size: int) -> list[tuple[str, bytes, Said]]:
    """Return the parts that came to their end: media type, bytes, and what they say as files."""
    reader, parts = MultipartReader(stow.MARK), []
    media_type, data, head = "", bytearray(), Head()
    said: Said | None = None
    try:
        for start in range(0, len(body), size):
            for event in reader.feed(body[start : start + size]):
                if isinstance(event, Begin):
                    media_type, data, head, said = event.media_type, bytearray(), Head(), None
                elif isinstance(event, End):
                    said = said or _said(head, None, len(data)) or NO_FILE
                    parts.append((media_type, bytes(data), said))
                else:
                    data += event
                    said = said or _said(head, event, len(data))
    except MultipartError:
        pass
    return parts


def _said(head: Head, piece: memoryview | None, count: int) -> Said | None:
    """Give a file's next piece to `head`, or its end; `count` is the length of all so far."""
    try:
        found = head.end() if piece is None else head.take(piece)
    except MalformedInstance:
        return NO_FILE
    return None if found is None else (found[0], count - len(found[1]))


def seeds() -> Iterator[bytes]:
    """Yield bodies of one file and of several, whole and cut short."""
    files = [stow.file(), stow.file("1.2.3.5", pixels=bytes(3000))]
    for size in (0, 9, 255):
        mark = bytes((size,))
        yield mark + stow.body(files[:1])
        yield mark + stow.body(files)
        yield mark + stow.body(files)[:-9]
        yield mark + stow.body([b"", b"\r\n--", files[0][:200]])


def seed_of(file: Path) -> bytes | None:
    """Return a small real file in a body; None where it is not small."""
    return b"\xff" + stow.body([file.read_bytes()]) if file.stat().st_size < 60_000 else None
