"""The structure of a data set in raw bytes: elements, items and fragments, bounded and iterative.

The walk keeps its own stack, so depth in the bytes is never depth in the interpreter.
"""

import struct
from collections.abc import Set
from enum import Enum, auto
from typing import Final, NamedTuple, NoReturn

from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined]

from dicom_io.errors import MalformedInstance
from dicom_io.syntaxes import EXPLICIT_BIG, IMPLICIT_LITTLE

MAX_DEPTH: Final = 64  # sequences within sequences; real ultrasound has at most six
MAX_ELEMENTS: Final = 100_000  # and items; real ultrasound has some hundreds, and pydicom is slow
MAX_FRAGMENTS: Final = 1_000_000  # of pixel data; a second or two of walking
LONGEST_VALUE: Final = 1024  # bytes of a value that is kept
PIXEL_DATA: Final = 0x7FE00010

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

# PS3.5 7.1.2: these VRs have a 16-bit length, those two reserved bytes and 32 bits
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
# In implicit VR only the dictionary tells a sequence of defined length from other values.
_SEQUENCE_TAGS = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
_UID_TAGS = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "UI")
_UID_VRS = (b"UI", b"UN", b"")  # b"": implicit; with any other, a reader would see no text


class _Kind(Enum):
    DATASET = auto()  # elements: the whole data set, or an item
    SEQUENCE = auto()  # items
    FRAGMENTS = auto()  # encapsulated pixel data (PS3.5 A.4)


class _Encoding(NamedTuple):
    explicit: bool
    tag: struct.Struct  # group, element, 32-bit length
    tag_vr: struct.Struct  # group, element, VR, 16-bit length
    length: struct.Struct  # 32-bit length


def _encoding(order: str, *, explicit: bool) -> _Encoding:
    return _Encoding(
        explicit,
        struct.Struct(order + "HHL"),
        struct.Struct(order + "HH2sH"),
        struct.Struct(order + "L"),
    )


_IMPLICIT = _encoding("<", explicit=False)
_LITTLE = _encoding("<", explicit=True)
_BIG = _encoding(">", explicit=True)


class _Level(NamedTuple):
    kind: _Kind
    end: int  # offset of the first byte after; where the length is undefined, of the container
    undefined: bool  # ends with a delimiter and not at `end`
    encoding: _Encoding


class _Element(NamedTuple):
    tag: int
    vr: bytes  # b"" where the encoding does not say
    value: int  # offset of the value
    length: int


def _refuse(what: str, offset: int) -> NoReturn:
    raise MalformedInstance(f"{what} at byte {offset}; check the sender, the data set is damaged")


