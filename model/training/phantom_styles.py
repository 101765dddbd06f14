"""Scanner styles: how one machine turns echoes into a picture and what it writes around it.

The machines are invented. `HELD_OUT` is never drawn at random: it is the machine that a network
has not seen in training.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """One invented scanner; ranges are drawn from uniformly, per picture."""

    name: str
    sizes: tuple[tuple[int, int], ...]  # (H, W) of the screen picture, pixels
    windows: tuple[str, ...]  # linear, trapezoid, curved; repeated to weigh
    layout: str  # "left", "top", "bottom" or "bare": where the text stands
    margins: tuple[float, float, float, float]  # left, top, right, bottom; share of the screen
    dynamic_range_db: tuple[float, float]
    brightness: tuple[float, float]  # grey of the median tissue, 0..1
    gamma: tuple[float, float]
    axial_mm: tuple[float, float]  # deviation of the point spread function
    lateral_mm: tuple[float, float]
    smoothing: tuple[float, float]  # 0: raw speckle, 1: speckle filtered away
    tint: tuple[float, float, float]  # of the grey map, RGB factors
    text_rgb: tuple[int, int, int]
    body_text: float  # chance of a label written into the tissue
    looks: tuple[int, int] = (1, 1)  # pictures compounded into one, from and to; fewer are grainier


_WHITE = (1.0, 1.0, 1.0)

STYLES = {
    style.name: style
    for style in (
        Style(
            "alder",
            ((600, 800), (576, 768), (480, 640)),
            ("linear", "linear", "trapezoid"),
            "left",
            (0.16, 0.07, 0.10, 0.05),
            (52, 66),
            (0.27, 0.42),
            (0.9, 1.2),
            (0.07, 0.11),
            (0.15, 0.28),
            (0.3, 0.7),
            _WHITE,
            (255, 255, 255),
            0.4,
        ),
        Style(
            "birch",
            ((768, 1024), (600, 800)),
            ("linear",),
            "top",
            (0.10, 0.10, 0.12, 0.06),
            (58, 74),
            (0.3, 0.45),
            (0.9, 1.15),
            (0.06, 0.1),
            (0.13, 0.24),
            (0.5, 0.85),
            _WHITE,
            (200, 220, 255),
            0.4,
        ),
        Style(
            "cedar",
            ((480, 640), (480, 720)),
            ("linear", "curved"),
            "bottom",
            (0.06, 0.05, 0.08, 0.17),
            (46, 60),
            (0.24, 0.38),
            (0.85, 1.1),
            (0.09, 0.15),
            (0.2, 0.38),
            (0.1, 0.5),
            (1.0, 0.97, 0.90),
            (255, 230, 120),
            0.3,
        ),
        Style(
            "dogwood",
            ((472, 560), (390, 472), (463, 556), (540, 700)),
            ("linear",),
            "bare",
            (0.0, 0.0, 0.0, 0.0),
            (50, 68),
            (0.26, 0.5),
            (0.85, 1.25),
            (0.055, 0.1),
            (0.12, 0.24),
            (0.45, 0.9),
            _WHITE,
            (235, 235, 235),
            0.7,
        ),
        Style(
            "elm",
            ((768, 1024), (720, 960), (576, 768)),
            ("linear", "trapezoid", "curved"),
            "left",
            (0.12, 0.09, 0.14, 0.10),
            (50, 64),
            (0.26, 0.42),
            (0.9, 1.2),
            (0.08, 0.13),
            (0.18, 0.34),
            (0.25, 0.7),
            (0.92, 0.97, 1.0),
            (120, 220, 140),
            0.5,
        ),
        Style(
            "fir",
            ((600, 800), (540, 720)),
            ("linear", "trapezoid"),
            "top",
            (0.08, 0.11, 0.09, 0.08),
            (54, 70),
            (0.28, 0.44),
            (0.8, 1.1),
            (0.06, 0.1),
            (0.13, 0.24),
            (0.4, 0.85),
            (1.0, 0.98, 0.95),
            (255, 255, 255),
            0.3,
        ),
        Style(
            "ivy",
            ((472, 560), (390, 472), (463, 556), (580, 760)),
            ("linear",),
            "bare",
            (0.0, 0.0, 0.0, 0.0),
            (56, 84),
            (0.26, 0.46),
            (0.8, 1.2),
            (0.045, 0.08),
            (0.09, 0.18),
            (0.3, 0.8),
            _WHITE,
            (255, 255, 255),
            0.6,
            (2, 4),
        ),
        Style(
            "juniper",
            ((600, 800), (768, 1024)),
            ("linear", "linear", "trapezoid"),
            "left",
            (0.13, 0.08, 0.08, 0.06),
            (56, 80),
            (0.26, 0.44),
            (0.85, 1.2),
            (0.05, 0.09),
            (0.10, 0.2),
            (0.3, 0.8),
            (0.97, 0.98, 1.0),
            (220, 230, 255),
            0.5,
            (2, 4),
        ),
        Style(
            "hazel",
            ((540, 760), (660, 880)),
            ("linear", "linear", "trapezoid", "curved"),
            "bottom",
            (0.09, 0.08, 0.11, 0.13),
            (48, 72),
            (0.26, 0.44),
            (0.8, 1.25),
            (0.07, 0.12),
            (0.15, 0.3),
            (0.3, 0.8),
            (0.97, 1.0, 0.97),
            (255, 200, 160),
            0.4,
            (1, 3),
        ),
    )
}

HELD_OUT = ("hazel",)
TRAINING = tuple(name for name in STYLES if name not in HELD_OUT)
