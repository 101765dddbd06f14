"""One frame's bytes to its samples: the home of the decoders that are kept.

Pillow decodes baseline JPEG, and RLE of bytes; pylibjpeg-openjpeg JPEG 2000; GDCM lossless JPEG and
JPEG-LS; pydicom itself native data and whatever RLE Pillow refuses.
"""

import struct
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import UID, MPEGTransferSyntaxes, RLELossless

from .codestream import Codestream, codestream, jpeg_components
from .errors import FrameError
from .findings import Reason
from .header import DAMAGE, quiet
from .pixel_format import PixelFormat

Samples = NDArray[np.uint8] | NDArray[np.uint16]  # (H, W) or (H, W, 3), as stored

# Not in pydicom 3.0's dictionary of decoders under any name: lossless, JPEG recompression, lossy.
JPEG_XL = frozenset({f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112)})


def decoder_for(syntax: UID) -> Decoder:
    """Return pydicom's decoder of a transfer syntax.

    Raises
    ------
    FrameError
        UNSUPPORTED_SYNTAX if no kept decoder reads it: JPEG XL, MPEG, HEVC, unknown ones.
    """
    named = syntax if syntax.is_valid else "of a malformed UID"
    unsupported = FrameError(
        Reason.UNSUPPORTED_SYNTAX,
        f"No decoder for transfer syntax {named}; send the image in another one.",
    )
    if syntax in JPEG_XL or syntax in MPEGTransferSyntaxes:
        raise unsupported
    with quiet():
        try:
            decoder = get_decoder(syntax)
        except (NotImplementedError, ValueError):
            raise unsupported from None
        if syntax.is_encapsulated and not decoder.is_available:
            raise unsupported
    return decoder


def samples(data: bytes, fmt: PixelFormat, decoder: Decoder, vr: str) -> tuple[Samples, str, int]:
    """Decode one frame.

    Parameters
    ----------
    data : bytes
        The frame as it lies in the file.
    fmt : PixelFormat
        Checked attributes; a 4:2:2 photometric interpretation means that native data is so.
    decoder : Decoder
        Of the file's transfer syntax.
    vr : str
        VR of the pixel data element, "OB" or "OW".

    Returns
    -------
    Samples, str, int
        (H, W) or (H, W, 3) unsigned bit patterns; for three components "RGB" or "YBR" as declared
        by codestream or attributes; the number of bits per sample.

    Raises
    ------
    FrameError
        UNDECODABLE if the bytes are damaged or are no frame of the stated size; TOO_LARGE if
        memory does not suffice.
    """
    marked = decoder.is_encapsulated and RLELossless != decoder.UID
    stream = codestream(data) if marked else None
    if stream is not None:
        _check_size(stream, fmt)
    try:
        with quiet():
            array = _fast(data, fmt, decoder, stream)
            if array is None:
                array = _by_pydicom(data, fmt, decoder, vr)
    except MemoryError as error:
        raise FrameError(Reason.TOO_LARGE, "The frame does not fit into memory.") from error
    except (*DAMAGE, OSError) as error:
        raise FrameError(Reason.UNDECODABLE, "The frame's bytes are damaged.") from error
    if array.shape != fmt.shape:
        raise FrameError(Reason.UNDECODABLE, "The decoded frame is not of the stated size.")
    return _bits(array, fmt, decoder), _declared(stream, fmt), fmt.stored


def _check_size(stream: Codestream, fmt: PixelFormat) -> None:
    # Before decoding: the decoder allocates what the codestream says.
    stated = (fmt.rows, fmt.columns, fmt.samples)
    if (stream.rows, stream.columns, stream.components) != stated or stream.precision > 16:
        raise FrameError(
            Reason.UNDECODABLE, "The compressed frame has another size than Rows and Columns say."
        )


