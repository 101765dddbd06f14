"""Doppler on phantoms: colour over a grey picture, and a spectral trace without any tissue."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from model.training.phantom_records import PhantomImage


def add_colour(picture: PhantomImage, share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture with colour flow in a box round its largest node.

    Parameters
    ----------
    picture
        With at least one node.
    share
        Of the tissue box that is coloured in the end, 0..0.6.
    rng
        Draws the vessels.

    Returns
    -------
    NDArray[np.uint8]
        (H, W, 3) RGB.
    """
    x0, y0, x1, y1 = picture.tissue_box
    colour_box = _colour_box(picture, share)
    left, top, right, bottom = colour_box
    flow = ndimage.gaussian_filter(rng.standard_normal((bottom - top, right - left)), 6)
    strength = np.abs(flow)
    wanted = min(share * (x1 - x0) * (y1 - y0) / strength.size, 0.9)
    shown = strength > np.quantile(strength, 1 - wanted)
    frame = picture.frame.copy()
    patch = frame[top:bottom, left:right]
    patch[shown] = _velocity_colour(flow / strength.max())[shown]
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(230, 230, 230))
    for k in range(80):  # the colour bar, left of the tissue
        tone = _velocity_colour(np.full((1, 1), 1 - k / 39.5))[0, 0]
        draw.line((x0 - 34, y0 + 40 + k, x0 - 24, y0 + 40 + k), fill=tuple(int(v) for v in tone))
    return np.asarray(image)


def _colour_box(picture: PhantomImage, share: float) -> tuple[int, int, int, int]:
    """Return a box round the largest node, large enough to hold the colour."""
    x0, y0, x1, y1 = picture.tissue_box
    rows, columns = np.nonzero(picture.nodes[0].mask)
    centre = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    half = (np.ptp(columns) / 2 + 8, np.ptp(rows) / 2 + 8)
    side = np.sqrt(max(share * 1.9 * (x1 - x0) * (y1 - y0) / (4 * half[0] * half[1]), 1.0))
    half = min(half[0] * side, (x1 - x0) * 0.49), min(half[1] * side, (y1 - y0) * 0.49)
    left = int(np.clip(centre[0] - half[0], x0, x1 - 2 * half[0]))
    top = int(np.clip(centre[1] - half[1], y0, y1 - 2 * half[1]))
    return left, top, left + int(2 * half[0]), top + int(2 * half[1])


def _velocity_colour(velocity: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colour of a velocity in -1..1: red to yellow towards the probe, blue to cyan away."""
    speed = np.clip(np.abs(velocity), 0, 1)
    strong, second = 150 + 105 * speed, 220 * speed**1.3
    weak = np.full_like(speed, 15.0)
    towards = np.stack([strong, second, weak], -1)
    away = np.stack([weak, second, strong], -1)
    return np.where((velocity > 0)[..., None], towards, away).astype(np.uint8)


def spectral_frame(
    size: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """Return a pulsed-wave Doppler trace without a B-mode picture, and the box of the trace.

    Parameters
    ----------
    size
        (H, W) of the screen.
    rng
        Draws heart rate and noise.
    """
    height, width = size
    box = round(0.08 * width), round(0.12 * height), round(0.9 * width), round(0.88 * height)
    x0, y0, x1, y1 = box
    peak = _envelope(np.linspace(0, 4, x1 - x0), rng.uniform(1.0, 1.3))[None, :]
    velocity = np.linspace(1.1, -0.35, y1 - y0)[:, None]
    filled = np.clip((peak - velocity) / 0.05, 0, 1) * np.clip((velocity - 0.03) / 0.05, 0, 1)
    dense = 0.25 + 0.75 * np.exp(-(((peak - velocity - 0.08) / 0.12) ** 2))
    grain = ndimage.gaussian_filter(rng.gamma(1.5, 0.6, filled.shape), (1.0, 0.6))
    trace = np.clip(255 * (filled * dense * grain + 0.03 * grain), 0, 255)
    frame = np.zeros((height, width, 3), np.uint8)
    frame[y0:y1, x0:x1] = trace.astype(np.uint8)[..., None]
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    base = y0 + round((y1 - y0) * 1.1 / 1.45)
    draw.line((x0, base, x1, base), fill=(255, 200, 60))
    draw.text((8, 8), "AXILLA PHANTOM   PW   PRF 3.1kHz   60 deg", fill=(255, 255, 255))
    for k in range(9):
        at = x0 + k * (x1 - x0) // 8
        draw.line((at, y1 + 4, at, y1 + 9), fill=(255, 255, 255))
    return np.asarray(image), box


def _envelope(seconds: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Peak velocity over time of an artery, 0..1."""
    phase = np.mod(seconds * rate, 1.0)
    systole = np.exp(-(((phase - 0.14) / 0.075) ** 2))
    return 0.18 + 0.75 * systole + 0.12 * np.exp(-(((phase - 0.42) / 0.1) ** 2))
