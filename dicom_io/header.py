"""Reading the header of a stored image, and single values out of it, without surprises.

pydicom's warnings and many of its exceptions quote the offending value, which may be a patient's:
everything here runs inside `quiet`, and messages name attributes, never their values.
"""

import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from .errors import FrameError
from .findings import Reason

MAX_HEADER_BYTES: Final = 64 * 2**20  # that are read of a header; real ones have kilobytes
_LONGEST_VALUE = 2 * 2**20  # bytes; a longer one, such as a private volume, is stepped over

# What pydicom and the decoders raise on bytes they do not like. OSError is not among them: a disk
# that fails while the file is opened is no property of the image.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings raised inside: pydicom's quote element values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Bounded:
    """An open file of which no more is read than a header may hold."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MAX_HEADER_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read like a file."""
        if not 0 <= size <= self._left:
            raise FrameError(
                Reason.TOO_LARGE, f"The header is longer than {MAX_HEADER_BYTES >> 20} MiB."
            )
        self._left -= size
        return self._file.read(size)


def read_until_pixels(file: BinaryIO, *, force: bool = False) -> Dataset:
    """Read an open file up to its pixel data; what is far too long for a header is left out.

    Raises
    ------
    FrameError
        TOO_LARGE above `MAX_HEADER_BYTES`. Whatever pydicom raises on damage comes through.
    """
    source: Any = _Bounded(file)
    ds: Dataset = dcmread(source, defer_size=_LONGEST_VALUE, stop_before_pixels=True, force=force)
    for tag, element in list(ds.items()):
        if isinstance(element, RawDataElement) and element.value is None and element.length:
            del ds[tag]
    return ds


def read_header(path: Path) -> Dataset:
    """Return the data set of the file at `path` without its pixel data.

    Raises
    ------
    FrameError
        If the file is not DICOM, or its transfer syntax is deflated (which would have to be
        inflated whole before the first element can be read).
    OSError
        If the file cannot be opened, or the disk does not give its bytes.
    """
    with path.open("rb") as file:
        return read_header_from(file, path)


def read_header_from(file: BinaryIO, path: Path) -> Dataset:
    """Read the header from an open file, and leave it at the pixel data element, if there is one.

    A file without preamble is accepted when it holds a SOP Class UID: old archives hold such files.
    """
    with quiet():
        try:
            _refuse_deflated(path)
            ds = read_until_pixels(file)
        except (*DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's, not pydicom's
            ds = _without_preamble(file, error)
        except MemoryError as error:
            raise FrameError(Reason.TOO_LARGE, "The header does not fit into memory.") from error
    return ds


def _refuse_deflated(path: Path) -> None:
    if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise FrameError(
            Reason.UNSUPPORTED_SYNTAX, "Deflated data sets are not read; send it uncompressed."
        )


def _without_preamble(file: BinaryIO, cause: Exception) -> Dataset:
    damaged = FrameError(Reason.UNDECODABLE, "The file is not a readable DICOM file.")
    if not isinstance(cause, InvalidDicomError):
        raise damaged from None  # the cause may quote a value
    file.seek(0)
    try:
        ds = read_until_pixels(file, force=True)
        if "SOPClassUID" not in ds:
            raise damaged from None
    except (*DAMAGE, OSError, MemoryError):
        raise damaged from None
    return ds


def transfer_syntax(ds: Dataset) -> UID:
    """Return the transfer syntax of a read file; guessed where there is no meta group."""
    meta = getattr(ds, "file_meta", None)
    declared = text(meta, "TransferSyntaxUID") if meta is not None else ""
    if not declared:
        implicit, little = ds.original_encoding
        explicit = "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
        declared = "1.2.840.10008.1.2" if implicit else explicit
    with quiet():
        return UID(declared)


def integer(ds: Dataset, keyword: str, default: int | None = None) -> int | None:
    """Return an integer attribute; absent, empty, many-valued or not a number is `default`."""
    value = _single(ds, keyword)
    try:
        return int(str(value)) if value is not None else default
    except ValueError:
        return default


def decimal(ds: Dataset, keyword: str) -> float | None:
    """Return a numeric attribute, the first value where there are many; None if there is none."""
    value = _single(ds, keyword)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        value = value[0] if len(value) else None
    try:
        number = float(str(value)) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and isfinite(number) else None


def text(ds: Dataset, keyword: str) -> str:
    """Return a text attribute, decoded under the character set; values joined by a backslash."""
    value = _single(ds, keyword)
    if value is None or isinstance(value, bytes):
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\\".join(str(part) for part in value).strip()
    return str(value).strip(" \0")


def items(ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence; an absent or unreadable one has none."""
    value = _value(ds, keyword)
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        return ()
    return tuple(item for item in value if isinstance(item, Dataset))


def _single(ds: Dataset, keyword: str) -> object:
    # whoever asks for text or a number gets nothing out of a sequence, least of all its print
    value = _value(ds, keyword)
    return None if isinstance(value, Items) else value


def _value(ds: Dataset, keyword: str) -> object:
    # Values are converted at the first access, and may be anything. They lie in memory by then: an
    # OSError is pydicom's word for a sequence whose bytes end too early.
    with quiet():
        try:
            return ds.get(keyword)
        except (*DAMAGE, OSError):
            return None
