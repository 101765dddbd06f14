"""Items that are written and read without detours say what pydicom would have said."""

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.filewriter import dcmwrite

from dicom_io import codes
from dicom_io.codes import Code
from dicom_io.items import all_codes, codes_of, new_item, put, text_of

ODD = Code("ABC", "99TEST", "An odd one")


def encoded(item: Dataset) -> bytes:
    """Return a data set that holds the item, in Explicit VR Little Endian."""
    ds = Dataset()
    ds.ContentSequence = [item]
    buffer = BytesIO()
    dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def read(item: Dataset) -> Dataset:
    """Return the item as a reader finds it, its elements not looked at yet."""
    (found,) = dcmread(BytesIO(encoded(item)), force=True).ContentSequence
    assert isinstance(found, Dataset)
    return found


def quick() -> Dataset:
    """Return an item made here."""
    ds = new_item()
    put(ds, "ValueType", "CODE")
    put(ds, "ConceptNameCodeSequence", codes.FINDING)
    put(ds, "ConceptCodeSequence", ODD)
    ds.TextValue = "odd"
    return ds


def plain() -> Dataset:
    """Return the same item made by pydicom alone."""
    ds = Dataset()
    ds.ValueType = "CODE"
    ds.ConceptNameCodeSequence = [codes.FINDING.item()]
    ds.ConceptCodeSequence = [ODD.item()]
    ds.TextValue = "odd"
    return ds


def test_the_bytes_are_those_that_pydicom_writes() -> None:
    assert encoded(quick()) == encoded(plain())
    assert encoded(quick()) == encoded(plain())  # the second time from memory


def test_an_item_can_be_looked_at_before_it_is_written() -> None:
    item = quick()
    assert item.ConceptCodeSequence[0].CodeMeaning == "An odd one"
    assert encoded(item) == encoded(plain())


def test_codes_and_text_are_read_back() -> None:
    for item in (read(quick()), plain()):
        assert text_of(item, "ValueType") == "CODE"
        assert codes_of(item, "ConceptCodeSequence") == (ODD,)
        assert set(all_codes(item)) == {codes.FINDING, ODD}


def test_a_code_that_lacks_its_scheme_is_not_taken_for_one_that_has_it() -> None:
    """What is remembered is remembered by all its bytes."""
    whole, lacking = quick(), plain()
    del lacking.ConceptCodeSequence[0].CodingSchemeDesignator
    assert codes_of(read(whole), "ConceptCodeSequence") == (ODD,)
    assert codes_of(read(lacking), "ConceptCodeSequence") == (Code("ABC", "", "An odd one"),)


def test_codes_within_codes_are_found() -> None:
    item = plain()
    item.ConceptCodeSequence[0].ConceptNameCodeSequence = [codes.AXILLA.item()]
    item.ContentSequence = [plain()]
    found = list(all_codes(read(item)))
    assert found.count(codes.AXILLA) == 1
    assert found.count(ODD) == 2


def test_an_empty_sequence_has_no_code() -> None:
    item = plain()
    item.ConceptCodeSequence = []
    assert codes_of(read(item), "ConceptCodeSequence") == ()


@pytest.mark.parametrize("look", [codes_of, text_of])
def test_what_is_not_there_is_an_error(look) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(KeyError):
        look(read(new_item()), "ConceptCodeSequence")
