"""The check of codes: each is whole, and one that this product or its source knows."""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.codes import Code
from dicom_io.context import Source
from dicom_io.errors import ObjectError
from dicom_io.items import all_codes


def check_codes(ds: Dataset, sources: Sequence[Source]) -> None:
    """Raise ObjectError for a code that is incomplete, or that nobody defined."""
    known = codes.known().union(*map(procedures, sources))
    for code in all_codes(ds):
        if code not in known:
            raise ObjectError("a result object holds a code that is not defined")


def procedures(source: Source) -> Iterator[Code]:
    """Yield the procedure codes of a source; what they lack is empty."""
    for item in source.ds.get("ProcedureCodeSequence") or ():
        yield Code(*(str(item.get(keyword) or "").strip() for keyword in codes.KEYWORDS))
