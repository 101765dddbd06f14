"""Pictures of what was found: the frame with each node's contour, name and score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_io.node_colour import rgb

_TEXT = (255, 255, 255)


@dataclass(frozen=True)
class Outline:
    """One contour to draw."""

    contour: NDArray[np.float64]  # (N, 2) columns, rows, in source pixels; closed
    number: int  # of the node; chooses the colour
    caption: str  # ASCII


def draw(frame: NDArray[np.uint8], outlines: Sequence[Outline], footer: str = "") -> Image.Image:
    """Draw outlines and captions over a frame (H, W, 3) uint8 RGB, with a footer below it."""
    picture = Image.fromarray(np.ascontiguousarray(frame))
    pen = ImageDraw.Draw(picture)
    size = max(11, frame.shape[0] // 40)
    font = ImageFont.load_default(size)
    for outline in outlines:
        colour = rgb(outline.number)
        points = [(float(x) - 0.5, float(y) - 0.5) for x, y in outline.contour]
        pen.line([*points, points[0]], fill=colour, width=max(2, frame.shape[1] // 400))
        place = _beside(outline.contour, frame.shape[1], pen.textlength(outline.caption, font))
        pen.text(
            place, outline.caption, fill=colour, font=font, stroke_width=2, stroke_fill=(0, 0, 0)
        )
    return _with_footer(picture, footer, size) if footer else picture


def _beside(contour: NDArray[np.float64], width: int, length: float) -> tuple[float, float]:
    right, top = contour[:, 0].max() + 4, contour[:, 1].min()
    return max(0.0, min(float(right), width - length - 4)), max(0.0, float(top) - 4)


def _with_footer(picture: Image.Image, footer: str, size: int) -> Image.Image:
    strip = _strip(footer, picture.width, size)
    canvas = Image.new("RGB", (picture.width, picture.height + strip.height))
    canvas.paste(picture, (0, 0))
    canvas.paste(strip, (0, picture.height))
    return canvas


@lru_cache(32)
def _strip(footer: str, width: int, size: int) -> Image.Image:
    """Return the footer as a picture; most pictures of a study have the same words."""
    font = ImageFont.load_default(size)
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    text = "\n".join(_wrapped(footer, width - 12, lambda line: measure.textlength(line, font)))
    box = measure.multiline_textbbox((0, 0), text, font=font)
    strip = Image.new("RGB", (width, int(box[3]) + 12))
    ImageDraw.Draw(strip).multiline_text((6, 4), text, fill=_TEXT, font=font)
    return strip


def _wrapped(text: str, width: float, length: Callable[[str], float]) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        candidate = f"{lines[-1]} {word}" if lines else word
        if lines and length(candidate) <= width:
            lines[-1] = candidate
        else:
            lines.append(word)
    return lines
