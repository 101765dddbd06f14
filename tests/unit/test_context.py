"""Patient, study, equipment and time of result objects, against sources of every kind."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from dicom_io import context, results, verbatim
from dicom_io.errors import ObjectError
from tests.builders_objects import (
    NOW,
    SourceSpec,
    findings,
    node,
    raw,
    source,
    study,
    uid,
    view,
    write,
)

NAMES = {
    "latin-1": (b"ISO_IR 100", "M\u00fcller^J\u00f6rg".encode("latin-1")),
    "cyrillic": (
        b"ISO_IR 144",
        "\u041b\u044e\u043a\u0441^\u0418\u0432\u0430\u043d".encode("iso8859_5"),
    ),
    "chinese": (b"GB18030", "Wang^XiaoDong=\u738b^\u5c0f\u4e1c".encode("gb18030")),
    "japanese": (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    "korean": (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    "utf-8": (b"ISO_IR 192", "S\u00f8rensen^\u5c71\u7530".encode()),
    "undeclared": (b"", "M\u00fcller".encode("latin-1")),
}


@pytest.mark.parametrize("script", NAMES)
def test_names_are_copied_byte_for_byte(tmp_path: Path, script: str) -> None:
    """Whatever the character set, SEG and SR hold the very bytes that the modality wrote."""
    character_set, name = NAMES[script]
    ds = source(uid("study", 1))
    del ds.SpecificCharacterSet
    if character_set:
        raw(ds, "SpecificCharacterSet", character_set)
    raw(ds, "PatientName", name)
    raw(ds, "StudyDescription", name.split(b"=")[-1].replace(b"^", b" "))
    path = write(ds, tmp_path / "source.dcm")

    built = results.build(
        findings([ds], [node(1, view(ds))]), [path], results.ResultSettings(), uid, NOW
    )

    padded = name + b" " * (len(name) % 2)
    assert [name in b.data for b in built] == [True, True]
    for b in built:
        written = pydicom.dcmread(io.BytesIO(b.data))
        assert padded == written.get_item("PatientName").value
        assert (
            pydicom.dcmread(path).get_item("StudyDescription").value
            == written.get_item("StudyDescription").value
        )
        assert str(pydicom.dcmread(path).PatientName) == str(written.PatientName)


@pytest.mark.parametrize("character_set", [b"", b"ISO_IR 100", b"ISO_IR 192"])
@pytest.mark.parametrize("name", [b"Test^Ax     ", b"Test^Axi=== ", b"M\xfcller^\xff\xfe "])
def test_names_are_copied_whatever_they_hold(
    tmp_path: Path, character_set: bytes, name: bytes
) -> None:
    """Padding of fixed-width systems, empty groups, bytes outside the character set."""
    ds = source(uid("study", 8))
    del ds.SpecificCharacterSet
    if character_set:
        raw(ds, "SpecificCharacterSet", character_set)
    raw(ds, "PatientName", name)
    ds.set_original_encoding(False, True, ds._character_set)  # else pydicom writes it anew
    path = write(ds, tmp_path / "source.dcm")
    assert name in path.read_bytes()
    built = results.build(
        findings([ds], [node(1, view(ds))]), [path], results.ResultSettings(), uid, NOW
    )
    for item in built:
        assert pydicom.dcmread(io.BytesIO(item.data)).get_item("PatientName").value == name


@pytest.mark.parametrize("ratio", [b"10:1", b"abc ", b"12.34567890123456789 "])
def test_a_ratio_that_is_none_does_not_lose_the_study(tmp_path: Path, ratio: bytes) -> None:
    ds = source(uid("study", 9))
    ds.LossyImageCompression = "01"
    raw(ds, "LossyImageCompressionRatio", ratio)
    raw(ds, "LossyImageCompressionMethod", b"some jpeg of ours ")
    path = write(ds, tmp_path / "source.dcm")
    found = findings([ds], [node(1, view(ds))])
    seg, _ = results.build(found, [path], results.ResultSettings(), uid, NOW)
    written = pydicom.dcmread(io.BytesIO(seg.data))
    assert written.LossyImageCompression == "01"
    assert "LossyImageCompressionMethod" not in written
    assert "LossyImageCompressionRatio" not in written


def test_a_lossy_syntax_is_lossy_though_the_header_does_not_say(tmp_path: Path) -> None:
    ds = source(uid("study", 10))
    del ds.LossyImageCompression
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    assert context.is_lossy(ds)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    assert not context.is_lossy(ds)


def test_missing_attributes_become_empty(tmp_path: Path) -> None:
    """Type 2 attributes that a source leaves out are there, and empty."""
    ds = source(uid("study", 2))
    missing = ("PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")
    for keyword in missing:
        delattr(ds, keyword)
    path = write(ds, tmp_path / "source.dcm")

    (built,) = results.build(findings([ds]), [path], results.ResultSettings(), uid, NOW)

    written = pydicom.dcmread(io.BytesIO(built.data))
    assert {keyword: written[keyword].value for keyword in missing} == dict.fromkeys(
        missing, written.PatientID
    )
    assert not written.PatientID


def test_values_outside_their_representation_are_left_empty(tmp_path: Path) -> None:
    """They would make our object invalid; dates of ACR-NEMA times only lose their marks."""
    ds = source(uid("study", 3))
    raw(ds, "StudyDate", b"1994.03.04")
    raw(ds, "PatientBirthDate", b"about 1950")
    raw(ds, "PatientSex", b"female")
    raw(ds, "StudyTime", b"10:20:30")
    path = write(ds, tmp_path / "source.dcm")

    kept = {e.tag: e.value for e in verbatim.identity(context.read_source(path).ds)}

    assert [kept[t] for t in (0x00080020, 0x00080030)] == [b"19940304", b"102030"]
    assert [kept[t] for t in (0x00100030, 0x00100040)] == [b"", b""]
    assert kept[0x00100020] == b"AX-1"


def test_own_times_are_expressed_in_the_zone_of_the_source(tmp_path: Path) -> None:
    """TimezoneOffsetFromUTC is copied, and our dates are told in it."""
    ds = source(uid("study", 4))
    ds.TimezoneOffsetFromUTC = "-0930"
    path = write(ds, tmp_path / "source.dcm")
    now = datetime(2026, 1, 1, 3, 0, 0, tzinfo=UTC)

    (built,) = results.build(findings([ds]), [path], results.ResultSettings(), uid, now)

    written = pydicom.dcmread(io.BytesIO(built.data))
    assert (written.TimezoneOffsetFromUTC, written.ContentDate) == ("-0930", "20251231")
    assert written.ContentTime == "173000.000000"


def test_without_a_zone_times_are_the_nodes_own(tmp_path: Path) -> None:
    """A zone that is none is neither copied nor obeyed."""
    ds = source(uid("study", 5))
    raw(ds, "TimezoneOffsetFromUTC", b"CET ")
    path = write(ds, tmp_path / "source.dcm")

    (built,) = results.build(findings([ds]), [path], results.ResultSettings(), uid, NOW)

    written = pydicom.dcmread(io.BytesIO(built.data))
    assert "TimezoneOffsetFromUTC" not in written
    assert written.ContentDate == NOW.astimezone().strftime("%Y%m%d")


def test_equipment_is_named_so_that_the_node_knows_its_own(tmp_path: Path) -> None:
    """Manufacturer is exactly AxNode; the model is contributing equipment with its Device UID."""
    sets, paths = study(tmp_path, SourceSpec())
    found = findings(sets, [node(1, view(sets[0]))])

    for built in results.build(found, paths, results.ResultSettings(), uid, NOW):
        written = pydicom.dcmread(io.BytesIO(built.data))
        assert written.Manufacturer == "AxNode"
        (model,) = written.ContributingEquipmentSequence
        assert (model.Manufacturer, model.DeviceUID) == ("AxNode", found.device_uid)
        assert model.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


@pytest.mark.parametrize(
    ("demonstration", "version", "replaces", "expected"),
    [
        (False, 1, None, "AxNode lymph nodes SEG"),
        (True, 1, None, "DEMONSTRATION AxNode lymph nodes SEG"),
        (True, 3, 2, "DEMONSTRATION AxNode lymph nodes SEG v3 (replaces v2)"),
        (False, 3, 1, "AxNode lymph nodes SEG v3 (replaces v1)"),  # version 2 was parked
        (False, 2, None, "AxNode lymph nodes SEG v2"),  # version 1 was parked: nothing to replace
    ],
)
def test_series_description(
    demonstration: bool, version: int, replaces: int | None, expected: str
) -> None:
    """The description says demonstration first, and what a later version replaces."""
    found = findings([source(uid("study", 6))], demonstration=demonstration)
    assert expected == context.series_description(
        replace(found, version=version, replaces=replaces), "lymph nodes SEG"
    )


def test_longest_description_fits() -> None:
    """LO holds 64 characters, whatever the version."""
    found = replace(
        findings([source(uid("study", 7))], demonstration=True), version=10**9, replaces=10**9 - 1
    )
    assert len(context.series_description(found, "lymph nodes SEG")) <= 64


def test_uids_with_leading_zeros_are_carried_as_they_came(tmp_path: Path) -> None:
    """They break PS3.5 section 9, and modalities in the field write them: no study is lost."""
    ds = source("1.2.826.01.4")
    ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.826.01.4.02", "1.2.826.01.4.02.007"
    path = write(ds, tmp_path / "source.dcm")
    built = results.build(
        findings([ds], [node(1, view(ds))]), [path], results.ResultSettings(), uid, NOW
    )
    assert [item.role for item in built] == ["seg", "sr"]
    for item in built:
        made = pydicom.dcmread(io.BytesIO(item.data))
        assert made.StudyInstanceUID == "1.2.826.01.4"
        assert b"1.2.826.01.4.02.007" in item.data


def test_a_file_without_uids_is_refused(tmp_path: Path) -> None:
    """The message names the attribute and nothing of the patient."""
    ds = source(uid("study", 8))
    del ds.StudyInstanceUID
    path = write(ds, tmp_path / "source.dcm")
    with pytest.raises(ObjectError, match="StudyInstanceUID"):
        context.read_source(path)


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("no DICOM at all, but long enough to be looked at\n" * 9)
    with pytest.raises(ObjectError):
        context.read_source(path)


def test_frames_are_counted_and_not_guessed_from_the_class() -> None:
    """A US Image may hold two frames, and a US Multi-frame Image one."""
    study_uid = uid("study", 9)
    two = source(study_uid, SourceSpec(frames=2, multiframe_class=False))
    two.NumberOfFrames = 2
    five = source(study_uid, SourceSpec(frames=5))
    one = source(study_uid, SourceSpec(frames=1, multiframe_class=True))
    sources = [context.source_of(ds) for ds in (two, five, one)]
    assert [s.is_cine for s in sources] == [True, True, False]
    assert [s.names_frames for s in sources] == [False, True, False]


def test_our_text_is_plain_ascii() -> None:
    assert context.plain("a\\b\u00e9\n") == "a?b??"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"ISO_IR 100", b"ISO_IR 100"),
        (b"\\ISO 2022 IR 87\\ISO 2022 IR 159", b"\\ISO 2022 IR 87\\ISO 2022 IR 159"),
        (b"ISO-IR 144", b"ISO_IR 144"),
        (b"ISO2022 IR_6\\ISO 2022-IR 149", b"ISO 2022 IR 6\\ISO 2022 IR 149"),
        (b"ISO_IR", b""),
        (b"UTF8", b""),
        (b"", b""),
    ],
)
def test_character_set_terms(written: bytes, expected: bytes) -> None:
    """What the standard spells is kept; what is misspelt is spelt; what is unknown is dropped."""
    ds = source(uid("study", 10))
    del ds.SpecificCharacterSet
    raw(ds, "SpecificCharacterSet", written)
    assert verbatim.character_set(ds) == expected


def test_an_instance_named_only_in_group_0002_is_read(tmp_path: Path) -> None:
    ds = source(uid("study", 11))
    instance = str(ds.SOPInstanceUID)
    path = write(ds, tmp_path / "source.dcm")
    bare = pydicom.dcmread(path)
    del bare.SOPInstanceUID
    bare.save_as(tmp_path / "bare.dcm", enforce_file_format=True)
    assert context.read_source(tmp_path / "bare.dcm").sop_instance_uid == instance


@pytest.mark.parametrize(
    ("character_set", "written", "expected"),
    [(b"ISO_IR 100", b"PR\\US ", b""), (b"GB18030", b"\x83\x5c  ", b"\x83\x5c  ")],
)
def test_a_second_value_is_left_out(character_set: bytes, written: bytes, expected: bytes) -> None:
    """An accession number has one value; but not every byte of a backslash separates values."""
    ds = source(uid("study", 12))
    del ds.SpecificCharacterSet
    raw(ds, "SpecificCharacterSet", character_set)
    raw(ds, "AccessionNumber", written)
    raw(ds, "PatientID", b"A\\B ")
    kept = {e.tag: e.value for e in verbatim.identity(ds)}
    assert (kept[0x00080050], kept[0x00100020]) == (expected, b"A\\B ")
