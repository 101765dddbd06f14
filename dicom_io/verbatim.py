"""What is copied from a source image byte for byte: patient, study and character set.

Decoding and encoding again loses what a modality wrote, above all in ISO 2022 names.
"""

import re
from collections.abc import Iterator

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

# Patient, General Study and Patient Study modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2). True: type 2,
# written empty where the source has none.
_COPIED = {
    "PatientName": True,
    "PatientID": True,
    "IssuerOfPatientID": False,
    "PatientBirthDate": True,
    "PatientBirthTime": False,
    "PatientSex": True,
    "StudyDate": True,
    "StudyTime": True,
    "ReferringPhysicianName": True,
    "StudyID": True,
    "AccessionNumber": True,
    "StudyDescription": False,
    "PatientAge": False,
    "PatientSize": False,
    "PatientWeight": False,
}

# Values that PS3.5 6.2 allows. One outside would make our object invalid too, and no archive
# matches by it: it is left empty. Name and ID of the patient are kept whatever they hold.
_ALLOWED = {
    "DA": re.compile(rb"[0-9]{8}"),
    "TM": re.compile(rb"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?"),
    "CS": re.compile(rb"[A-Z0-9_ ]{1,16}"),
    "AS": re.compile(rb"[0-9]{3}[DWMY]"),
    "DS": re.compile(rb"(?=.{1,16}$) *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"),
}
# ACR-NEMA wrote 1994.03.04 and 10:20:30, which means the same without the marks (PS3.5 6.2)
_OLD_MARKS = {"DA": b".", "TM": b":"}
_SEX = re.compile(rb"[MFO]")
# Here the byte of a backslash may be part of a character, or a yen sign (PS3.5 6.1.2.3)
_BACKSLASH_IN_TEXT = re.compile(rb"2022|GB|IR 13")
_TERM = re.compile(
    rb"ISO[ _-]?(2022[ _-]?)?IR[ _-]?"
    rb"(6|13|58|87|100|101|109|110|126|127|138|144|148|149|159|166|192|203)"
)
OFFSET = re.compile(rb"([+-])([01][0-9])([0-5][0-9])")  # TimezoneOffsetFromUTC, PS3.3 C.12.1.1.8


def raw_value(ds: Dataset, tag: BaseTag) -> bytes:
    """Return an element's value as it lies in the file; empty where absent."""
    if tag not in ds:
        return b""
    element = ds.get_item(tag)
    if element.is_raw:
        return bytes(element.value or b"")
    # pydicom decodes SpecificCharacterSet and SOPClassUID while it reads; both are ASCII
    value = element.value
    values = [value] if isinstance(value, str) or value is None else list(value)
    return "\\".join(str(part or "") for part in values).encode("ascii", "replace")


def raw_element(keyword: str, value: bytes) -> RawDataElement:
    """Return an element that is written exactly as `value`, padded to even length."""
    if len(value) % 2:
        value += b" "
    tag = Tag(keyword)
    return RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)


def identity(ds: Dataset) -> Iterator[RawDataElement]:
    """Yield the source's patient and study elements, byte for byte."""
    separates = not _BACKSLASH_IN_TEXT.search(character_set(ds))
    for keyword, required in _COPIED.items():
        value = _modern(keyword, raw_value(ds, Tag(keyword)))
        if not _is_allowed(keyword, value.rstrip(b" \0")):
            value = b""
        if separates and b"\\" in value and keyword not in ("PatientName", "PatientID"):
            value = b""  # several values where PS3.6 allows one
        if value or required:
            yield raw_element(keyword, value)


def _modern(keyword: str, value: bytes) -> bytes:
    mark = _OLD_MARKS.get(dictionary_VR(keyword))
    return value.replace(mark, b"") if mark else value


def _is_allowed(keyword: str, value: bytes) -> bool:
    pattern = _SEX if keyword == "PatientSex" else _ALLOWED.get(dictionary_VR(keyword))
    return pattern is None or not value or pattern.fullmatch(value) is not None


def character_set(ds: Dataset) -> bytes:
    """Return the SpecificCharacterSet to write; its first value may be empty, or all of it.

    A misspelt term such as `ISO-IR 100` is written as PS3.3 C.12.1.1.2 spells it; one that names
    no character set is left out, for no reader could obey it.
    """
    terms = raw_value(ds, Tag("SpecificCharacterSet")).rstrip(b" \0").split(b"\\")
    spelt = [_term(term.strip(b" \0").upper()) for term in terms]
    known = [term for term in spelt if term is not None]
    return b"\\".join(known) if len(known) == len(spelt) else b""


def _term(term: bytes) -> bytes | None:
    if term in (b"", b"GB18030", b"GBK"):
        return term
    match = _TERM.fullmatch(term)
    if match is None:
        return None
    return (b"ISO 2022 IR " if match[1] else b"ISO_IR ") + match[2]


def timezone_offset(ds: Dataset) -> bytes:
    """Return the raw TimezoneOffsetFromUTC; empty where absent or not one."""
    value = raw_value(ds, Tag("TimezoneOffsetFromUTC")).strip(b" \0")
    return value if OFFSET.fullmatch(value) else b""


def allowed_values(ds: Dataset, keyword: str) -> list[str]:
    """Return an element's values as text where each is what PS3.5 6.2 allows; else none."""
    raw = _modern(keyword, raw_value(ds, Tag(keyword)))
    values = [value.strip(b" \0") for value in raw.split(b"\\")]
    fit = all(value and value.isascii() and _is_allowed(keyword, value) for value in values)
    return [value.decode("ascii") for value in values] if fit else []


def allowed_value(ds: Dataset, keyword: str) -> str:
    """Return an element's one value as text where PS3.5 6.2 allows it; else empty."""
    values = allowed_values(ds, keyword)
    return values[0] if len(values) == 1 else ""
