"""What is drawn in colour over the grey of an ultrasound picture, and the grey without it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from scipy import ndimage

Box = tuple[int, int, int, int]  # x0, y0, x1, y1: half-open pixel box

_CHROMA = 28  # of 255: JPEG's chroma noise and warm whites stay below
_SATURATION = 0.22  # chroma over brightest channel
_TINT_HINT = 0.05  # of the lit pixels coloured: with less the picture is not tinted
_HUED = 0.12  # chroma over brightest channel of a pixel that is not grey
_TINT_SHARE = 0.6  # of the lit pixels: a picture with a hue this widely may be tinted
_PALE = 0.55  # saturation that a tint stays below
_LIT = 24  # luma above which a pixel's hue can be judged


def luma(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the ITU-R 601 luma (H, W) uint8 of an RGB frame (H, W, 3) uint8."""
    return np.asarray(PilImage.fromarray(frame).convert("L"), dtype=np.uint8)


def colour_overlay(frame: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find what is drawn in colour: Doppler colours, coloured lines, calipers and text.

    A tint that lies evenly over the whole picture (sepia, blue) is no overlay.

    Parameters
    ----------
    frame : NDArray[np.uint8]
        (H, W, 3) RGB.

    Returns
    -------
    NDArray[np.bool_]
        (H, W).
    """
    red, green, blue = (frame[..., channel] for channel in range(3))
    highest = np.maximum(np.maximum(red, green), blue)
    chroma = highest - np.minimum(np.minimum(red, green), blue)
    coloured: NDArray[np.bool_] = chroma > np.maximum(_CHROMA, _SATURATION * np.arange(256))[
        highest
    ].astype(np.uint8)
    lit = highest > _LIT
    if np.count_nonzero(coloured) > _TINT_HINT * np.count_nonzero(lit):
        hued = lit & (chroma > (_HUED * np.arange(256)).astype(np.uint8)[highest])
        if np.count_nonzero(hued) > _TINT_SHARE * np.count_nonzero(lit):
            return _off_tint(frame, coloured, hued)
    return coloured


def _off_tint(
    frame: NDArray[np.uint8], coloured: NDArray[np.bool_], hued: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return the coloured pixels that differ from the one hue that tints the picture, if one does.

    A tint gives every luma one colour, and a pale one. Power Doppler too goes from dark red to
    yellow with its power, but is saturated, and grey tissue lies around it.
    """
    seen = frame[hued].astype(np.float32)
    saturation = 1 - seen.min(axis=1) / seen.max(axis=1)
    if np.median(saturation) > _PALE:
        return coloured
    grey = luma(frame)
    differences = frame.astype(np.int16) - grey[..., None].astype(np.int16)
    bins = grey >> 4
    off = np.zeros(grey.shape, dtype=np.int16)
    for level in range(16):
        here = bins == level
        if here.any():
            chosen = differences[here]
            off[here] = np.abs(chosen - np.median(chosen, axis=0)).max(axis=1)
    return coloured & (off > _CHROMA)


def colour_fraction(frame: NDArray[np.uint8], box: Box | None = None) -> float:
    """Return the share (0..1) of the box, or of the frame (H, W, 3), that colour covers."""
    x0, y0, x1, y1 = box or (0, 0, frame.shape[1], frame.shape[0])
    part = frame[y0:y1, x0:x1]
    return 0.0 if not part.size or _is_grey(part) else float(colour_overlay(part).mean())


def grey_without_overlay(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of a frame, with what is drawn in colour filled from the grey around it.

    Parameters
    ----------
    frame : NDArray[np.uint8]
        (H, W, 3) RGB.

    Returns
    -------
    NDArray[np.uint8]
        (H, W). Without overlay it is plain ITU-R 601 luma.
    """
    grey = luma(frame)
    if _is_grey(frame):
        return grey
    overlay = colour_overlay(frame)
    if not overlay.any():
        return grey
    # One pixel more: smoothed edges and half-resolution chroma bleed into the grey.
    hidden = _grown(overlay)
    filled = grey.copy()
    filled[hidden] = _surroundings(grey, hidden)
    return filled


def _is_grey(frame: NDArray[np.uint8]) -> bool:
    red, green, blue = (frame[..., channel] for channel in range(3))
    return np.array_equal(red, green) and np.array_equal(green, blue)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # Dilated by 3 × 3; scipy's own takes five times as long
    rows = mask.copy()
    rows[1:] |= mask[:-1]
    rows[:-1] |= mask[1:]
    grown = rows.copy()
    grown[:, 1:] |= rows[:, :-1]
    grown[:, :-1] |= rows[:, 1:]
    return grown


def _surroundings(grey: NDArray[np.uint8], hidden: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the grey for each hidden pixel (both (H, W)), in the order of `hidden.nonzero()`."""
    seen = np.where(hidden, np.uint8(0), grey)
    # The finest level is summed in integers and never filled as a whole: it costs the most.
    count = _pooled(_even_sided(~hidden).view(np.uint8).astype(np.uint16)).astype(np.float32)
    summed = _pooled(_even_sided(seen).astype(np.uint16)).astype(np.float32)
    coarse = _pull_push(_mean(summed, count), np.minimum(count, 1))
    rows, columns = hidden.nonzero()
    return np.rint(coarse[rows // 2, columns // 2]).astype(np.uint8)


def _pull_push(values: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill pixels of weight 0 from the nearest coarser level that knows their neighbourhood.

    Normalised convolution on a pyramid: every level averages 2 × 2 pixels by weight. Both arrays
    are (H, W) float32; weights are 0..1.
    """
    if min(values.shape) < 2:
        total = float(weights.sum())
        mean = float((values * weights).sum()) / total if total else 0.0
        return np.where(weights > 0, values, np.float32(mean))
    weight = _even_sided(weights)
    summed = _pooled(_even_sided(values) * weight)
    count = _pooled(weight)
    coarse = _pull_push(_mean(summed, count), np.minimum(count, 1))
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1)[: values.shape[0], : values.shape[1]]
    smooth = ndimage.uniform_filter(fine, 3, mode="nearest")
    filled: NDArray[np.float32] = weights * values + (1 - weights) * smooth
    return filled


def _even_sided(values: NDArray[Any]) -> NDArray[Any]:
    rows, columns = (side % 2 for side in values.shape)
    return np.pad(values, ((0, rows), (0, columns))) if rows or columns else values


def _pooled(values: NDArray[Any]) -> NDArray[Any]:
    # Sums of 2 × 2 pixels
    total = values[::2] + values[1::2]
    pooled: NDArray[Any] = total[:, ::2] + total[:, 1::2]
    return pooled


def _mean(summed: NDArray[np.float32], count: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(summed / np.maximum(count, 1e-6), dtype=np.float32)
