from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset
from pydicom.sequence import Sequence

from dicom_io.facts import eligible, facts
from dicom_io.frames import read_header
from dicom_io.part10 import header
from tests import builders_wire as wire
from tests.builders_frames import image_dataset, us_dicom, write


def code(value: str, scheme: str = "SCT", meaning: str = "", **sequences: Dataset) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    for keyword, nested in sequences.items():
        setattr(item, keyword, Sequence([nested]))
    return item


def described(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


RIGHT, LEFT = code("24028007"), code("G-A101", "SRT")


@pytest.mark.parametrize(
    ("attributes", "side"),
    [
        ({"Laterality": "R"}, "R"),
        ({"ImageLaterality": "L"}, "L"),
        ({"Laterality": "R", "ImageLaterality": "L"}, None),
        ({"ImageLaterality": "B"}, None),
        ({"ImageLaterality": "U", "SeriesDescription": "Axilla left"}, "L"),
        ({"Laterality": "R", "SeriesDescription": "left axilla"}, None),
        ({"Laterality": "R", "SeriesDescription": "US breast bilateral"}, "R"),
        ({"Laterality": "R", "SeriesDescription": "axilla right and left"}, "R"),
        ({"SeriesDescription": "RT AXILLA"}, "R"),
        ({"SeriesDescription": "R axilla"}, "R"),
        ({"SeriesDescription": "AXILLA_L"}, "L"),
        ({"ProtocolName": "Achsel rechts"}, "R"),
        ({"ProtocolName": "das Bild der linken Axilla"}, "L"),
        ({"ImageComments": "creux axillaire gauche"}, "L"),
        ({"ViewName": "axila derecha"}, "R"),
        ({"SeriesDescription": "right", "ImageComments": "left"}, None),
        ({"SeriesDescription": "R and L axilla"}, None),
        ({"SeriesDescription": "bilateral axilla"}, None),
        ({"SeriesDescription": "ECO AXILA SIN CONTRASTE"}, None),
        ({"SeriesDescription": "Dx axilla"}, None),
        ({"SeriesDescription": "brightness"}, None),
        ({"SeriesDescription": "L12-5"}, None),
        ({"StudyDescription": "US right breast"}, None),
        ({}, None),
    ],
)
def test_the_side_is_read_and_never_guessed(attributes: dict[str, object], side: str | None):
    assert facts(described(**attributes)).laterality == side


@pytest.mark.parametrize(
    ("modifier", "side"), [(RIGHT, "R"), (LEFT, "L"), (code("51440002"), None)]
)
def test_the_side_by_region_modifier(modifier: Dataset, side: str | None):
    region = code("91470000", AnatomicRegionModifierSequence=modifier)
    ds = described(AnatomicRegionSequence=Sequence([region]))
    assert facts(ds).laterality == side


def test_modifiers_that_contradict_the_attribute():
    structure = code("68171009", PrimaryAnatomicStructureModifierSequence=RIGHT)
    ds = described(PrimaryAnatomicStructureSequence=Sequence([structure]), Laterality="L")
    assert facts(ds).laterality is None


def test_frame_laterality_of_the_shared_groups():
    anatomy = described(FrameLaterality="L")
    shared = described(FrameAnatomySequence=Sequence([anatomy]))
    ds = described(SharedFunctionalGroupsSequence=Sequence([shared]))
    assert facts(ds).laterality == "L"


@pytest.mark.parametrize(
    "attributes",
    [
        {"BodyPartExamined": "AXILLA"},
        {"BodyPartExamined": "BREAST"},
        {"StudyDescription": "US AXILLARY NODES"},
        {"SeriesDescription": "Achselhöhle li"},
        {"ProtocolName": "creux axillaire droit"},
        {"StudyDescription": "ecografía axilar"},
        {"StudyDescription": "Mamma bds."},
        {"ImageType": ["ORIGINAL", "PRIMARY", "BREAST"]},
        {"AnatomicRegionSequence": Sequence([code("91470000")])},
        {"AnatomicRegionSequence": Sequence([code("T-04000", "SNM3")])},
        {"ProcedureCodeSequence": Sequence([code("X1", "99LOCAL", "US breast left")])},
    ],
)
def test_axilla_and_breast_are_eligible(attributes: dict[str, object]):
    assert eligible(facts(described(**attributes))) is not None


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"StudyDescription": "ECHOCARDIOGRAPHY", "ProtocolName": "PS LAX"},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        {"StudyDescription": "maxilla"},
        {"StudyDescription": "axillofemoral bypass"},
        {"StudyDescription": "Axillary vein thrombosis"},
        {"StudyDescription": "left internal mammary artery"},
        {"AnatomicRegionSequence": Sequence([code("91470000", "99LOCAL")])},
    ],
)
def test_others_are_not(attributes: dict[str, object]):
    assert eligible(facts(described(**attributes))) is None


def test_the_reason_names_the_word_and_not_the_text():
    reason = eligible(facts(described(StudyDescription="Doe Jane axilla 1970")))
    assert reason == "description says axilla"


def test_texts_are_decoded_under_the_character_set(tmp_path: Path):
    ds = image_dataset(b"\0" * 12, 2, 2, SpecificCharacterSet="ISO_IR 100")
    ds.StudyDescription = "Achselhöhle"
    found = facts(read_header(write(tmp_path / "a.dcm", ds)))
    assert "Achselhöhle" in found.descriptions
    assert eligible(found) == "description says achselhohle"


def test_a_sequence_in_the_place_of_a_text_says_nothing():
    """Printed it would be somebody's data, and what is damaged in it cannot be printed."""
    ds = described(SeriesDescription="Axilla", SeriesNumber=1)
    for keyword in ("SeriesDescription", "SeriesNumber"):
        ds[keyword] = DataElement(keyword, "SQ", [described(PatientName="Test^Axilla left")])
    found = facts(ds)
    assert (found.descriptions, found.series_number, found.laterality) == ((), None, None)


def test_a_sequence_that_ends_too_early_says_nothing(tmp_path: Path):
    """It is parsed when it is first asked for, and calls that an error of the disk."""
    extra = wire.element(0x00081032, b"SQ", b"\xfe\xff", wire.EXPLICIT)
    path = tmp_path / "image.dcm"
    head = header(wire.US_IMAGE, "1.2.3.4", wire.EXPLICIT)
    path.write_bytes(head + wire.dataset(wire.EXPLICIT, extra=extra))
    assert eligible(facts(read_header(path))) is None


def test_identifiers_and_numbers():
    ds = image_dataset(b"", 2, 2, SeriesNumber=3, InstanceNumber=7)
    found = facts(ds)
    assert (found.modality, found.series_number, found.instance_number) == ("US", 3, 7)
    assert found.series_instance_uid == "1.2.3"


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_gives_a_side_or_none(series: str, view: str):
    found = facts(described(SeriesDescription=series, ViewName=view[:16]))
    assert found.laterality in ("R", "L", None)


@pytest.mark.parametrize(
    ("name", "side"),
    [("aloka_BE_segpalette16.dcm", "R"), ("esaote_ybr422_uncompressed.dcm", None)],
)
def test_real_files(name: str, side: str | None):
    found = facts(read_header(us_dicom() / name))
    assert (found.laterality, eligible(found)) == (side, None)
