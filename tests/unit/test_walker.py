import mmap
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicom_io.errors import DicomIOError, InvalidInstanceUID, MalformedInstance
from dicom_io.part10 import split
from dicom_io.walker import walk
from tests import builders_wire as wire

SYNTAXES = [wire.IMPLICIT, wire.EXPLICIT, wire.BIG]


def real_files() -> list[Path]:
    folder = Path(os.environ.get("AXNODE_TEST_DATA", "")) / "us_dicom"
    return sorted(folder.glob("*.dcm"))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_identifies_an_instance(syntax: str) -> None:
    found = walk(wire.dataset(syntax), syntax)

    assert found.sop_class_uid == wire.US_IMAGE
    assert found.sop_instance_uid == "1.2.3.4"
    assert found.study_instance_uid == "1.2.3"
    assert found.series_instance_uid == "1.2.3.1"
    assert found.patient_id == b"PID7"
    assert (found.modality, found.manufacturer) == ("US", "Maker")


def test_takes_a_mapped_file(tmp_path: Path) -> None:
    """A map stays closable afterwards: no view of it is left behind."""
    path = tmp_path / "dataset"
    path.write_bytes(wire.dataset())
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        assert walk(mapped, wire.EXPLICIT).sop_instance_uid == "1.2.3.4"
        mapped.close()


def test_real_files_are_walked() -> None:
    files = real_files()
    if not files:
        pytest.skip("AXNODE_TEST_DATA is not set: no real ultrasound files")
    for path in files:
        meta, offset = split(path)
        found = walk(memoryview(path.read_bytes())[offset:], meta.transfer_syntax_uid)
        assert found.sop_class_uid == meta.sop_class_uid, path.name
        assert found.sop_instance_uid in (meta.sop_instance_uid, ""), path.name
        assert found.modality == "US", path.name
    assert len(files) == 29


def test_an_instance_uid_that_only_the_command_has_is_left_blank() -> None:
    assert walk(wire.dataset(instance=None), wire.EXPLICIT).sop_instance_uid == ""


def test_leading_zeros_in_a_uid_are_tolerated() -> None:
    found = walk(wire.dataset(instance="1.2.009411.04"), wire.EXPLICIT)

    assert found.sop_instance_uid == "1.2.009411.04"


@pytest.mark.parametrize("uid", ["../../x", "..", "1..2", "1." * 32 + "1", "1.2.a", ".1", "1."])
def test_an_instance_uid_that_is_none(uid: str) -> None:
    with pytest.raises(InvalidInstanceUID):
        walk(wire.dataset(instance=uid), wire.EXPLICIT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 64,
        bytes(range(256)),
        b"%PDF-1.7 and so on, no data set at all",
        wire.dataset()[:-3],
        wire.dataset()[:40],
        wire.dataset(study=None),
        wire.dataset(study="1.2/3"),
        wire.uid(0x00020010, wire.EXPLICIT) + wire.dataset(),
        wire.uid(0x00080018, "9.9") + wire.dataset(),
        wire.dataset(extra=wire.element(0x00081030, b"LO", b"x", length=0xFFFE)),
        wire.dataset(extra=wire.element(0x00091010, b"UN", b"x", length=0xFFFFFFF0)),
        wire.dataset(extra=wire.element(0x00091010, b"OB", b"x", length=wire.UNDEFINED)),
        wire.dataset(extra=wire.delimiter(0xE00D)),
        wire.dataset(extra=wire.element(0x00081140, b"SQ", wire.delimiter(0xE0DD))),
        wire.dataset(extra=wire.element(0x00081140, b"SQ", wire.item(b"", length=800))),
        wire.dataset(extra=wire.element(0x00081140, b"SQ", b"\1\2\3\4\5\6\7\10")),
        wire.dataset(extra=wire.element(0x00100010, b"P1", b"")),
        wire.dataset(extra=wire.element(0x00100010, b"\0\0", b"")),
        # pydicom takes a VR that it does not know for one of 16 bits, and reads on elsewhere
        wire.dataset(extra=b"\x08\0\x81\x10ZZ\0\0\4\0\0\0four"),
        wire.dataset().replace(b"\x18\0UI", b"\x18\0UL"),
        wire.element(0x00100020, b"LO", b"1" * 2000) + wire.dataset(),
        wire.dataset(pixels=None)
        + wire.element(0x7FE00010, b"OB", wire.item(b"12345678", length=99), length=wire.UNDEFINED),
        wire.dataset(pixels=None)
        + wire.element(0x7FE00010, b"OB", wire.item(b"12345678"), length=wire.UNDEFINED),
    ],
)
def test_what_is_no_data_set(data: bytes) -> None:
    with pytest.raises(MalformedInstance) as caught:
        walk(data, wire.EXPLICIT)
    assert caught.value.status == 0xC000


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_nesting_is_limited(syntax: str, undefined: bool) -> None:
    allowed = wire.dataset(syntax, extra=wire.nested(64, syntax, undefined=undefined))
    walk(allowed, syntax)
    for depth in (65, 400, 3000):
        # a defined length of 16 bits would not hold 3,000 levels, but this one has 32
        refused = wire.dataset(syntax, extra=wire.nested(depth, syntax, undefined=undefined))
        with pytest.raises(MalformedInstance, match="nested"):
            walk(refused, syntax)


