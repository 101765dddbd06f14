"""Deflated Explicit VR Little Endian: the data set as one raw deflate stream (PS3.5 A.5).

Written for masks, which shrink to a few hundredths, and never received: a stranger's few kilobytes
may unfold to gigabytes.
"""

import zlib
from pathlib import Path
from typing import Final

from dicom_io import part10
from dicom_io.errors import MalformedInstance
from dicom_io.syntaxes import EXPLICIT_LITTLE

DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_RAW = -zlib.MAX_WBITS  # no zlib header and no checksum


def deflate(body: bytes) -> bytes:
    """Return an Explicit VR Little Endian data set deflated, padded to even length."""
    stream = zlib.compressobj(level=9, wbits=_RAW)
    packed = stream.compress(body) + stream.flush()
    return packed + b"\0" * (len(packed) % 2)


def inflated(path: Path) -> bytes:
    """Return a deflated Part 10 file of ours in Explicit VR Little Endian, otherwise the same.

    Raises
    ------
    MalformedInstance
        The data set is no deflate stream, or not a whole one.
    """
    meta, offset = part10.split(path)
    stream = zlib.decompressobj(_RAW)
    try:
        body = stream.decompress(path.read_bytes()[offset:])
    except zlib.error as error:
        raise MalformedInstance("the deflated data set is damaged") from error
    if not stream.eof:
        raise MalformedInstance("the deflated data set is cut short")
    return part10.header(meta.sop_class_uid, meta.sop_instance_uid, EXPLICIT_LITTLE) + body
