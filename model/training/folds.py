"""Repeated k-fold division by patient: each patient is test patient once in each repeat.

Positive, negative and unlabelled patients are dealt out one after the other, so that no fold has
two more of a kind than another. Everything follows from the seed and the patients' names.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.errors import TrainingError
from model.training.config import Folds
from model.training.index import Row, Split

_KINDS = ("positive", "negative", "unlabelled")
_VALIDATION = 8  # one patient of so many that are not test patients


@dataclass(frozen=True)
class Fold:
    """One division of the patients into training, validation and test."""

    number: int  # from 1, over all repeats; names the folder
    repeat: int  # from 1
    split: Split

    @property
    def folder(self) -> str:
        """Name of the folder within that of the run."""
        return f"fold-{self.number}"


def divide(rows: Sequence[Row], folds: Folds, seed: int) -> tuple[Split, ...]:
    """Divide the patients, by the column `fold` where it is filled, else at random.

    Returns
    -------
    tuple of Split
        Fold after fold, repeat after repeat.

    Raises
    ------
    TrainingError
        A `split` column, a wrong `fold` column (named by its line), or too few patients.
    """
    _refuse_parts(rows)
    kinds = _kinds(rows)
    declared = _declared(rows, folds) if any(row.fold for row in rows) else None
    if len(kinds) < folds.count:
        raise TrainingError(
            f"folds: {len(kinds)} patients make no {folds.count} folds: add patients, or lower"
            " folds.count"
        )
    made: list[Split] = []
    for repeat in range(1, folds.repeats + 1):
        tested = declared or _dealt(kinds, folds.count, f"{seed}-{repeat}")
        made += [
            _split(rows, kinds, tested, number, f"{seed}-{repeat}-{number}")
            for number in range(1, folds.count + 1)
        ]
    return tuple(made)


def numbered(splits: Sequence[Split], count: int) -> tuple[Fold, ...]:
    """Give the splits of `divide` their numbers."""
    return tuple(Fold(place + 1, place // count + 1, split) for place, split in enumerate(splits))


def _kinds(rows: Sequence[Row]) -> dict[str, str]:
    """Kind of each patient: positive where any row is, unlabelled where no row has a label."""
    labels: dict[str, set[int | None]] = {}
    for row in rows:
        labels.setdefault(row.patient, set()).add(row.label)
    return {
        patient: "positive" if 1 in held else "negative" if 0 in held else "unlabelled"
        for patient, held in labels.items()
    }


def _dealt(kinds: Mapping[str, str], count: int, seed: str) -> dict[str, int]:
    """Deal the patients out, kind after kind: the folds' sizes differ by one at most."""
    order = [p for kind in _KINDS for p in _shuffled(kinds, kind, seed)]
    return {patient: number % count + 1 for number, patient in enumerate(order)}


def _split(
    rows: Sequence[Row], kinds: Mapping[str, str], tested: Mapping[str, int], number: int, seed: str
) -> Split:
    """Make one fold: its test patients, and of the rest an eighth of each kind for validation."""
    rest = {patient: kind for patient, kind in kinds.items() if tested[patient] != number}
    chosen: set[str] = set()
    for kind in _KINDS:
        group = _shuffled(rest, kind, seed)
        # a patient alone of its kind is worth more in training
        chosen |= set(group[: max(round(len(group) / _VALIDATION), int(len(group) > 1))])
    return Split(
        train=tuple(row for row in rows if row.patient in rest and row.patient not in chosen),
        validation=tuple(row for row in rows if row.patient in chosen),
        test=tuple(row for row in rows if row.patient not in rest),
    )


def _shuffled(kinds: Mapping[str, str], wanted: str, seed: str) -> list[str]:
    """Patients of a kind in an order that their rows have no part in."""
    group = sorted(patient for patient, kind in kinds.items() if kind == wanted)
    random.Random(f"{seed}-{wanted}").shuffle(group)
    return group


def _declared(rows: Sequence[Row], folds: Folds) -> dict[str, int]:
    """Fold of each patient by the column `fold`."""
    if folds.repeats > 1:
        raise TrainingError(
            "index.csv fixes the folds: set folds.repeats = 1, or leave the column fold out"
        )
    first: dict[str, tuple[int, Row]] = {}
    for row in rows:
        number = _number(row, folds.count)
        other, earlier = first.setdefault(row.patient, (number, row))
        if other != number:
            raise TrainingError(
                f"index.csv:{row.line}: this patient is in fold {number} here and in fold {other}"
                f" in line {earlier.line}: put all its rows into one fold"
            )
    for number in range(1, folds.count + 1):
        if number not in {held for held, _ in first.values()}:
            raise TrainingError(
                f"index.csv: no patient is in fold {number}: fill it, or correct folds.count"
            )
    return {patient: number for patient, (number, _) in first.items()}


def _number(row: Row, count: int) -> int:
    """Check the fold of one row."""
    if not row.fold:
        raise TrainingError(
            f"index.csv:{row.line}: fold is blank here and filled elsewhere: fill it in every row,"
            " or leave the column out"
        )
    if not (row.fold.isascii() and row.fold.isdecimal() and 1 <= int(row.fold) <= count):
        raise TrainingError(
            f"index.csv:{row.line}: fold must be a whole number from 1 to {count}: correct it, or"
            " folds.count"
        )
    return int(row.fold)


def _refuse_parts(rows: Sequence[Row]) -> None:
    """Refuse a split column: it says another thing than folds do."""
    for row in rows:
        if row.part:
            raise TrainingError(
                f"index.csv:{row.line}: a split column and folds exclude each other: leave the"
                " column out, or set folds.count = 0"
            )
