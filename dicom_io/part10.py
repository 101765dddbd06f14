"""The frame of a DICOM file around a data set: preamble, mark and group 0002 (PS3.10 section 7)."""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_io.errors import MalformedInstance
from dicom_io.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from dicom_io.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    is_uid,
    uid_text,
)
from dicom_io.walker import walk

_PREAMBLE = 128
_MARK = b"DICM"
_LONGEST_META = 65536  # bytes of group 0002 that are believed; real ones have a few hundred
_LONG_VRS = frozenset((b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"SQ", b"UN", b"UC", b"UR", b"UT"))

_FIRST_LOOK = 1024  # bytes after which a file that comes in pieces is looked at

_SOP_CLASS, _SOP_INSTANCE, _SYNTAX = 0x0002, 0x0003, 0x0010  # elements of group 0002


@dataclass(frozen=True)
class FileMeta:
    """What group 0002 says of a file; read from the data set where it does not."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def header(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str = ""
) -> bytes:
    """Return everything of a Part 10 file that comes before the data set.

    The preamble is zeroed always: what a peer wrote there may be an executable (CVE-2019-11687).
    """
    group = _long(0x0001, b"OB", b"\0\1") + b"".join(
        (
            _short(_SOP_CLASS, b"UI", sop_class_uid),
            _short(_SOP_INSTANCE, b"UI", sop_instance_uid),
            _short(_SYNTAX, b"UI", transfer_syntax_uid),
            _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _short(0x0016, b"AE", source_ae) if source_ae else b"",
        )
    )
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(group))
    return bytes(_PREAMBLE) + _MARK + length + group


def _short(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _long(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sHL", 2, element, vr, 0, len(value)) + value


def split(path: Path) -> tuple[FileMeta, int]:
    """Return what a file says of itself, and the offset at which its data set begins.

    Files without preamble, or without group 0002, are read where that is possible.

    Raises
    ------
    MalformedInstance
        The file is no DICOM file.
    """
    with path.open("rb") as stream:
        view = memoryview(stream.read(_PREAMBLE + 4 + _LONGEST_META))
    values, offset = _scan(view, _start(view))
    names = [values.get(element, "") for element in (_SOP_CLASS, _SOP_INSTANCE, _SYNTAX)]
    if offset + 8 <= len(view) and all(map(is_uid, names)):
        return FileMeta(*names), offset
    return _searched(path)


def _searched(path: Path) -> tuple[FileMeta, int]:
    # mapped, which no whole file of the spool needs: a page that a share does not give would end
    # the process
    with _mapped(path) as view:
        values, offset = _group_two(view, _start(view))
        syntax = values.get(_SYNTAX) or _guessed_syntax(view, offset)
        sop_class, sop_instance = values.get(_SOP_CLASS, ""), values.get(_SOP_INSTANCE, "")
        if not (is_uid(sop_class) and is_uid(sop_instance)):
            with view[offset:] as data:
                found = walk(data, syntax)
            sop_class, sop_instance = found.sop_class_uid, found.sop_instance_uid
            if not sop_instance:
                raise MalformedInstance("SOPInstanceUID is missing; check where the file is from")
    return FileMeta(sop_class, sop_instance, syntax), offset


class Head:
    """Takes a file that comes in pieces, until its data set begins.

    Preamble and group 0002 must be there: nothing else tells what is coming.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._enough = _FIRST_LOOK

    def take(self, data: memoryview) -> tuple[FileMeta, bytes] | None:
        """Return what the file says of itself, and what is there of its data set; None: not yet.

        Raises
        ------
        MalformedInstance
            It is no DICOM file, or does not say what it holds.
        """
        self._data += data
        if len(self._data) < self._enough:
            return None
        self._enough = 2 * len(self._data)  # looked at so often only, however small the pieces
        return self._looked()

    def end(self) -> tuple[FileMeta, bytes]:
        """Return the same of a file of which no more comes; raises as `take` does."""
        found = self._looked()
        if found is None:
            raise MalformedInstance("the file holds no data set; send a DICOM file")
        return found

    def _looked(self) -> tuple[FileMeta, bytes] | None:
        data, start = bytes(self._data), _PREAMBLE + len(_MARK)
        if data[_PREAMBLE:start] != _MARK:
            raise MalformedInstance("not a DICOM file: the DICM mark was not found")
        values, position = _scan(memoryview(data), start)
        if position - start >= _LONGEST_META:
            raise MalformedInstance("the file's header does not end; check where the file is from")
        if position + 8 > len(data):
            return None
        names = [values.get(element, "") for element in (_SOP_CLASS, _SOP_INSTANCE, _SYNTAX)]
        if not all(map(is_uid, names)):
            lacks = "the file's header lacks SOP class, SOP instance or transfer syntax"
            raise MalformedInstance(f"{lacks}; check the sender")
        return FileMeta(*names), data[position:]


def _start(view: memoryview) -> int:
    return _PREAMBLE + 4 if bytes(view[_PREAMBLE : _PREAMBLE + 4]) == _MARK else 0


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    with path.open("rb") as stream:
        if not stream.seek(0, 2):
            raise MalformedInstance("the file is empty; send a DICOM file")
        with (
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            yield view


def _group_two(view: memoryview, start: int) -> tuple[dict[int, str], int]:
    values, position = _scan(view, start)
    if position > len(view):
        raise MalformedInstance("the file ends within its header; send it again, it is cut short")
    return values, position


def _scan(view: memoryview, start: int) -> tuple[dict[int, str], int]:
    """Read group 0002, which is explicit VR little endian always (PS3.10 7.1), as far as it goes.

    The group's own length is not believed: editors that rewrite files leave it wrong.
    """
    values: dict[int, str] = {}
    position = start
    while position + 8 <= len(view) and position - start < _LONGEST_META:
        group, element, vr, length = struct.unpack_from("<HH2sH", view, position)
        if group != 2:
            break
        position += 8
        if vr in _LONG_VRS:
            if position + 4 > len(view):
                break
            (length,) = struct.unpack_from("<L", view, position)
            position += 4
        values[element] = uid_text(view[position : position + min(length, 64)])
        position += length
    return values, position


def _guessed_syntax(view: memoryview, offset: int) -> str:
    """Tell implicit from explicit little endian by the first element's VR."""
    if offset + 8 > len(view):
        raise MalformedInstance("the file holds no data set; send a DICOM file")
    group, _, vr = struct.unpack_from("<HH2s", view, offset)
    if group not in (0x0008, 0x0010):
        raise MalformedInstance("not a DICOM file: neither the DICM mark nor a data set was found")
    return EXPLICIT_LITTLE if vr.isalpha() and vr.isupper() else IMPLICIT_LITTLE
