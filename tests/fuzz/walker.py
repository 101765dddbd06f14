"""The walk over a data set: the first byte names the transfer syntax, the rest is the data set."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydicom.tag import Tag

from dicom_io import part10, structure
from dicom_io.errors import FrameError, InvalidInstanceUID, MalformedInstance
from dicom_io.facts import facts
from dicom_io.header import read_header
from dicom_io.structure import Structure
from dicom_io.verbatim import raw_value
from dicom_io.walker import InstanceHeader, walk
from tests import builders_wire as wire
from tests.fuzz.files import in_memory

SYNTAXES = (wire.EXPLICIT, wire.IMPLICIT, wire.BIG, wire.JPEG)
_SMALLEST = 8  # bytes of an element, an item or a delimiter


def check(data: bytes) -> None:
    """Walk, and hold what came out against pydicom's reading."""
    if not data:
        return
    syntax, dataset = SYNTAXES[data[0] % len(SYNTAXES)], data[1:]
    try:
        found = walk(dataset, syntax)
    except (MalformedInstance, InvalidInstanceUID):
        return
    finally:
        _steps_are_few(dataset, syntax)
    _agrees(found, dataset, syntax)


def _agrees(found: InstanceHeader, dataset: bytes, syntax: str) -> None:
    head = part10.header(found.sop_class_uid, found.sop_instance_uid or "1.2", syntax)
    with in_memory(head + dataset) as path:
        try:
            ds = read_header(path)
        except FrameError:
            return  # pydicom gives up, and so does everything behind
    read = facts(ds)
    theirs = (read.sop_class_uid, read.study_instance_uid, read.series_instance_uid)
    ours = (found.sop_class_uid, found.study_instance_uid, found.series_instance_uid)
    assert ours == theirs, f"read {ours}, pydicom {theirs}"
    assert found.sop_instance_uid == read.sop_instance_uid
    assert found.patient_id == raw_value(ds, Tag("PatientID")).strip(b" \0")


def _steps_are_few(dataset: bytes, syntax: str) -> None:
    """Every step moves on by a header at least, so that time is linear in the bytes."""
    walked = Structure(memoryview(dataset), syntax)
    with suppress(MalformedInstance):
        walked.run()
    most = len(dataset) // _SMALLEST + 1
    assert walked._seen <= min(most, structure.MAX_ELEMENTS + 1), f"{walked._seen} steps"


def seeds() -> Iterator[bytes]:
    """Yield data sets that are walked to their end, and some that are not."""
    for number, syntax in enumerate(SYNTAXES):
        tag = bytes((number,))
        yield tag + wire.dataset(syntax)
        for undefined in (False, True):
            nested = wire.nested(3, syntax, undefined=undefined)
            yield tag + wire.dataset(syntax, extra=nested, instance=None)
        unknown = wire.item(wire.uid(0x00081150, "1.2", wire.IMPLICIT), wire.IMPLICIT)
        unknown += wire.delimiter(0xE0DD, wire.IMPLICIT)
        private = wire.element(0x00091010, b"UN", unknown, syntax, wire.UNDEFINED)
        yield tag + wire.dataset(syntax, extra=private)
        frames = wire.item(b"", syntax) + wire.item(b"\xff\xd8" + b"j" * 30, syntax)
        frames += wire.delimiter(0xE0DD, syntax)
        pixels = wire.element(0x7FE00010, b"OB", frames, syntax, wire.UNDEFINED)
        yield tag + wire.dataset(syntax, pixels=None) + pixels
        yield tag + wire.dataset(syntax)[:90]


def seed_of(file: Path) -> bytes | None:
    """Return the header of a real file as a seed; None where it does not suit."""
    meta, offset = part10.split(file)
    known = meta.transfer_syntax_uid in SYNTAXES
    number = SYNTAXES.index(meta.transfer_syntax_uid if known else wire.JPEG)
    mark = b"\x7f\xe0\x00\x10" if SYNTAXES[number] == wire.BIG else b"\xe0\x7f\x10\x00"
    dataset = file.read_bytes()[offset:]
    end = dataset.rfind(mark)
    return bytes((number,)) + dataset[:end] if 0 < end < 20_000 else None
