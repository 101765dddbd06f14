"""The scanned window: from probe lines to the screen.

A picture is computed on the probe's own grid (samples along lines) and then converted to the
screen, as a scanner does. Lateral position x and depth z are millimetres; x is 0 in the middle,
z is 0 at the probe's highest point.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from model.training.phantom_records import Field, Mask
from model.training.phantom_styles import Style

MAX_SAMPLES = 440  # along a line
MAX_LINES = 400


@dataclass(frozen=True)
class Window:
    """Shape and place of the tissue on the screen."""

    kind: str  # linear, trapezoid or curved
    box: tuple[int, int, int, int]  # x0, y0, x1, y1 on the screen
    mm_per_px: float
    apex_mm: float  # from the virtual apex to the probe face; 0 for a linear window
    half_angle: float  # radians; 0 for a linear window
    screen: tuple[int, int]  # (H, W) of the whole picture

    @property
    def depth_mm(self) -> float:
        """Depth shown."""
        return (self.box[3] - self.box[1]) * self.mm_per_px

    @property
    def width_mm(self) -> float:
        """Width of the box."""
        return (self.box[2] - self.box[0]) * self.mm_per_px

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and lines of the probe's grid."""
        width, height = self.box[2] - self.box[0], self.box[3] - self.box[1]
        return min(height, MAX_SAMPLES), min(width, MAX_LINES)

    @cached_property
    def grid(self) -> tuple[Field, Field, Field]:
        """Position x, z and distance from the probe's face of every sample, float32 (n, lines)."""
        samples, lines = self.shape
        along = np.linspace(0, 1, samples, dtype=np.float32)[:, None]
        across = np.linspace(-1, 1, lines, dtype=np.float32)[None, :]
        if self.kind == "linear":
            x = np.repeat(across * np.float32(self.width_mm / 2), samples, 0)
            z = np.repeat(along * np.float32(self.depth_mm), lines, 1)
            return x, z, z
        tangent = np.tan(across * np.float32(self.half_angle))
        if self.kind == "trapezoid":
            z = np.repeat(along * np.float32(self.depth_mm), lines, 1)
            return (z + np.float32(self.apex_mm)) * tangent, z, z
        radius = np.float32(self.apex_mm) + along * np.float32(self._radial_mm)
        angle = across * np.float32(self.half_angle)
        x, z = radius * np.sin(angle), radius * np.cos(angle) - np.float32(self._rise_mm)
        return x, z, np.repeat(radius - np.float32(self.apex_mm), lines, 1)

    @property
    def _rise_mm(self) -> float:
        """From the apex down to the top of the box."""
        return self.apex_mm * float(np.cos(self.half_angle))

    @property
    def _radial_mm(self) -> float:
        return self.depth_mm + self._rise_mm - self.apex_mm

    @cached_property
    def _source(self) -> tuple[NDArray[np.float32], Mask] | None:
        """Sample positions of every screen pixel of the box, and which lie in the window."""
        if self.kind == "linear":
            return None
        x0, y0, x1, y1 = self.box
        mm = np.float32(self.mm_per_px)
        x = ((np.arange(x1 - x0, dtype=np.float32) + 0.5) - (x1 - x0) / 2)[None, :] * mm
        z = (np.arange(y1 - y0, dtype=np.float32) + 0.5)[:, None] * mm
        samples, lines = self.shape
        if self.kind == "trapezoid":
            angle = np.arctan(x / (z + np.float32(self.apex_mm)))
            along = np.broadcast_to(z / np.float32(self.depth_mm), angle.shape)
        else:
            below = z + np.float32(self._rise_mm)
            angle = np.arctan2(x, below)
            along = (np.hypot(x, below) - self.apex_mm) / np.float32(self._radial_mm)
        across = angle / np.float32(self.half_angle)
        inside = (np.abs(across) <= 1) & (along >= 0) & (along <= 1)
        positions = np.stack([along * (samples - 1), (across + 1) / 2 * (lines - 1)])
        return positions.astype(np.float32), inside

    def to_screen(self, field: Field, fill: float) -> Field:
        """Convert a field of the probe's grid to the box on the screen, float32 (h, w)."""
        x0, y0, x1, y1 = self.box
        if self._source is None:
            if field.shape == (y1 - y0, x1 - x0):
                return field
            image = Image.fromarray(field).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
            return np.asarray(image, np.float32)
        positions, inside = self._source
        out = np.full(inside.shape, fill, np.float32)
        out[inside] = ndimage.map_coordinates(
            field, positions[:, inside], order=1, mode="nearest", prefilter=False
        )
        return out


def draw_window(style: Style, size: tuple[int, int] | None, rng: np.random.Generator) -> Window:
    """Draw kind, depth and place of the window for a screen of `size` (H, W)."""
    height, width = size or style.sizes[int(rng.integers(len(style.sizes)))]
    kind = style.windows[int(rng.integers(len(style.windows)))]
    left, top, right, bottom = (
        m * s for m, s in zip(style.margins, (width, height, width, height), strict=True)
    )
    depth = rng.uniform(26, 46) if kind != "curved" else rng.uniform(36, 60)
    probe = rng.uniform(36, 50)
    high = height - top - bottom
    mm = depth / high
    broad = width - left - right
    if style.layout == "bare":
        # a crop of the tissue: what the screen is wide decides, the probe is as wide as that
        mm = probe / broad
        high = min(high, rng.uniform(0.93, 1.0) * height)
        return Window("linear", (0, 0, width, round(high)), mm, 0.0, 0.0, (height, width))
    apex, half = 0.0, 0.0
    if kind == "linear":
        broad = min(broad, probe / mm)
    elif kind == "trapezoid":
        half = float(np.deg2rad(rng.uniform(8, 16)))
        broad = min(broad, (probe * 0.8 + 2 * depth * np.tan(half)) / mm)
        half = min(half, float(np.arctan(0.3 * broad * mm / depth)))
        face = broad * mm - 2 * depth * np.tan(half)
        apex = face / 2 / np.tan(half)
    else:
        half = float(np.deg2rad(rng.uniform(24, 34)))
        half_sine = np.sin(half)
        apex = rng.uniform(38, 60)
        radial = depth - apex * (1 - np.cos(half))
        if 2 * (apex + radial) * half_sine / mm > broad:
            mm = 2 * (apex + radial) * half_sine / broad
            high = depth / mm
        broad = 2 * (apex + radial) * half_sine / mm
    x0 = round(left + (width - left - right - broad) / 2)
    y0 = round(top)
    return Window(
        kind, (x0, y0, x0 + int(broad), y0 + int(high)), float(mm), apex, half, (height, width)
    )
