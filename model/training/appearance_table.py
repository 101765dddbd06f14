"""The table of a report that says what the features of nodes go with, as HTML."""

from collections.abc import Mapping
from html import escape
from typing import Any

from model.training.appearance import FEATURES
from model.training.page_tables import table as cells

_DASH = "–"
_NOTE = (
    "Post hoc, by patient (mean over the patient's nodes). AUROC above 0.5: greater with "
    "metastasis; rho above 0: greater with a higher score. p adjusted by Benjamini-Hochberg over "
    "the features. What goes with a score need not be what the network looks at."
)
_MIXED = (
    "Drawn and found masks are mixed: where they are shared out differently between the classes, "
    "a feature can tell the masks apart in place of the nodes."
)


def table(values: Mapping[str, Any]) -> str:
    """Make the section of a report.

    Parameters
    ----------
    values
        As `appearance_association.report` gives them, or as `metrics.json` has them.
    """
    if not values["n_nodes"]:
        return _paragraph("No node was large enough to be measured.")
    head = ["", "AUROC of the label (95 % CI)", "p", "rho with the score (95 % CI)", "p"]
    rows = [
        [feature.words, *_both(values["features"][feature.name])]
        for feature in FEATURES
        if feature.name in values["features"]
    ]
    return _source(values) + cells(head, rows) + _paragraph(_NOTE)


def _source(values: Mapping[str, Any]) -> str:
    """Say what was measured on whose masks."""
    masks = values["masks"]
    kinds = {"drawn": "masks as drawn", "found": "masks as the bundle found them"}
    parts = [
        f"{masks[kind]['n_nodes']} on {words} ({_classes(masks[kind]['negative_positive'])})"
        for kind, words in kinds.items()
        if masks[kind]["n_nodes"]
    ]
    nodes, people = values["n_nodes"], values["n_patients"]
    said = _paragraph(f"{nodes} nodes of {people} patients: {'; '.join(parts)}.")
    return said + (_paragraph(_MIXED) if len(parts) > 1 else "")


def _classes(counts: tuple[int, int]) -> str:
    return f"{counts[0]} patients negative, {counts[1]} positive"


def _both(found: Mapping[str, Any]) -> list[str]:
    return [cell for kind in ("label", "score") for cell in _pair(found[kind])]


def _pair(found: Mapping[str, Any]) -> tuple[str, str]:
    """Return value and adjusted p of one comparison."""
    counted = f"n = {found['n']}"
    if found["value"] is None:
        return f"{_DASH} ({found['note']})", _DASH
    interval, note = found["ci95"], found["note"]
    span = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else f" ({note})"
    return f"{found['value']:.3f}{span}, {counted}", _p(found["p_adjusted"])


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _paragraph(words: str) -> str:
    return f'<p class="note">{escape(words)}</p>'
