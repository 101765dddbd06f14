"""The report as a page and as plain text, from the built object's own content tree."""

from collections.abc import Iterator, Sequence
from html import escape

from pydicom.dataset import Dataset

from dicom_io.report import Node, Report, Rows, Side, read

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Arial, sans-serif; color: #1c2430; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; border-bottom: 1px solid #d5dbe3; }
.sub { color: #5b6675; margin: 0 0 1rem; }
.banner { background: #b3261e; color: #fff; padding: .75rem 1rem; border-radius: .35rem;
  font-weight: 600; margin: 1rem 0; }
.side { border: 1px solid #d5dbe3; border-left: .35rem solid #3a6ea5; border-radius: .35rem;
  padding: .75rem 1rem; margin: .5rem 0; }
.side b { font-size: 1.1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #e6eaf0;
  vertical-align: top; }
thead th { background: #f3f6f9; font-weight: 600; }
td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th.n { text-align: right; }
table.facts th { width: 16rem; font-weight: 500; color: #5b6675; }
table.facts td { overflow-wrap: anywhere; }
.nodes td:first-child, .nodes td:nth-child(2) { white-space: nowrap; }
@media print { body { margin: 0; max-width: none; }
  .back { display: none; } .banner { color: #000; border: 2px solid #000; } }
"""

_COLUMNS = (
    ("Node", "name"),
    ("Side", "side"),
    ("Measured on", "where"),
    ("Long axis", "long_axis"),
    ("Short axis", "short_axis"),
    ("Long/short", "ratio"),
    ("Area", "area"),
    ("Circularity", "circularity"),
    ("Margin sharpness", "margin"),
    ("Frames", "frames"),
    ("AI score", "score"),
)
_WORDS = 3  # the first columns hold words, the others numbers

_TITLE = "Axillary lymph nodes"
_NO_NODES = "No lymph node contour is in this report."


def html(report: Dataset | bytes, back: str = "") -> str:
    """Return the report as one self-contained page; every value of it is escaped.

    `back` is where a link above it leads, on a screen.
    """
    content = read(report)
    body = "\n".join(_html_body(content))
    if back:
        body = f'<p class="back"><a href="{escape(back)}">Back to the study</a></p>\n{body}'
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(content.description or _TITLE)}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html_body(content: Report) -> Iterator[str]:
    yield f"<h1>{_TITLE}</h1>"
    yield f'<p class="sub">{escape(content.title)} &middot; {escape(content.status)}</p>'
    yield f'<p class="banner" role="alert">{escape(_banner(content))}</p>'
    yield _facts(content.patient)
    yield "<h2>Evaluation</h2>"
    for side in content.sides:
        yield _html_side(side, content.operating_point)
    yield "<h2>Lymph nodes</h2>"
    yield _html_nodes(content.nodes)
    yield "<h2>Operating point of the score</h2>"
    yield _facts(content.operating_point)
    for heading, lines in _lists(content):
        yield f"<h2>{heading}</h2>\n<ul>"
        yield from (f"<li>{escape(line)}</li>" for line in lines)
        yield "</ul>"
    yield "<h2>Algorithm</h2>"
    yield _facts(content.algorithm)


def _banner(content: Report) -> str:
    """Return what must be read first: a demonstration, or research use."""
    return content.demonstration or next(iter(content.limits), "")


def _lists(content: Report) -> Iterator[tuple[str, Sequence[str]]]:
    yield "Conditions and limits", content.limits
    if content.intended_use:
        yield "Intended use and population", (content.intended_use,)
    if content.exclusions:
        yield "Left out", content.exclusions
    if content.notes:
        yield "Images", content.notes


def _facts(rows: Rows) -> str:
    cells = (f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>" for label, value in rows)
    return f'<table class="facts">{"".join(cells)}</table>'


def _html_side(side: Side, point: Rows) -> str:
    lines = "<br>".join(escape(line) for line in _side_lines(side, point))
    return f'<div class="side"><b>{escape(side.name)}</b><br>{lines}</div>'


def _html_nodes(nodes: Sequence[Node]) -> str:
    if not nodes:
        return f"<p>{_NO_NODES}</p>"
    head = "".join(f"<th{_number_class(n)}>{label}</th>" for n, (label, _) in enumerate(_COLUMNS))
    rows = "".join(f"<tr>{_html_row(node)}</tr>" for node in nodes)
    table = f'<table class="nodes"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _html_row(node: Node) -> str:
    values = (getattr(node, field) for _, field in _COLUMNS)
    return "".join(f"<td{_number_class(n)}>{escape(v)}</td>" for n, v in enumerate(values))


def _number_class(column: int) -> str:
    return ' class="n"' if column >= _WORDS else ""


def _side_lines(side: Side, point: Rows) -> Iterator[str]:
    """Yield the score beside the threshold it is read against, then what was concluded."""
    threshold = dict(point).get("Threshold of the score", "")
    if side.score:
        against = f" (threshold {threshold})" if threshold else ""
        yield f"AI score for axillary lymph node metastasis: {side.score}{against}"
    if side.evaluation:
        yield f"Metastatic disease to axillary node: {side.evaluation}"
    if side.result and side.result.lower() not in side.comment.lower():
        yield side.result
    if side.comment:
        yield side.comment


def text(report: Dataset | bytes) -> str:
    """Return the report as plain text, for a terminal or a log of a demonstration."""
    return "\n".join(_text_lines(read(report))) + "\n"


def _text_lines(content: Report) -> Iterator[str]:
    yield _TITLE.upper()
    yield f"{content.title} ({content.status})"
    yield from ("", f"*** {_banner(content)} ***")
    yield from _text_facts("", content.patient)
    yield from ("", "Evaluation")
    for side in content.sides:
        yield f"  {side.name}"
        yield from (f"    {line}" for line in _side_lines(side, content.operating_point))
    yield from ("", "Lymph nodes")
    yield from (_text_nodes(content.nodes) if content.nodes else [f"  {_NO_NODES}"])
    yield from _text_facts("Operating point of the score", content.operating_point)
    for heading, lines in _lists(content):
        yield from ("", heading)
        yield from (f"  - {line}" for line in lines)
    yield from _text_facts("Algorithm", content.algorithm)


def _text_facts(heading: str, rows: Rows) -> Iterator[str]:
    yield ""
    if heading:
        yield heading
    width = max((len(label) for label, _ in rows), default=0)
    yield from (f"  {label:<{width}}  {value}" for label, value in rows)


def _text_nodes(nodes: Sequence[Node]) -> Iterator[str]:
    table = [[label for label, _ in _COLUMNS]]
    table += [[getattr(node, field) for _, field in _COLUMNS] for node in nodes]
    widths = [max(len(row[n]) for row in table) for n in range(len(_COLUMNS))]
    for row in table:
        cells = (
            value.rjust(width) if n >= _WORDS else value.ljust(width)
            for n, (value, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  " + "  ".join(cells).rstrip()