def _fast(
    data: bytes, fmt: PixelFormat, decoder: Decoder, stream: Codestream | None
) -> NDArray[np.uint8] | None:
    """Have Pillow decode what it can; None: pydicom does it."""
    if stream is not None and stream.baseline:
        return jpeg_components(data)
    return _run_lengths(data, fmt) if RLELossless == decoder.UID else None


def _run_lengths(data: bytes, fmt: PixelFormat) -> NDArray[np.uint8] | None:
    """Decode RLE (PS3.5 annex G) of bytes in five times less time than pydicom; None: it should.

    A segment is TIFF's PackBits of one component. What is damaged, or of more than a byte, is
    pydicom's, which knows more of how writers err.
    """
    count, *offsets = struct.unpack_from("<16L", data)
    if fmt.allocated != 8 or count != fmt.samples:
        return None
    bounds = [*offsets[:count], len(data)]
    size = (fmt.columns * fmt.rows, 1)  # one line: runs may reach from row to row
    try:
        planes = [
            Image.frombytes("L", size, data[start:end], "packbits", "L")
            for start, end in pairwise(bounds)
        ]
    except (ValueError, OSError):
        return None
    whole = planes[0] if count == 1 else Image.merge("RGB", planes)
    return np.asarray(whole).reshape(fmt.shape)


def _by_pydicom(data: bytes, fmt: PixelFormat, decoder: Decoder, vr: str) -> NDArray[Any]:
    options: dict[str, Any] = {
        "rows": fmt.rows,
        "columns": fmt.columns,
        "number_of_frames": 1,
        "samples_per_pixel": fmt.samples,
        "photometric_interpretation": fmt.photometric,
        "planar_configuration": fmt.planar,
        "bits_allocated": fmt.allocated,
        "bits_stored": fmt.stored,
        "pixel_representation": int(fmt.signed),
        "pixel_keyword": "PixelData",
        "pixel_vr": vr,
    }
    if decoder.is_encapsulated:
        data = encapsulate([data], has_bot=False)
    else:
        data += b"\0" * (len(data) % 2)
        if vr == "OW" and fmt.allocated == 8 and not decoder.UID.is_little_endian:
            data = _words_in_order(data, fmt)
            options["pixel_vr"] = "OB"
    array, _ = decoder.as_array(data, index=0, raw=True, **options)
    return array


def _words_in_order(data: bytes, fmt: PixelFormat) -> bytes:
    """Put the 8-bit samples of big endian words into the order of the picture.

    They are to be swapped (PS3.5 annex D), but writers forget it. In the right order neighbouring
    pixels differ less.
    """
    stored = np.frombuffer(data, dtype=np.uint8)
    swapped = stored.reshape(-1, 2)[:, ::-1].reshape(-1)
    step = fmt.samples if fmt.planar == 0 else 1
    return (stored if _roughness(stored, step) < _roughness(swapped, step) else swapped).tobytes()


def _roughness(samples: NDArray[np.uint8], step: int) -> int:
    return int(np.abs(np.diff(samples.astype(np.int16)[::step])).sum())


def _bits(array: NDArray[Any], fmt: PixelFormat, decoder: Decoder) -> Samples:
    # Sign and unused bits taken off: an index into tables of 2 ** stored entries.
    if array.dtype.itemsize == 1:
        values: NDArray[Any] = array.view(np.uint8)
    else:
        values = array.astype(array.dtype.newbyteorder("="), copy=False).view(np.uint16)
    if not decoder.is_encapsulated and fmt.high_bit + 1 > fmt.stored:
        values = values >> (fmt.high_bit + 1 - fmt.stored)
    if fmt.stored < 8 * values.itemsize:
        values = values & ((1 << fmt.stored) - 1)
    return values


def _declared(stream: Codestream | None, fmt: PixelFormat) -> str:
    if stream is not None and stream.colour:
        return stream.colour
    # YBR_ICT and YBR_RCT are undone by the decoder of JPEG 2000.
    return "YBR" if fmt.photometric.startswith("YBR_FULL") else "RGB"
