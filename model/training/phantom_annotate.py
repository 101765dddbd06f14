"""What a scanner writes on its screen: text, ruler, grey bar, logo, calipers."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.training.phantom_styles import Style
from model.training.phantom_window import Window

_PROBES = ("L12-5", "L15-4", "ML6-15", "L18-4", "9L-D", "VF13-5", "L14-3")
_WORDS = {
    "R": ("RT AXILLA", "RIGHT AXILLA", "R AX", "AXILLA RT", "RT AX LN"),
    "L": ("LT AXILLA", "LEFT AXILLA", "L AX", "AXILLA LT", "LT AX LN"),
}


@dataclass(frozen=True)
class Caliper:
    """A measured distance: its two end points on the screen."""

    start: tuple[float, float]
    end: tuple[float, float]


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def annotate(
    frame: np.ndarray[Any, np.dtype[np.uint8]],
    window: Window,
    style: Style,
    laterality: str,
    rng: np.random.Generator,
    calipers: tuple[Caliper, ...] = (),
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the (H, W, 3) picture with a scanner's writing on it."""
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    height, width = frame.shape[:2]
    size = max(10, round(height / 42))
    word = str(rng.choice(_WORDS[laterality]))
    if style.layout != "bare":
        _lines(draw, style, (width, height), size, _texts(word, window, rng), rng)
        _ruler(draw, window, style)
        _grey_bar(draw, window, style, size, rng)
        _logo(draw, window, style, size)
    elif rng.random() < 0.7:
        draw.rectangle((0, 0, size * 0.8, size), fill=(0, 0, 0))
        draw.text((1, -1), "Q", fill=(255, 255, 255), font=_font(size))
    if rng.random() < style.body_text:
        _body_text(draw, window, style, size, word, rng)
    for caliper in calipers:
        _caliper(draw, caliper, style, size)
    return np.asarray(image)


def _texts(word: str, window: Window, rng: np.random.Generator) -> list[str]:
    texts = [
        "AXILLA PHANTOM",
        str(rng.choice(_PROBES)),
        f"{rng.integers(18, 60)}Hz",
        f"{window.depth_mm / 10:.1f}cm",
        "2D",
        f"{rng.integers(40, 85)}%",
        f"C {rng.integers(48, 66)}",
        str(rng.choice(["P Low", "P Med", "P High"])),
        str(rng.choice(["Res", "Gen", "Pen"])),
        f"MI {rng.uniform(0.5, 1.4):.1f}",
        f"TIS {rng.uniform(0.0, 0.5):.1f}",
    ]
    keep = [text for text in texts if rng.random() < 0.8]
    return [*keep, word]


def _lines(
    draw: ImageDraw.ImageDraw,
    style: Style,
    screen: tuple[int, int],
    size: int,
    texts: list[str],
    rng: np.random.Generator,
) -> None:
    width, height = screen
    font = _font(size)
    if style.layout == "left":
        for k, text in enumerate(texts):
            draw.text((6, height * 0.08 + k * size * 1.35), text, fill=style.text_rgb, font=font)
        return
    y = height * 0.015 if style.layout == "top" else height * 0.87
    per_row = int(rng.integers(4, 7))
    for k, text in enumerate(texts):
        x = 8 + (k % per_row) * width / per_row
        draw.text((x, y + (k // per_row) * size * 1.3), text, fill=style.text_rgb, font=font)


def _ruler(draw: ImageDraw.ImageDraw, window: Window, style: Style) -> None:
    _, y0, x1, y1 = window.box
    x = x1 + 8
    for k in range(int(window.depth_mm / 5) + 1):
        y = y0 + k * 5 / window.mm_per_px
        if y <= y1:
            draw.line((x, y, x + (8 if k % 2 == 0 else 4), y), fill=style.text_rgb)


def _grey_bar(
    draw: ImageDraw.ImageDraw,
    window: Window,
    style: Style,
    size: int,
    rng: np.random.Generator,
) -> None:
    if rng.random() < 0.3:
        return
    x = window.box[2] + 26
    top = window.box[1]
    for k in range(96):
        value = 255 - round(k * 255 / 95)
        tone = tuple(round(value * factor) for factor in style.tint)
        draw.line((x, top + k, x + size * 0.7, top + k), fill=tone)


def _logo(draw: ImageDraw.ImageDraw, window: Window, style: Style, size: int) -> None:
    x, y = window.box[0] - size, window.box[1] - size * 0.4
    draw.ellipse((x, y, x + size * 0.8, y + size * 0.8), outline=style.text_rgb)
    draw.text((x + size * 0.22, y - 1), style.name[0].upper(), fill=style.text_rgb, font=_font(10))


def _body_text(
    draw: ImageDraw.ImageDraw,
    window: Window,
    style: Style,
    size: int,
    word: str,
    rng: np.random.Generator,
) -> None:
    x0, y0, x1, y1 = window.box
    x = x0 + rng.uniform(0.05, 0.65) * (x1 - x0)
    y = y0 + rng.choice([rng.uniform(0.06, 0.25), rng.uniform(0.75, 0.92)]) * (y1 - y0)
    scale = rng.uniform(1.0, 1.7)
    bold = int(rng.random() < 0.5)
    draw.text(
        (x, y), word, fill=style.text_rgb, font=_font(round(size * scale)), stroke_width=bold * 0.5
    )


def _caliper(draw: ImageDraw.ImageDraw, caliper: Caliper, style: Style, size: int) -> None:
    arm = size * 0.35
    for x, y in (caliper.start, caliper.end):
        draw.line((x - arm, y, x + arm, y), fill=style.text_rgb)
        draw.line((x, y - arm, x, y + arm), fill=style.text_rgb)
    (xa, ya), (xb, yb) = caliper.start, caliper.end
    dots = max(2, int(np.hypot(xb - xa, yb - ya) / 6))
    for k in range(1, dots):
        t = k / dots
        draw.point((xa + t * (xb - xa), ya + t * (yb - ya)), fill=style.text_rgb)
