"""Items of sequences, written and read without detours: most of a result object are such items.

The same few codes stand in a report hundreds of times. Each is encoded once, and what was read is
decoded once.
"""

from collections.abc import Iterator
from functools import cache, lru_cache
from io import BytesIO
from typing import cast

from pydicom.charset import default_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.values import convert_SQ

from dicom_io.codes import KEYWORDS, Code

_MOST = 1024  # values that are remembered; sources bring procedure codes of their own
# The sequences of codes in a result that are repeated
_REPEATED = frozenset(
    Tag(keyword)
    for keyword in (
        "AlgorithmFamilyCodeSequence",
        "ConceptCodeSequence",
        "ConceptNameCodeSequence",
        "DerivationCodeSequence",
        "MeasurementUnitsCodeSequence",
        "PurposeOfReferenceCodeSequence",
    )
)


_tag = cache(Tag)


def new_item() -> Dataset:
    """Return an empty item, to be written in Explicit VR Little Endian with ASCII text.

    It says so of itself, and pydicom writes what stands in it as it stands. Of any other item
    pydicom searches everything below for VRs that depend on other elements, and it decodes raw
    elements to encode them again.
    """
    ds = Dataset()
    ds.set_original_encoding(False, True, default_encoding)
    return ds


def put(ds: Dataset, keyword: str, value: str | Code) -> None:
    """Set an element of a few values, ASCII text or one code; `ds` was made by `new_item`."""
    element = _encoded(keyword, value)
    ds[element.tag] = element


@lru_cache(_MOST)
def _encoded(keyword: str, value: str | Code) -> RawDataElement:
    ds = Dataset()
    setattr(ds, keyword, [value.item()] if isinstance(value, Code) else value)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, ds)
    written = BytesIO(buffer.getvalue())
    (element,) = read_dataset(written, is_implicit_VR=False, is_little_endian=True).elements()
    return cast(RawDataElement, element)


def text_of(ds: Dataset, keyword: str) -> str:
    """Return the ASCII text of an element that was read, and decode no more for it.

    Raises
    ------
    KeyError
        The data set has no such element.
    """
    if keyword not in ds:
        raise KeyError(keyword)
    value = ds.get_item(_tag(keyword)).value
    return str(value, "ascii").rstrip(" \0") if isinstance(value, bytes) else str(value)


def codes_of(ds: Dataset, keyword: str) -> tuple[Code, ...]:
    """Return the codes of a sequence in a data set that was read, at any depth.

    What a code lacks is empty.

    Raises
    ------
    KeyError
        The data set has no such sequence.
    """
    return _codes_in(ds, _tag(keyword))


def all_codes(ds: Dataset) -> Iterator[Code]:
    """Yield every code of a data set that was read, at any depth; what it lacks is empty."""
    if "CodeValue" in ds or "CodeMeaning" in ds:
        yield Code(*(str(ds.get(keyword, "")) for keyword in KEYWORDS))
    for tag in ds.keys():  # noqa: SIM118 - iterating over a data set decodes its elements
        if ds.get_item(tag).VR == "SQ":
            yield from _codes_in(ds, tag)


def _codes_in(ds: Dataset, tag: BaseTag) -> tuple[Code, ...]:
    value = ds.get_item(tag).value if tag in _REPEATED and tag in ds else None
    if isinstance(value, bytes):  # as it was read
        return _decoded(value)
    return tuple(code for item in ds[tag].value for code in all_codes(item))


@lru_cache(_MOST)
def _decoded(value: bytes) -> tuple[Code, ...]:
    items = convert_SQ(value, is_implicit_VR=False, is_little_endian=True)
    return tuple(code for item in items for code in all_codes(item))