class Structure:
    """One pass over a data set; afterwards `values` holds the wanted values of its top level."""

    def __init__(
        self, view: memoryview, transfer_syntax_uid: str, wanted: Set[int] = frozenset()
    ) -> None:
        self.values: dict[int, bytes] = {}
        self.pixel_length: int | None = None  # of native pixel data on the top level
        self.big_endian = transfer_syntax_uid == EXPLICIT_BIG
        self._wanted = wanted
        self._view = view
        self._position = 0
        self._seen = 0  # elements and items
        self._fragments = 0
        encoding = {IMPLICIT_LITTLE: _IMPLICIT, EXPLICIT_BIG: _BIG}.get(
            transfer_syntax_uid, _LITTLE
        )
        self._stack = [_Level(_Kind.DATASET, len(view), False, encoding)]

    def run(self) -> None:
        """Walk to the end of the data set."""
        steps = {
            _Kind.DATASET: self._elements,
            _Kind.SEQUENCE: self._item,
            _Kind.FRAGMENTS: self._fragment,
        }
        while self._stack:
            level = self._stack[-1]
            if self._position >= level.end and not level.undefined:
                self._stack.pop()
            else:
                steps[level.kind](level)

    def _elements(self, level: _Level) -> None:
        """Step over elements until a container opens or this one ends."""
        while level.undefined or self._position < level.end:
            element = self._element(level)
            if element.tag < 0x00080000 or element.tag >= 0xFFFE0000:
                self._delimiter(level, element)
                return
            if self._opens_container(level, element):
                return
            after = element.value + element.length
            if after > level.end:
                _refuse("an element is longer than its container", self._position)
            if len(self._stack) == 1:
                self._note(element)
            self._position = after

    def _element(self, level: _Level) -> _Element:
        self._count()
        position = self._position
        if position + 8 > level.end:
            _refuse("the data set ends within an element", position)
        encoding = level.encoding
        if not encoding.explicit:
            group, number, length = encoding.tag.unpack_from(self._view, position)
            tag = group << 16 | number
            vr = b"SQ" if tag in _SEQUENCE_TAGS else b""
            return _Element(tag, vr, position + 8, length)
        group, number, vr, length = encoding.tag_vr.unpack_from(self._view, position)
        tag = group << 16 | number
        if vr in _SHORT_VRS:
            return _Element(tag, vr, position + 8, length)
        return self._long_element(level, tag, vr)

    def _long_element(self, level: _Level, tag: int, vr: bytes) -> _Element:
        """Read a header with a 32-bit length.

        A VR of a later edition would have one too (PS3.5 6.2), but pydicom reads 16 bits: behind
        such an element the file would say something else to every reader than to this walk.
        """
        position = self._position
        if tag >= 0xFFFE0000:  # items and delimiters have no VR
            (length,) = level.encoding.length.unpack_from(self._view, position + 4)
            return _Element(tag, b"", position + 8, length)
        if vr not in _LONG_VRS:
            _refuse("an element has no known VR", position)
        if position + 12 > level.end:
            _refuse("the data set ends within an element", position)
        (length,) = level.encoding.length.unpack_from(self._view, position + 8)
        return _Element(tag, vr, position + 12, length)

    def _count(self) -> None:
        self._seen += 1
        if self._seen > MAX_ELEMENTS:
            _refuse(f"more than {MAX_ELEMENTS} elements", self._position)

    def _delimiter(self, level: _Level, element: _Element) -> None:
        """Close an item of undefined length; any other tag of these groups is out of place."""
        in_item = level.undefined and len(self._stack) > 1
        if element.tag != _ITEM_END or not in_item or element.length:
            # PS3.5 7.1: groups 0000 to 0007 belong to commands, file headers and directories
            _refuse("an element that does not belong into a data set", self._position)
        self._position = element.value
        self._stack.pop()

    def _opens_container(self, level: _Level, element: _Element) -> bool:
        undefined = element.length == _UNDEFINED
        if undefined and element.tag == PIXEL_DATA:
            kind, encoding = _Kind.FRAGMENTS, level.encoding
        elif element.vr == b"UN" and (undefined or element.tag in _SEQUENCE_TAGS):
            # PS3.5 6.2.2: a sequence of unknown VR is implicit little endian in every syntax
            kind, encoding = _Kind.SEQUENCE, _IMPLICIT
        elif element.vr == b"SQ" or (undefined and not element.vr):
            kind, encoding = _Kind.SEQUENCE, level.encoding
        elif undefined:
            _refuse("a value of undefined length that is no sequence", self._position)
        else:
            return False
        end = level.end if undefined else element.value + element.length
        self._push(_Level(kind, end, undefined, encoding), element.value, level.end)
        return True

    def _push(self, level: _Level, position: int, limit: int) -> None:
        if level.end > limit:
            _refuse("a sequence or item is longer than its container", self._position)
        if (len(self._stack) + 1) // 2 > MAX_DEPTH:
            _refuse(f"sequences nested deeper than {MAX_DEPTH}", self._position)
        self._stack.append(level)
        self._position = position

    def _item(self, level: _Level) -> None:
        self._count()
        tag, length = self._item_header(level)
        if tag == _SEQUENCE_END:
            return
        undefined = length == _UNDEFINED
        end = level.end if undefined else self._position + length
        item = _Level(_Kind.DATASET, end, undefined, level.encoding)
        self._push(item, self._position, level.end)

    def _fragment(self, level: _Level) -> None:
        self._fragments += 1
        if self._fragments > MAX_FRAGMENTS:
            _refuse(f"more than {MAX_FRAGMENTS} fragments of pixel data", self._position)
        tag, length = self._item_header(level)
        if tag == _SEQUENCE_END:
            return
        if self._position + length > level.end:  # an undefined length is not allowed here
            _refuse("a fragment of pixel data is longer than the data set", self._position)
        self._position += length

    def _item_header(self, level: _Level) -> tuple[int, int]:
        """Step over an item's header; a sequence delimiter closes the sequence."""
        position = self._position
        if position + 8 > level.end:
            _refuse("the data set ends within a sequence", position)
        group, number, length = level.encoding.tag.unpack_from(self._view, position)
        tag = group << 16 | number
        if tag == _SEQUENCE_END and level.undefined:
            self._stack.pop()
        elif tag != _ITEM:
            _refuse("a sequence holds something that is no item", position)
        self._position = position + 8
        return tag, length

    def _note(self, element: _Element) -> None:
        """Keep a wanted value of the top level."""
        if element.tag == PIXEL_DATA:
            self.pixel_length = element.length
        if element.tag not in self._wanted:
            return
        if element.tag in self.values or element.length > LONGEST_VALUE:
            _refuse("an identifying element is repeated or far too long", self._position)
        if element.tag in _UID_TAGS and element.vr not in _UID_VRS:
            _refuse("a UID has the VR of something else", self._position)
        self.values[element.tag] = bytes(self._view[element.value : element.value + element.length])
