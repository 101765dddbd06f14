"""Charts as SVG, drawn on the server; colours are those of the page."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from daemon.console.drift import Day
from daemon.console.overview import Hour
from dicom_io.node_colour import rgb
from model.bundle_file import OperatingPoint

_WIDTH, _HEIGHT = 720, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 8, 24
_SQUARE, _MARGIN = 240, 40  # of charts of two shares


def studies_per_hour(hours: Sequence[Hour]) -> Markup:
    """Draw how many studies came in each hour."""
    most = max([1, *(hour.studies for hour in hours)])
    words = f"{sum(hour.studies for hour in hours)} studies came in the last {len(hours)} hours"
    bars = "".join(
        _bar(n, len(hours), hour.studies / most, f"{_hour(hour)}: {hour.studies} studies")
        for n, hour in enumerate(hours)
    )
    return _svg(words, _axis(most, "{:.0f}") + bars + _hours(hours))


def latency_per_hour(hours: Sequence[Hour]) -> Markup:
    """Draw the median time from queued to analysed in each hour."""
    known = [hour.analysis_s for hour in hours if hour.analysis_s is not None]
    most = max([1.0, *known])
    words = (
        f"Median seconds from queued to analysed, by the hour: {min(known):.1f} to {max(known):.1f}"
        if known
        else "Nothing was analysed in the last 24 hours"
    )
    points = [(n, hour) for n, hour in enumerate(hours) if hour.analysis_s is not None]
    dots = "".join(
        _dot(
            n, len(hours), (hour.analysis_s or 0) / most, f"{_hour(hour)}: {hour.analysis_s:.1f} s"
        )
        for n, hour in points
    )
    line = _line([(n, (hour.analysis_s or 0) / most) for n, hour in points], len(hours))
    return _svg(words, _axis(most, "{:.1f} s") + line + dots + _hours(hours))


def scores_per_day(days: Sequence[Day], threshold: float) -> Markup:
    """Draw median and quartiles of each day's scores, and the threshold."""
    if not days:
        return Markup("")
    count = len(days)
    boxes = "".join(_box(n, count, day) for n, day in enumerate(days))
    line = _line([(n, day.middle) for n, day in enumerate(days)], count)
    level = _y(threshold)
    limit = (
        f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" '
        f'y1="{level:.1f}" y2="{level:.1f}"/>'
        f'<text x="{_WIDTH - _RIGHT}" y="{level - 3:.1f}" text-anchor="end">'
        f"threshold {threshold:.2f}</text>"
    )
    words = (
        f"Scores of {sum(day.nodes for day in days)} nodes on {count} days: median "
        f"{days[0].middle:.2f} on the first, {days[-1].middle:.2f} on the last"
    )
    labels = _labels([_day(day.began_us) for day in days])
    return _svg(words, _axis(1.0, "{:.1f}") + boxes + line + limit + labels)


def operating_points(points: Sequence[OperatingPoint], threshold: float) -> Markup:
    """Draw sensitivity over 1 - specificity of each point that states them, with its intervals."""
    stated = sorted(
        (
            (point.sensitivity, 1 - point.specificity, point)
            for point in points
            if point.sensitivity is not None and point.specificity is not None
        ),
        key=lambda each: each[:2],
    )
    if not stated:
        return Markup("")
    ticks = "".join(
        _stroke("grid", (share, 0), (share, 1))
        + _stroke("grid", (0, share), (1, share))
        + _text(share, 0, f"{share:.1f}", down=16, anchor="middle")
        + _text(0, share, f"{share:.1f}", left=8, down=4, anchor="end")
        for share in (0.0, 0.5, 1.0)
    )
    drawn = "".join(
        _point(
            across, up, point, (number + 0.5) / len(stated), in_force=point.threshold == threshold
        )
        for number, (up, across, point) in enumerate(stated)
    )
    names = _text(0.5, 0, "1 - specificity", down=32, anchor="middle") + _text(
        0, 1, "sensitivity", down=-8
    )
    words = f"{len(stated)} operating points by sensitivity and 1 - specificity"
    box = f"0 0 {2 * _SQUARE + 2 * _MARGIN} {_SQUARE + 2 * _MARGIN}"
    body = ticks + _stroke("grid", (0, 0), (1, 1)) + drawn + names
    return _svg(words, body, box, "chart square")


def _point(across: float, up: float, point: OperatingPoint, level: float, *, in_force: bool) -> str:
    """Draw a point with its intervals; its name stands beside the square, at a level of its own."""
    low, high = point.specificity_ci95 or (1 - across, 1 - across)
    least, most = point.sensitivity_ci95 or (up, up)
    x, y = _place(across, up)
    look = "dot chosen" if in_force else "dot"
    return (
        _stroke("spread", (1 - high, up), (1 - low, up))
        + _stroke("spread", (across, least), (across, most))
        + _stroke("grid", (across, up), (1.06, level))
        + f'<circle class="{look}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        + _text(1.08, level, point.name + (", in force" if in_force else ""), down=4)
    )


