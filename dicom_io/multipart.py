"""A body of several parts, read as it comes (RFC 2046 5.1; PS3.18 8.6.1.2).

No part is held: what is kept is the longest boundary, or the head of a part.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from enum import Enum, auto

from dicom_io.errors import MultipartError

_LONGEST_HEAD = 8192  # bytes of a part's header; real ones have a hundred
_LONGEST_EDGE = 65_536  # bytes before the first boundary and after the last, which nobody reads
_LONGEST_PADDING = 256  # blanks after a boundary
# RFC 2046 5.1.1 has 70 characters at most, and fewer of them; Orthanc's plugin sends 73
_BOUNDARY = re.compile(r"[\x20-\x7e]{0,199}[\x21-\x7e]")


@dataclass(frozen=True)
class Begin:
    """A part begins."""

    media_type: str  # in lower case, without its parameters; "": it does not say


@dataclass(frozen=True)
class End:
    """The part is whole."""


class _Step(Enum):
    """Where a body is."""

    PREAMBLE = auto()
    BOUNDARY = auto()  # was read; what follows it tells what comes
    HEAD = auto()
    PART = auto()
    EPILOGUE = auto()


def boundary(content_type: str) -> str | None:
    """Return the boundary of a body of DICOM files; None: the body is something else.

    Raises
    ------
    MultipartError
        It names no boundary, or one of more than 200 characters.
    """
    message = Message()
    message["Content-Type"] = content_type
    try:
        kind, found = message.get_param("type"), message.get_boundary("")
    except (TypeError, ValueError):  # parameters in parts or other character sets (RFC 2231)
        kind, found = "application/dicom", ""
    if message.get_content_type() != "multipart/related" or not (
        isinstance(kind, str) and kind.lower() == "application/dicom"
    ):
        return None
    if not _BOUNDARY.fullmatch(found):
        raise MultipartError("Content-Type names no boundary, or one of more than 200 characters")
    return found


class MultipartReader:
    """Takes a body in pieces of any length, and tells of its parts.

    Parameters
    ----------
    boundary
        As the request names it.
    """

    def __init__(self, boundary: str) -> None:
        self._mark = b"\r\n--" + boundary.encode("ascii")
        self._data = bytearray(b"\r\n")  # before the first boundary there need be no line
        self._step = _Step.PREAMBLE
        self._edge = 0  # bytes of preamble or epilogue so far
        self._readers = {
            _Step.PREAMBLE: self._preamble,
            _Step.BOUNDARY: self._boundary,
            _Step.HEAD: self._head,
            _Step.PART: self._part,
            _Step.EPILOGUE: self._epilogue,
        }

    @property
    def closed(self) -> bool:
        """Whether the last boundary has come."""
        return self._step is _Step.EPILOGUE

    def feed(self, data: bytes) -> Iterator[Begin | memoryview | End]:
        """Take the next bytes; yields what they hold: a part's beginning, its bytes, its end.

        Raises
        ------
        MultipartError
            They are no such body.
        """
        self._data += data
        step = None
        while step is not self._step:  # a step that stays wants more bytes
            step = self._step
            yield from self._readers[step]()

    def _before_mark(self) -> memoryview:
        """Take what comes before the next boundary, as far as it is there."""
        at = self._data.find(self._mark)
        end = at
        if at >= 0:
            self._step = _Step.BOUNDARY
            end += len(self._mark)
        else:  # the last bytes may be a boundary's first
            at = end = max(0, len(self._data) - len(self._mark) + 1)
        found = self._data[:at]
        del self._data[:end]
        return memoryview(found)

    def _preamble(self) -> Iterator[Begin | memoryview | End]:
        self._pass_by(len(self._before_mark()))
        return iter(())

    def _part(self) -> Iterator[Begin | memoryview | End]:
        data = self._before_mark()
        if data:
            yield data
        if self._step is _Step.BOUNDARY:
            yield End()

    def _boundary(self) -> Iterator[Begin | memoryview | End]:
        end = self._data.find(b"\r\n")
        if self._data.startswith(b"--"):
            self._step, self._edge = _Step.EPILOGUE, 0
        elif 0 <= end <= _LONGEST_PADDING and not self._data[:end].strip(b" \t"):
            self._step = _Step.HEAD
            del self._data[:end]  # the line's end stays, for a header may be empty
        elif end >= 0 or len(self._data) > _LONGEST_PADDING + 1:
            raise MultipartError("a boundary goes on where its line must end")
        return iter(())

    def _head(self) -> Iterator[Begin | memoryview | End]:
        end = self._data.find(b"\r\n\r\n")
        if end < 0 and len(self._data) < _LONGEST_HEAD + 4:
            return
        if not 0 <= end <= _LONGEST_HEAD:
            raise MultipartError("the header of a part does not end")
        yield Begin(_media_type(bytes(self._data[:end])))
        del self._data[: end + 4]
        self._step = _Step.PART

    def _epilogue(self) -> Iterator[Begin | memoryview | End]:
        self._pass_by(len(self._data))
        self._data.clear()
        return iter(())

    def _pass_by(self, count: int) -> None:
        self._edge += count
        if self._edge > _LONGEST_EDGE:
            where = "after the last" if self.closed else "before the first"
            raise MultipartError(f"too many bytes {where} boundary; is it the one it should be?")


def _media_type(head: bytes) -> str:
    """Return the media type that a part's header names."""
    found = ""
    for line in re.sub(r"\r\n[ \t]+", " ", head.decode("latin-1")).split("\r\n"):
        name, colon, value = line.partition(":")
        if line and not colon:
            raise MultipartError("the header of a part has a line that is none")
        if name.strip().lower() == "content-type":
            found = value.partition(";")[0].strip().lower()
    return found