def test_elements_and_fragments_are_counted() -> None:
    """What passes is parsed later by slower code, which must not take minutes or gigabytes."""

    def with_items(count: int) -> bytes:
        return wire.dataset(extra=wire.element(0x00081140, b"SQ", wire.item(b"") * count))

    walk(with_items(99_000), wire.EXPLICIT)
    with pytest.raises(MalformedInstance, match="elements"):
        walk(with_items(100_000), wire.EXPLICIT)

    def with_fragments(count: int) -> bytes:
        pixels = wire.item(b"") * count + wire.delimiter(0xE0DD)
        return wire.dataset(pixels=None) + wire.element(
            0x7FE00010, b"OB", pixels, length=wire.UNDEFINED
        )

    walk(with_fragments(900_000), wire.JPEG)
    with pytest.raises(MalformedInstance, match="fragments"):
        walk(with_fragments(1_100_000), wire.JPEG)


def test_a_sequence_of_unknown_vr_is_implicit_little_endian_everywhere() -> None:
    for syntax in (wire.EXPLICIT, wire.BIG):
        content = wire.item(wire.uid(0x00081150, "1.2", wire.IMPLICIT), wire.IMPLICIT)
        content += wire.delimiter(0xE0DD, wire.IMPLICIT)
        private = wire.element(0x00091010, b"UN", content, syntax, wire.UNDEFINED)
        assert walk(wire.dataset(syntax, extra=private), syntax).sop_instance_uid == "1.2.3.4"


def test_only_the_top_level_identifies() -> None:
    inner = wire.item(wire.uid(0x00080018, "6.6.6") + wire.uid(0x0020000D, "7.7.7"))
    data = wire.dataset(extra=wire.element(0x00081140, b"SQ", inner))

    assert walk(data, wire.EXPLICIT).sop_instance_uid == "1.2.3.4"


def test_encapsulated_pixel_data_are_stepped_over() -> None:
    frames = wire.item(b"") + wire.item(b"\xff\xd8" + b"j" * 30) + wire.delimiter(0xE0DD)
    data = wire.dataset(pixels=None) + wire.element(
        0x7FE00010, b"OB", frames, length=wire.UNDEFINED
    )

    walk(data, wire.JPEG)


def test_trailing_padding_is_taken() -> None:
    walk(wire.dataset() + wire.element(0xFFFCFFFC, b"OB", bytes(32)), wire.EXPLICIT)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_short_pixel_data_are_refused(syntax: str) -> None:
    with pytest.raises(MalformedInstance, match="shorter"):
        walk(wire.dataset(syntax, rows=5), syntax)


def test_subsampled_colour_needs_two_samples_a_pixel() -> None:
    """YBR_FULL_422 without compression holds two samples a pixel though it says three."""
    data = wire.dataset(pixels=b"\1" * 32).replace(b"MONOCHROME2 ", b"YBR_FULL_422")
    data = data.replace(wire.short(0x00280002, 1), wire.short(0x00280002, 3))
    walk(data, wire.EXPLICIT)
    with pytest.raises(MalformedInstance, match="shorter"):
        walk(data.replace(b"YBR_FULL_422", b"YBR_FULL    "), wire.EXPLICIT)


@pytest.mark.parametrize("frames", [b"0 ", b"-1", b"x ", b"", b"1"])
def test_absurd_frame_counts_are_left_to_the_decoder(frames: bytes) -> None:
    data = wire.dataset(extra=b"").replace(
        wire.short(0x00280010, 4),
        wire.element(0x00280008, b"IS", frames) + wire.short(0x00280010, 4),
    )
    walk(data, wire.EXPLICIT)


def test_more_frames_than_bytes_are_refused() -> None:
    frames = wire.element(0x00280008, b"IS", b"1000000000")
    with pytest.raises(MalformedInstance, match="shorter"):
        walk(wire.dataset(extra=frames), wire.EXPLICIT)


@settings(max_examples=300, deadline=None)
@given(
    syntax=st.sampled_from(SYNTAXES),
    flips=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 600),
)
@example(syntax=wire.EXPLICIT, flips=[(0, 8)], cut=600)
def test_damage_ends_in_a_refusal_or_a_header(
    syntax: str, flips: list[tuple[int, int]], cut: int
) -> None:
    """Whatever the bytes, nothing but a refusal with a status escapes."""
    data = bytearray(wire.dataset(syntax, extra=wire.nested(3, syntax)))
    for position, value in flips:
        data[position % len(data)] = value
    try:
        walk(bytes(data[:cut]), syntax)
    except DicomIOError as error:
        assert getattr(error, "status", None) in (0xC000, 0x0117)  # noqa: PT017


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), syntax=st.sampled_from([*SYNTAXES, wire.JPEG]))
def test_random_bytes_are_refused(data: bytes, syntax: str) -> None:
    with pytest.raises(DicomIOError):
        walk(data, syntax)
