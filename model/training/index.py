"""The dataset layout: `index.csv` with image, mask, label, patient; and splits by patient."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import TrainingError
from model.preprocess import Box
from model.training.table import NAME, read_table

_REQUIRED = ("image", "mask", "label", "patient")
BOX_COLUMNS = ("tissue_x0", "tissue_y0", "tissue_x1", "tissue_y1")
_SHARES = (0.8, 0.1, 0.1)  # the paper's 8:1:1
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Row:
    """One image of a dataset."""

    image: Path
    frame: int | None  # 1-based frame of a multi-frame file, from `file#n`
    mask: Path | None  # None: not annotated
    label: int | None  # 0, 1, or None: unknown
    patient: str  # groups rows in every split
    region: Box | None  # tissue: the tissue_* columns, else what the file declares
    part: str | None = None  # one of PARTS, from a `split` column; None: drawn
    line: int = 0  # of index.csv, 2 is the first row
    fold: str = ""  # the column `fold` as it stands; means something only where folds are asked for


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of a dataset; no patient is in two."""

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]


def read_index(folder: Path) -> list[Row]:
    """Read `index.csv` of a dataset folder.

    Raises
    ------
    TrainingError
        The file is missing or a row is wrong; names the line.
    """
    path = folder / NAME
    table = read_table(folder)
    known = list(table[0].cells) if table else []
    missing = [name for name in _REQUIRED if table and name not in known]
    if missing:
        raise TrainingError(f"{path} has no column {', '.join(missing)}; it has {', '.join(known)}")
    rows = [_row(folder, entry.cells, path, entry.line) for entry in table]
    if not rows:
        raise TrainingError(f"{path} lists no image")
    return rows


def split_by_patient(rows: Sequence[Row], seed: int) -> Split:
    """Split as the `split` column says; without one 8:1:1 by patient, at random.

    The random split keeps the share of positive patients. A patient is positive where any of its
    rows is: the label is the patient's.

    Raises
    ------
    TrainingError
        The `split` column is filled in part, or puts a patient into two parts.
    """
    part = _declared_parts(rows) if any(row.part for row in rows) else _drawn_parts(rows, seed)
    return Split(*(tuple(row for row in rows if part[row.patient] == name) for name in PARTS))


def _declared_parts(rows: Sequence[Row]) -> dict[str, str]:
    """Part of each patient by the `split` column."""
    first: dict[str, Row] = {}
    for row in rows:
        if row.part is None:
            raise TrainingError(
                f"index.csv:{row.line}: split is blank here and filled elsewhere: fill it in every"
                " row, or leave the column out"
            )
        other = first.setdefault(row.patient, row)
        if other.part != row.part:
            raise TrainingError(
                f"index.csv:{row.line}: this patient is in {row.part} here and in {other.part} in"
                f" line {other.line}: put all its rows into one part"
            )
    return {patient: row.part or "" for patient, row in first.items()}


def _drawn_parts(rows: Sequence[Row], seed: int) -> dict[str, str]:
    """Part of each patient, at random within positive and other patients."""
    positive = {row.patient: False for row in rows}
    for row in rows:
        positive[row.patient] |= row.label == 1
    part: dict[str, str] = {}
    for wanted in (False, True):
        group = sorted(
            patient for patient, is_positive in positive.items() if is_positive == wanted
        )
        random.Random(f"{seed}-{wanted}").shuffle(group)
        first = round(len(group) * _SHARES[0])
        second = first + round(len(group) * _SHARES[1])
        part |= {p: PARTS[(i >= first) + (i >= second)] for i, p in enumerate(group)}
    return part


def _row(folder: Path, entry: Mapping[str, str], index: Path, line: int) -> Row:
    """Check one line of the index."""
    where = f"{index}:{line}"
    label = entry["label"]
    if label not in ("", "0", "1"):
        raise TrainingError(f"{where}: label must be 0, 1 or blank")
    if not entry["image"] or not entry["patient"]:
        raise TrainingError(f"{where}: image and patient must not be blank")
    name, frame = _frame(entry["image"], where)
    return Row(
        image=_inside(folder, name, where),
        frame=frame,
        mask=_inside(folder, entry["mask"], where) if entry["mask"] else None,
        label=int(label) if label else None,
        patient=entry["patient"],
        region=_region(entry, where),
        part=_part(entry.get("split", ""), where),
        line=line,
        fold=entry.get("fold", ""),
    )


def _frame(image: str, where: str) -> tuple[str, int | None]:
    """Take `#n` off a file's name."""
    name, _, frame = image.partition("#")
    if frame and not (frame.isdecimal() and int(frame) > 0):
        raise TrainingError(f"{where}: the frame after # must be a number from 1")
    return name, int(frame) if frame else None


def _part(part: str, where: str) -> str | None:
    if part and part not in PARTS:
        raise TrainingError(f"{where}: split must be {', '.join(PARTS)} or blank")
    return part or None


def _region(entry: Mapping[str, str], where: str) -> Box | None:
    values = [entry.get(name, "") for name in BOX_COLUMNS]
    if not all(values):
        return None
    try:
        x0, y0, x1, y1 = (int(value) for value in values)
    except ValueError as error:
        raise TrainingError(f"{where}: tissue box must be four whole numbers") from error
    if x1 <= x0 or y1 <= y0:
        raise TrainingError(f"{where}: tissue box must have x1 > x0 and y1 > y0")
    return (x0, y0, x1, y1)


def _inside(folder: Path, name: str, where: str) -> Path:
    """Return a file of the dataset; an index must not reach outside of its folder."""
    if "\\" in name:
        raise TrainingError(f"{where}: {name} has a backslash: part folders by /")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise TrainingError(f"{where}: {name} lies outside of the dataset")
    return path
