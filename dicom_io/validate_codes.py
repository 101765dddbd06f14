"""The check of codes: each is whole, and one that this product or its source knows."""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.codes import Code
from dicom_io.context import Source
from dicom_io.errors import ObjectError


def check_codes(ds: Dataset, sources: Sequence[Source]) -> None:
    """Raise ObjectError for a code that is incomplete, or that nobody defined."""
    known = codes.known().union(*map(procedures, sources))
    for code in _codes(ds):
        if code not in known:
            raise ObjectError("a result object holds a code that is not defined")


def _codes(ds: Dataset) -> Iterator[Code]:
    """Yield every code of a data set, at any depth; what it lacks is empty."""
    if "CodeValue" in ds or "CodeMeaning" in ds:
        yield Code(*(str(ds.get(keyword, "")) for keyword in codes.KEYWORDS))
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from _codes(item)


def procedures(source: Source) -> Iterator[Code]:
    """Yield the procedure codes of a source; what they lack is empty."""
    for item in source.ds.get("ProcedureCodeSequence") or ():
        yield Code(*(str(item.get(keyword) or "").strip() for keyword in codes.KEYWORDS))
