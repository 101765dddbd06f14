"""Whether a stored file still holds the bytes that it is named for.

A disk or a hand can change a file after it was acknowledged: it is hashed again before an image is
analysed and before a result is sent, and by ``axnode check --deep``.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from daemon.spool import found
from dicom_io import part10
from dicom_io.errors import DicomIOError

Digest = Callable[[Path], str]
"""Returns the name that a file's bytes would have."""


def instance_digest(path: Path) -> str:
    """Return the SHA-256 of transfer syntax and data set: what names an image's file."""
    meta, offset = part10.split(path)
    with path.open("rb") as file:
        file.seek(offset)
        start = meta.transfer_syntax_uid.encode()
        return hashlib.file_digest(file, lambda: hashlib.sha256(start)).hexdigest()


def object_digest(path: Path) -> str:
    """Return the SHA-256 of the whole file: what names a result's file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault(path: Path, digest: str, digest_of: Digest) -> str:
    """Return what is wrong with a stored file: ``missing``, ``damaged``, or nothing at all.

    Raises
    ------
    OSError
        The disk would not say; the file may be whole.
    """
    try:
        return "" if found(path, digest_of) == digest else "damaged"
    except FileNotFoundError:
        return "missing"
    except DicomIOError:
        return "damaged"  # its head is no DICOM file's any more