def _stroke(look: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = _place(*start), _place(*end)
    return f'<line class="{look}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(
    across: float, up: float, words: str, *, left: float = 0, down: float = 0, anchor: str = "start"
) -> str:
    x, y = _place(across, up)
    return (
        f'<text x="{x - left:.1f}" y="{y + down:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
    )


def _place(across: float, up: float) -> tuple[float, float]:
    return _MARGIN + _SQUARE * across, _MARGIN + _SQUARE * (1 - up)


def contours(found: Mapping[str, Any]) -> str:
    """Draw the contours of a frame in its own pixels, to be laid over its picture."""
    rows, columns = found["rows"] or 1, found["columns"] or 1
    shapes = "".join(_contour(node, columns) for node in found["nodes"])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {columns} {rows}" '
        f'stroke-linejoin="round">{shapes}</svg>'
    )


def _contour(node: Mapping[str, Any], columns: int) -> str:
    """Draw a contour, with its name beside it."""
    points, colour = node["points"], f"rgb{rgb(node['number'])}"
    path = " ".join(f"{x},{y}" for x, y in points)
    size = max(9.0, columns / 48)
    x, y = max(x for x, _ in points) + size / 3, min(y for _, y in points)
    return (
        f'<polygon points="{path}" fill="none" stroke="{colour}" '
        f'stroke-width="{max(1.0, columns / 400):.1f}"/>'
        + "".join(
            f'<text x="{min(x, columns - 4 * size):.1f}" y="{max(y, size):.1f}" {look} '
            f'font-size="{size:.1f}" font-family="sans-serif">{escape(node["label"])}</text>'
            for look in ('fill="none" stroke="#000" stroke-width="2"', f'fill="{colour}"')
        )
    )


def _svg(
    words: str, body: str, box: str = f"0 0 {_WIDTH} {_HEIGHT}", look: str = "chart"
) -> Markup:
    # every value in `body` is a number or a date of ours, or escaped
    return Markup(  # noqa: S704
        f'<svg class="{look}" viewBox="{box}" role="img" aria-label="{escape(words)}">{body}</svg>'
    )


def _x(position: float, count: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (position + 0.5) / count


def _y(share: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - share)


def _slot(count: int) -> float:
    return (_WIDTH - _LEFT - _RIGHT) / count


def _bar(position: int, count: int, share: float, words: str) -> str:
    width = 0.7 * _slot(count)
    x, y = _x(position, count) - width / 2, _y(share)
    return (
        f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{_y(0) - y:.1f}"><title>{words}</title></rect>'
    )


def _box(position: int, count: int, day: Day) -> str:
    width = max(1.0, min(0.7 * _slot(count), 24.0))
    x, top, bottom = _x(position, count) - width / 2, _y(day.high), _y(day.low)
    words = (
        f"{_day(day.began_us)}: {day.nodes} nodes, median {day.middle:.2f}, "
        f"{day.above:.0%} at the threshold or above"
    )
    return (
        f'<rect class="range" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" '
        f'height="{max(1.0, bottom - top):.1f}"><title>{words}</title></rect>'
    )


def _dot(position: int, count: int, share: float, words: str) -> str:
    x, y = _x(position, count), _y(share)
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{words}</title></circle>'


def _line(points: Sequence[tuple[int, float]], count: int) -> str:
    path = " ".join(f"{_x(n, count):.1f},{_y(share):.1f}" for n, share in points)
    return f'<polyline class="line" points="{path}"/>' if len(points) > 1 else ""


def _axis(most: float, shown: str) -> str:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share)
        lines.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{shown.format(most * share)}</text>"
        )
    return "".join(lines)


def _hours(hours: Sequence[Hour]) -> str:
    return _labels([_hour(hour) for hour in hours])


def _labels(texts: Sequence[str]) -> str:
    step: Callable[[int], bool] = lambda n: n % max(1, len(texts) // 8) == 0  # noqa: E731
    return "".join(
        f'<text x="{_x(n, len(texts)):.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{text}</text>'
        for n, text in enumerate(texts)
        if step(n)
    )


def _hour(hour: Hour) -> str:
    return f"{datetime.fromtimestamp(hour.began_us / 1e6, UTC).astimezone():%H:%M}"


def _day(began_us: int) -> str:
    return f"{datetime.fromtimestamp(began_us / 1e6, UTC):%m-%d}"
