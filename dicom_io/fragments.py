"""Where each frame's bytes lie in the file, found without reading the frames.

A frame is reached by its offset, so that the last frame of a cine costs as much as the first.
"""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from pydicom import Dataset
from pydicom.uid import UID

from .errors import FrameError
from .findings import Reason
from .pixel_format import MAX_FRAME_BYTES, PixelFormat

_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM = (0xFFFE, 0xE000)
_UNDEFINED = 0xFFFFFFFF
_MAX_FRAGMENTS = 200_000  # an hour of frames at 50 Hz; guards against millions of empty items
_STARTS = (b"\xff\xd8", b"\xff\x4f")  # SOI of JPEG and JPEG-LS; SOC of JPEG 2000


@dataclass(frozen=True)
class Span:
    """A run of bytes of the file."""

    offset: int  # from the start of the file
    length: int


Fragments = tuple[Span, ...]  # the pieces of one frame, in order


@dataclass(frozen=True)
class PixelLayout:
    """The pixel data element of a file."""

    frames: tuple[Fragments, ...]  # one entry per frame
    vr: str  # "OB" or "OW": decides how 8-bit samples lie in a big endian file
    full_resolution: bool  # native data tagged 4:2:2 that holds three samples per pixel


def read_frame(file: BinaryIO, fragments: Fragments) -> bytes:
    """Return the bytes of one frame, which are never more than its pixels may be."""
    if sum(span.length for span in fragments) > MAX_FRAME_BYTES:
        raise FrameError(
            Reason.TOO_LARGE, f"The bytes of one frame are over {MAX_FRAME_BYTES >> 20} MiB."
        )
    parts = []
    for span in fragments:
        file.seek(span.offset)
        part = file.read(span.length)
        if len(part) != span.length:
            raise FrameError(Reason.UNDECODABLE, "The pixel data ends in the middle of a frame.")
        parts.append(part)
    return b"".join(parts)


def pixel_layout(file: BinaryIO, ds: Dataset, fmt: PixelFormat, syntax: UID) -> PixelLayout:
    """Find the frames of the pixel data element that `file` is positioned at.

    Raises
    ------
    FrameError
        NO_IMAGE without pixel data; UNDECODABLE where it does not hold the frames it should.
    """
    end = os.fstat(file.fileno()).st_size
    vr, length = _element(file, syntax)
    start = file.tell()
    if not syntax.is_encapsulated:
        return _native(start, length, end, fmt, vr)
    if length != _UNDEFINED:
        raise FrameError(Reason.UNDECODABLE, "Compressed pixel data is not encapsulated.")
    return PixelLayout(_encapsulated(file, ds, fmt.frames, end), vr, full_resolution=False)


def _element(file: BinaryIO, syntax: UID) -> tuple[str, int]:
    order = "<" if syntax.is_little_endian else ">"
    head = file.read(8)
    if len(head) < 8:
        raise FrameError(Reason.NO_IMAGE, "The object holds no pixel data.")
    group, element = struct.unpack(order + "HH", head[:4])
    if (group, element) != _PIXEL_DATA:
        reason = Reason.UNDECODABLE if group == _PIXEL_DATA[0] else Reason.NO_IMAGE
        raise FrameError(reason, "The object holds no pixel data of integers.")
    if syntax.is_implicit_VR:
        return "OW", struct.unpack(order + "I", head[4:])[0]
    tail = file.read(4)
    if len(tail) < 4:
        raise FrameError(Reason.UNDECODABLE, "The pixel data element is cut off.")
    return head[4:6].decode("latin-1"), struct.unpack(order + "I", tail)[0]


def _native(start: int, length: int, end: int, fmt: PixelFormat, vr: str) -> PixelLayout:
    if length == _UNDEFINED:
        raise FrameError(Reason.UNDECODABLE, "Uncompressed pixel data has no length.")
    if length == 0:
        raise FrameError(Reason.NO_IMAGE, "The pixel data element is empty.")
    available = min(length, end - start)
    size = fmt.native_bytes
    whole = fmt.rows * fmt.columns * fmt.samples * (fmt.allocated // 8)
    # Decompressors forget to change YBR_FULL_422 when they write three samples per pixel.
    full = whole != size and available >= whole * fmt.frames
    size = whole if full else size
    if size * fmt.frames > available:
        raise FrameError(
            Reason.UNDECODABLE, "There is less pixel data than Rows, Columns and frames need."
        )
    spans = tuple((Span(start + index * size, size),) for index in range(fmt.frames))
    return PixelLayout(spans, vr, full)


def _encapsulated(file: BinaryIO, ds: Dataset, count: int, end: int) -> tuple[Fragments, ...]:
    table, *fragments = _items(file, end) or [Span(0, 0)]
    if not fragments:
        raise FrameError(Reason.NO_IMAGE, "The encapsulated pixel data is empty.")
    if count == 1:
        return (tuple(fragments),)
    if len(fragments) == count:
        return tuple((fragment,) for fragment in fragments)
    for starts in (
        _basic_offsets(file, table, fragments),
        _extended_offsets(ds, fragments),
        _marked_starts(file, fragments),
    ):
        if len(starts) == count and starts[0] == 0:
            return _grouped(fragments, starts)
    raise FrameError(
        Reason.UNDECODABLE, "The compressed fragments do not add up to NumberOfFrames."
    )


def _items(file: BinaryIO, end: int) -> list[Span]:
    # PS3.5 A.4: items of defined length, the first is the Basic Offset Table. Encapsulated
    # syntaxes are all little endian. A missing delimiter at the end of the file is forgiven.
    spans: list[Span] = []
    while len(head := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) != _ITEM:
            break
        offset = file.tell()
        if offset + length > end or len(spans) > _MAX_FRAGMENTS:
            raise FrameError(Reason.UNDECODABLE, "The compressed pixel data is cut off or damaged.")
        spans.append(Span(offset, length))
        file.seek(length, os.SEEK_CUR)
    return spans


def _grouped(fragments: list[Span], starts: list[int]) -> tuple[Fragments, ...]:
    ends = [*starts[1:], len(fragments)]
    return tuple(tuple(fragments[a:b]) for a, b in zip(starts, ends, strict=True))


def _positions(fragments: list[Span], offsets: tuple[int, ...]) -> list[int]:
    # Offsets count from the first fragment's item tag, 8 bytes before its value.
    base = fragments[0].offset
    place = {span.offset - base: index for index, span in enumerate(fragments)}
    found = [place.get(offset, -1) for offset in offsets]
    return found if found == sorted(set(found)) and -1 not in found else []


def _basic_offsets(file: BinaryIO, table: Span, fragments: list[Span]) -> list[int]:
    if not 0 < table.length <= 4 * _MAX_FRAGMENTS:
        return []
    file.seek(table.offset)
    count = table.length // 4
    return _positions(fragments, struct.unpack(f"<{count}I", file.read(count * 4)))


def _extended_offsets(ds: Dataset, fragments: list[Span]) -> list[int]:
    data = ds.get("ExtendedOffsetTable")
    if not isinstance(data, bytes) or len(data) > 8 * _MAX_FRAGMENTS:
        return []
    count = len(data) // 8
    return _positions(fragments, struct.unpack(f"<{count}Q", data[: count * 8]))


def _marked_starts(file: BinaryIO, fragments: list[Span]) -> list[int]:
    starts = []
    for index, span in enumerate(fragments):
        file.seek(span.offset)
        if file.read(2) in _STARTS:
            starts.append(index)
    return starts
