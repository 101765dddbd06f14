"""What a compressed frame says about itself, read from its markers before it is decoded."""

import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from .errors import FrameError
from .findings import Reason

_SOI, _SOS, _APP0, _APP14 = b"\xff\xd8", 0xDA, 0xE0, 0xEE
_SOC_SIZ = b"\xff\x4f\xff\x51"  # how a JPEG 2000 codestream begins
_JP2 = b"\0\0\0\x0cjP  "  # and a JP2 file (ITU-T T.800 I.5.1)
_SOF = frozenset(
    {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
)
# APP14 "Adobe" with colour transform 0: the components are to be given out as they are.
_NO_TRANSFORM = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


@dataclass(frozen=True)
class Codestream:
    """Size and colour of a compressed frame by its own markers."""

    rows: int
    columns: int
    components: int
    precision: int  # bits per sample
    colour: str | None  # "RGB", "YBR" or None: the markers do not say
    baseline: bool  # a JPEG that Pillow decodes: 8 bits, Huffman, lossy


def codestream(data: bytes) -> Codestream:
    """Read the markers of a JPEG, JPEG-LS or JPEG 2000 frame.

    Raises
    ------
    FrameError
        UNDECODABLE: it is none, or its header is damaged. Decoders written in C are not to see it:
        they would allocate what they make of it, and some end the process.
    """
    damaged = FrameError(Reason.UNDECODABLE, "The compressed frame's header is damaged.")
    if data[:8] == _JP2:  # a file around the codestream, which some writers leave
        data = data[max(data.find(_SOC_SIZ), 0) :]
    try:
        found = _jpeg2000(data) if data[:4] == _SOC_SIZ else _jpeg(data)
    except (struct.error, IndexError) as error:
        raise damaged from error
    if found is None:
        raise damaged
    return found


def _segments(data: bytes) -> list[tuple[int, int, bytes]]:
    # (marker, position of its 0xFF, payload) of everything ahead of the first scan (ITU-T T.81 B.1)
    found = []
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        found.append((marker, position, data[position + 4 : position + 2 + length]))
        if marker == _SOS:
            break
        position += 2 + length
    return found


def _jpeg(data: bytes) -> Codestream | None:
    segments = _segments(data) if data[:2] == _SOI else []
    frames = [(marker, payload) for marker, _, payload in segments if marker in _SOF]
    if not frames or segments[-1][0] != _SOS:
        return None
    marker, payload = frames[0]
    precision, rows, columns, components = struct.unpack_from(">BHHB", payload)
    ids = payload[6 : 6 + 3 * components : 3]
    sampling = payload[7 : 7 + 3 * components : 3]
    return Codestream(
        rows,
        columns,
        components,
        precision,
        _jpeg_colour(segments, ids, sampling) if components == 3 else None,
        baseline=marker in (0xC0, 0xC1, 0xC2) and precision == 8,
    )


def _jpeg_colour(segments: list[tuple[int, int, bytes]], ids: bytes, sampling: bytes) -> str | None:
    if len(set(sampling)) > 1:
        return "YBR"  # only chroma is ever stored at another resolution
    for marker, _, payload in segments:
        if marker == _APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:
            return "YBR" if payload[11] else "RGB"
    if ids == b"RGB":
        return "RGB"
    jfif = any(m == _APP0 and payload.startswith(b"JFIF\0") for m, _, payload in segments)
    return "YBR" if jfif else None


def _jpeg2000(data: bytes) -> Codestream:
    # SIZ is the first marker after SOC, COD follows (ITU-T T.800 A.5.1, A.6.1)
    x1, y1, x0, y0 = struct.unpack_from(">IIII", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    precision = (data[42] & 0x7F) + 1
    colour = None
    position = 4 + struct.unpack_from(">H", data, 4)[0]
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0x52:
            # With the component transform in the stream the decoder gives out RGB.
            colour = "RGB" if data[position + 8] else None
            break
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return Codestream(y1 - y0, x1 - x0, components, precision, colour, baseline=False)


def jpeg_components(data: bytes) -> NDArray[np.uint8]:
    """Decode a baseline JPEG to its components without any colour transform.

    Returns
    -------
    NDArray[np.uint8]
        (H, W) or (H, W, 3), as stored: RGB or YCbCr is for the caller to decide.
    """
    kept = [data[:2], _NO_TRANSFORM]
    position = 2
    for marker, start, payload in _segments(data):
        size = 4 + len(payload)
        kept.append(data[position:start])
        if marker not in (_APP0, _APP14):
            kept.append(data[start : start + size])
        position = start + size
    kept.append(data[position:])
    try:
        with PilImage.open(BytesIO(b"".join(kept)), formats=("JPEG",)) as image:
            return np.asarray(image, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise FrameError(Reason.UNDECODABLE, "The JPEG frame is damaged.") from error
