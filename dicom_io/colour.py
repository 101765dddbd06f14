"""From the samples of a frame to what they look like: uint8 RGB.

Photometric interpretations are often wrong: JPEG tagged RGB that is YBR, decompressed RGB still
tagged YBR. Ultrasound is mostly grey on black, so its own pixels tell the two models apart: grey
has equal R, G and B, or both chroma samples at the middle.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from .header import DAMAGE, decimal, items, quiet, text
from .pixel_format import PixelFormat

_SAMPLED = 96  # the colour model is judged on at most 96 × 96 pixels
_DECISIVE = 4.0  # the declared model must explain grey this many times worse to be overruled


def rgb_from_components(
    planes: NDArray[np.uint8] | NDArray[np.uint16], declared: str, bits: int
) -> NDArray[np.uint8]:
    """Turn three components into RGB.

    Parameters
    ----------
    planes : NDArray
        (H, W, 3), values of `bits` bits.
    declared : str
        "RGB" or "YBR": what markers or attributes say; the pixels can overrule it.
    bits : int
        Bits per sample, 1..16.

    Returns
    -------
    NDArray[np.uint8]
        (H, W, 3) RGB.
    """
    eight = _eight_bits(planes, bits)
    return rgb_from_ybr(eight) if colour_model(eight, declared) == "YBR" else eight


def _eight_bits(planes: NDArray[np.uint8] | NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    if bits == 8:
        return np.ascontiguousarray(planes, dtype=np.uint8)
    if bits > 8:
        return np.ascontiguousarray(planes >> (bits - 8)).astype(np.uint8)
    return np.ascontiguousarray(planes << (8 - bits)).astype(np.uint8)


def colour_model(planes: NDArray[np.uint8], declared: str) -> str:
    """Return "RGB" or "YBR": `declared`, unless the pixels (H, W, 3) decisively contradict it."""
    step = (-(-planes.shape[0] // _SAMPLED), -(-planes.shape[1] // _SAMPLED))
    a, b, c = np.moveaxis(planes[:: step[0], :: step[1]].astype(np.int16), 2, 0)
    distance = {
        "RGB": float(np.mean(np.abs(a - b) + np.abs(a - c))),
        "YBR": float(np.mean(np.abs(b - 128) + np.abs(c - 128))),
    }
    other = "YBR" if declared == "RGB" else "RGB"
    contradicted = distance[other] * _DECISIVE + 8 < distance[declared]
    return other if contradicted else declared


def rgb_from_ybr(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert full-range YCbCr (PS3.3 C.7.6.3.1.2) to RGB, both (H, W, 3) uint8."""
    height, width = planes.shape[:2]
    image = PilImage.frombytes("YCbCr", (width, height), planes.tobytes())
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def grey_table(ds: Dataset, fmt: PixelFormat) -> NDArray[np.uint8]:
    """Return the display grey of every stored value of a monochrome image (PS3.4 N.2).

    Modality LUT, then the first VOI LUT or window; without one, the whole range of BitsStored.

    Returns
    -------
    NDArray[np.uint8]
        (2 ** bits_stored,), indexed by the stored bits read as an unsigned number.
    """
    stored = np.arange(2**fmt.stored, dtype=np.int32)
    if fmt.signed:
        stored[stored >= 2 ** (fmt.stored - 1)] -= 2**fmt.stored
    with quiet():
        try:
            values = np.asarray(apply_modality_lut(stored, ds), dtype=np.float64)
        except DAMAGE:  # a broken table: the stored values are the best there is
            values = stored.astype(np.float64)
    grey = _voi(values, ds)
    if fmt.photometric == "MONOCHROME1":
        grey = 1.0 - grey
    table: NDArray[np.uint8] = np.rint(grey * 255).astype(np.uint8)
    return table


def _voi(values: NDArray[np.float64], ds: Dataset) -> NDArray[np.float64]:
    # Output 0..1.
    if items(ds, "VOILUTSequence"):
        with quiet():
            try:
                mapped = np.asarray(apply_voi_lut(np.rint(values).astype(np.int32), ds), float)
                return _stretched(mapped, 0.0, float(mapped.max()))
            except DAMAGE:
                return _stretched(values, float(values.min()), float(values.max()))
    centre, width = decimal(ds, "WindowCenter"), decimal(ds, "WindowWidth")
    if centre is None or width is None or not width >= 1 or not np.isfinite(centre):
        return _stretched(values, float(values.min()), float(values.max()))
    return _window(values, centre, width, text(ds, "VOILUTFunction").upper())


def _stretched(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)


def _window(
    values: NDArray[np.float64], centre: float, width: float, function: str
) -> NDArray[np.float64]:
    # PS3.3 C.11.2.1.2 and C.11.2.1.3
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60)))
    if function == "LINEAR_EXACT":
        return _stretched(values, centre - width / 2, centre + width / 2)
    low = centre - 0.5 - (width - 1) / 2
    return _stretched(values, low, low + width - 1)
