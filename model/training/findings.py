"""What can be wrong with a dataset: errors and warnings, from its index and its files."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.training import duplicates
from model.training.examined import Examined
from model.training.index import PARTS, Row, Split

_OUTSIDE = 0.1  # share of a mask outside of the tissue region that is worth a word
_NAMED = 5  # lines that a message names; checks.json has them all


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    check: str  # which check found it
    serious: bool  # an error; else a warning
    message: str  # one line: what, where, what to do
    lines: tuple[int, ...] = ()  # of index.csv


def file_findings(rows: Sequence[Row], examined: Sequence[Examined]) -> list[Finding]:
    """Files that are missing, unreadable, or do not fit each other."""
    return [
        Finding(e.problem[0], True, f"index.csv:{row.line}: {e.problem[1]}", (row.line,))
        for row, e in zip(rows, examined, strict=True)
        if e.problem
    ]


def mask_findings(rows: Sequence[Row], examined: Sequence[Examined]) -> list[Finding]:
    """Masks that read well and look wrong."""
    both = list(zip(rows, examined, strict=True))
    empty = [row.line for row, e in both if e.empty and row.label == 1]
    outside = [row.line for row, e in both if e.outside > _OUTSIDE]
    return [
        *_warning("empty_mask", empty, "label is 1 and the mask is empty: draw the node, or"
                  " leave mask blank if nobody has looked"),
        *_warning("mask_outside_tissue", outside, "part of the mask lies outside of the tissue"
                  " region and is cut off: correct tissue_x0 to tissue_y1, or the mask"),
    ]  # fmt: skip


def split_findings(splits: Sequence[Split], *, classified: bool) -> list[Finding]:
    """Parts that are empty or, where the class is trained, hold one class."""
    folds = len(splits) > 1
    parts = [
        (f"the {name} part" + f" of fold {number}" * folds, name, getattr(split, name))
        for number, split in enumerate(splits, 1)
        for name in PARTS
    ]
    empty = [
        _empty(what, folds=folds, serious=name != "test") for what, name, held in parts if not held
    ]
    if not classified:
        return empty
    whole = splits[0]  # as good as any: all of them hold every row
    rows = (*whole.train, *whole.validation, *whole.test)
    classes = _classes("the dataset", rows, serious=True)
    if not classes:  # what is wrong with the whole is not said again of its parts
        for what, name, held in parts:
            classes += _classes(what, held, serious=name == "train")
    return empty + classes


def label_findings(rows: Sequence[Row]) -> list[Finding]:
    """Patients whose rows contradict each other: the label is the patient's."""
    labels: dict[str, set[int]] = {}
    for row in rows:
        if row.label is not None:
            labels.setdefault(row.patient, set()).add(row.label)
    lines = [row.line for row in rows if len(labels.get(row.patient, ())) > 1]
    return _warning("patient_labels", lines, "rows of one patient have both labels, and any 1 makes"
                    " the patient positive: correct the label, or the patient")  # fmt: skip


def duplicate_findings(
    rows: Sequence[Row], examined: Sequence[Examined], splits: Sequence[Split]
) -> list[Finding]:
    """Images that look alike and differ in label, or lie in two parts of a split."""
    labels = np.array([-1 if row.label is None else row.label for row in rows])
    parts = _places(rows, splits)
    thumbnails = np.stack([e.thumbnail for e in examined])
    pairs = list(duplicates.pairs(thumbnails, (labels, parts), duplicates.THRESHOLD))
    known = [p for p in pairs if min(labels[p.first], labels[p.second]) >= 0]
    across = [p for p in known if labels[p.first] != labels[p.second]]
    leaks = [p for p in pairs if parts[p.first] != parts[p.second]]
    return [
        *_pair_warning("duplicate_across_labels", across, rows, "show the same under two labels:"
                       " correct the label, or drop both"),
        *_pair_warning("duplicate_across_parts", leaks, rows, "show the same in two parts of the"
                       " split: give both the same patient"),
    ]  # fmt: skip


def _places(rows: Sequence[Row], splits: Sequence[Split]) -> NDArray[np.int64]:
    """Give rows the same number, (N,), where every split has them in the same part."""
    parts = [
        {row.line: number for number, name in enumerate(PARTS) for row in getattr(split, name)}
        for split in splits
    ]
    places = [[part[row.line] for part in parts] for row in rows]
    return np.asarray(np.unique(places, axis=0, return_inverse=True)[1], np.int64).reshape(-1)


def _empty(what: str, *, folds: bool, serious: bool) -> Finding:
    instead = "say in a split column which part each belongs to"
    if folds:
        instead = "lower folds.count"
    text = f"too few patients: {what} is empty: add patients, or {instead}"
    return Finding("empty_part", serious, text)


def _classes(what: str, rows: Sequence[Row], *, serious: bool) -> list[Finding]:
    """Complain about one class alone, or none."""
    labels = {row.label for row in rows if row.label is not None}
    if not rows or len(labels) > 1:
        return []
    held, missing = "no label", "both labels"
    if labels:
        only = labels.pop()
        held, missing = f"label {only} only", f"label {1 - only}"
    text = f"{what} holds {held}: add patients of {missing}"
    if serious:
        text += ", or set loss.classification = 0.0 to train masks alone"
    return [Finding("one_class", serious, text)]


def _warning(check: str, lines: Sequence[int], text: str) -> list[Finding]:
    """One warning for all lines; none for none."""
    if not lines:
        return []
    return [Finding(check, False, f"index.csv:{_some(lines)}: {text}", tuple(lines))]


def _pair_warning(
    check: str, pairs: Sequence[duplicates.Pair], rows: Sequence[Row], text: str
) -> list[Finding]:
    if not pairs:
        return []
    likest = sorted(pairs, key=lambda p: -p.correlation)
    lines = [(rows[p.first].line, rows[p.second].line) for p in likest]
    named = _some([f"{a} and {b}" for a, b in lines])
    count = f"{len(pairs)} pair{'s' * (len(pairs) > 1)} of images"
    flat = tuple(line for pair in lines for line in pair)
    return [Finding(check, False, f"{count} {text} (index.csv:{named})", flat)]


def _some(items: Sequence[object]) -> str:
    """Name the first few."""
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(str(item) for item in items[:_NAMED]) + more
