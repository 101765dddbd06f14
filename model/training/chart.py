"""A small chart with two axes, as SVG: no library is needed and it opens in every browser."""

from collections.abc import Iterable, Sequence
from html import escape

_WIDTH, _HEIGHT = 380, 330  # of the whole picture, user units
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 48  # margins around the plot
_TICKS = 5  # intervals on each axis

BLUE, ORANGE, GREY = "#1f5fa8", "#c4570c", "#777"

Point = tuple[float, float]


class Chart:
    """Axes, and what is drawn between them.

    Parameters
    ----------
    title, across, up
        Words above the chart, below the horizontal and beside the vertical axis.
    x, y
        Ranges of the axes.
    """

    def __init__(
        self, title: str, across: str, up: str, x: Point = (0.0, 1.0), y: Point = (0.0, 1.0)
    ) -> None:
        self._x, self._y = x, y
        self._title = title
        self._parts = [*self._frame(), *self._words(across, up)]
        self._legend: list[tuple[str, str]] = []

    def line(
        self, points: Iterable[Point], colour: str = BLUE, name: str = "", dashed: bool = False
    ) -> "Chart":
        """Draw a polyline; a name goes into the legend."""
        at = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self._place, points))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        if name:
            self._legend.append((colour, name))
        return self

    def dot(
        self, point: Point, colour: str = ORANGE, name: str = "", span: Point | None = None
    ) -> "Chart":
        """Draw a dot, with its vertical interval where there is one."""
        x, y = self._place(point)
        if span:
            low, high = (self._place((point[0], value))[1] for value in span)
            self._parts.append(
                f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" stroke-width="1.2"/>'
            )
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        if name:
            self._parts.append(_text(name, (x + 7, y + 14), size=10))
        return self

    def bars(self, edges: Sequence[float], heights: Sequence[float]) -> "Chart":
        """Draw adjoining bars; one edge more than heights."""
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
            (x0, y0), (x1, y1) = self._place((left, height)), self._place((right, 0.0))
            self._parts.append(
                f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0 - 1:.1f}" '
                f'height="{y1 - y0:.1f}" fill="{BLUE}"/>'
            )
        return self

    def svg(self) -> str:
        """Return the picture."""
        heading = _text(self._title, (_LEFT, 20), size=13, bold=True)
        return _picture(self._title, (_WIDTH, _HEIGHT), [heading, *self._parts, *self._named()])

    def _place(self, point: Point) -> Point:
        """Bring a point of the axes into the picture; beyond them it lies on the rim."""
        across, up = (
            min(max((value - low) / (high - low), 0.0), 1.0)
            for value, (low, high) in zip(point, (self._x, self._y), strict=True)
        )
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    def _frame(self) -> list[str]:
        """Grid, and numbers beside it."""
        parts = []
        for step in range(_TICKS + 1):
            x, y = (low + step * (high - low) / _TICKS for low, high in (self._x, self._y))
            left, bottom = self._place((x, y))
            parts += [
                f'<path d="M{left:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#ddd"/>',
                f'<path d="M{_LEFT} {bottom:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>',
                _text(f"{x:.3g}", (left, _HEIGHT - _BOTTOM + 16), anchor="middle"),
                _text(f"{y:.3g}", (_LEFT - 6, bottom + 4), anchor="end"),
            ]
        return parts

    def _words(self, across: str, up: str) -> list[str]:
        middle = (_HEIGHT - _BOTTOM + _TOP) / 2
        beside = _text(up, (14, middle), anchor="middle")
        return [
            _text(across, ((_WIDTH + _LEFT - _RIGHT) / 2, _HEIGHT - 10), anchor="middle"),
            f'<g transform="rotate(-90 14 {middle})">{beside}</g>',
        ]

    def _named(self) -> list[str]:
        """Return the legend, top right, where curves of these kinds rarely run."""
        parts = []
        for number, (colour, name) in enumerate(self._legend):
            y = _TOP + 16 + 15 * number
            parts += [
                f'<path d="M{_WIDTH - 150} {y - 4}h16" stroke="{colour}" stroke-width="3"/>',
                _text(name, (_WIDTH - 130, y)),
            ]
        return parts


def matrix(
    title: str, cells: Sequence[Sequence[int]], across: Sequence[str], down: Sequence[str]
) -> str:
    """Draw a table of counts whose cells are the darker the more of their row they hold."""
    parts = [_text(title, (10, 20), size=13, bold=True)]
    for row, (name, counts) in enumerate(zip(down, cells, strict=True)):
        parts.append(_text(name, (76, 88 + 70 * row), anchor="end"))
        for column, count in enumerate(counts):
            left, top = 84 + 110 * column, 50 + 70 * row
            share = count / max(sum(counts), 1)
            parts += [
                f'<rect x="{left}" y="{top}" width="108" height="68" fill="{BLUE}" '
                f'fill-opacity="{0.08 + 0.5 * share:.2f}"/>',
                _text(f"{count} ({share:.0%})", (left + 54, top + 39), anchor="middle", size=13),
            ]
    parts += [_text(w, (138 + 110 * i, 44), anchor="middle") for i, w in enumerate(across)]
    return _picture(title, (310, 196), parts)


def _picture(title: str, size: tuple[int, int], parts: Sequence[str]) -> str:
    """Wrap parts in one element of so many units, complete as a file too."""
    width, height = size
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *parts,
            "</svg>",
        ]
    )


def _text(
    words: str, at: Point, *, anchor: str = "start", size: int = 11, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="{size}" text-anchor="{anchor}"{weight} '
        f'fill="#222">{escape(words)}</text>'
    )
