"""Patients and images apart by further columns of the index: a cohort table and subgroups."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2_contingency, fisher_exact

from model.bundle_file import OperatingPoint
from model.errors import TrainingError
from model.training.results import ImageResult, arrays, patients
from model.training.summary import at, auroc, spread
from model.training.table import read_table

BLANK = "(blank)"
_SEVERAL = "(several)"  # a patient whose images differ
_MOST = 12  # groups of a column; more make a table of chance findings
_EXPECTED = 5.0  # patients in a cell below which chi-square is not to be trusted


@dataclass(frozen=True)
class Column:
    """One way to divide the index."""

    name: str  # as asked for: a column, or a column and a limit, such as `size_mm<10`
    values: tuple[str, ...]  # the group of each row


def read_columns(folder: Path, wanted: Sequence[str]) -> list[Column]:
    """Read columns of `index.csv`; `name<limit` makes two groups of a column of numbers.

    Raises
    ------
    TrainingError
        No such column, too many groups, or text where a number is needed.
    """
    entries = [entry.cells for entry in read_table(folder)]
    return [_column(entries, name) for name in wanted]


def _column(entries: Sequence[Mapping[str, str]], wanted: str) -> Column:
    name, sign, limit = wanted.partition("<")
    known = list(entries[0]) if entries else []
    if name not in known:
        raise TrainingError(
            f"index.csv has no column {name!r}: --by takes {', '.join(known)}, or one of numbers"
            " and a limit, as in 'size_mm<10'"
        )
    texts = [entry[name] for entry in entries]
    values = [_side(text, limit, wanted) for text in texts] if sign else [t or BLANK for t in texts]
    count = len(set(values))
    if count > _MOST:
        raise TrainingError(
            f"column {name!r} has {count} different values: name one of fewer, or, if it holds"
            f" numbers, give a limit, as in --by '{name}<10'"
        )
    return Column(wanted, tuple(values))


def _side(text: str, limit: str, wanted: str) -> str:
    try:
        bound = float(limit)
    except ValueError as error:
        raise TrainingError(f"--by {wanted!r}: the limit {limit!r} is no number") from error
    try:
        return BLANK if not text else f"<{limit}" if float(text) < bound else f">={limit}"
    except ValueError as error:
        raise TrainingError(f"--by {wanted!r} needs numbers, and {text!r} stands there") from error


def report(
    results: Sequence[ImageResult], column: Column, point: OperatingPoint, aggregation: str
) -> dict[str, Any]:
    """Numbers of each group of a column, at one operating point; results in the index's order."""
    said = {}
    for value in sorted(set(column.values)):
        part = [r for r, own in zip(results, column.values, strict=True) if own == value]
        everyone = patients(part, aggregation)
        scores, labels = arrays(everyone)
        dice = spread([(r.dice, r.patient) for r in part if r.true_nodes])
        said[value] = {
            "n_images": len(part),
            "n_patients": len({r.patient for r in part}),
            "n_with_node": dice["n"],
            "dice_mean": dice.get("mean"),
            "dice_mean_ci95": dice.get("mean_ci95"),
            "n_labelled": len(everyone),
            "n_positive": int(labels.sum()),
            "auroc": auroc(scores, labels),
            point.name: at(point.threshold, everyone),
        }
    return said


def cohort(results: Sequence[ImageResult], column: Column) -> dict[str, Any]:
    """Count labelled patients of each value by label, and say whether the two are related.

    Fisher's exact test for two by two with an expected count below 5, else chi-square without
    correction. Blanks are counted and not tested.
    """
    own: dict[str, set[str]] = {}
    label: dict[str, int] = {}
    for result, value in zip(results, column.values, strict=True):
        if result.label is not None:
            own.setdefault(result.patient, set()).add(value)
            label[result.patient] = max(result.label, label.get(result.patient, 0))
    counts = Counter(
        (next(iter(values)) if len(values) == 1 else _SEVERAL, label[patient])
        for patient, values in own.items()
    )
    table = {value: [counts[value, 0], counts[value, 1]] for value, _ in sorted(counts)}
    tested = np.array([pair for value, pair in table.items() if value not in (BLANK, _SEVERAL)])
    return {"negative_positive": table, **association(tested)}


def association(table: np.ndarray) -> dict[str, Any]:
    """Test a table of counts (values, 2) for independence; p is None where it cannot be tested."""
    if table.ndim != 2 or len(table) < 2 or not table.sum(axis=0).all():
        return {"test": None, "p": None}
    chi = chi2_contingency(table, correction=False)
    low = float(chi.expected_freq.min()) < _EXPECTED
    if low and table.shape == (2, 2):
        return {"test": "Fisher's exact", "p": float(fisher_exact(table).pvalue)}
    name = "chi-square, with expected counts below 5" if low else "chi-square"
    return {"test": name, "p": float(chi.pvalue)}
