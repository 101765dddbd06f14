"""The dataset layout: `index.csv` with image, mask, label, patient; and splits by patient."""

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import TrainingError
from model.preprocess import Box

_REQUIRED = ("image", "mask", "label", "patient")
_BOX = ("tissue_x0", "tissue_y0", "tissue_x1", "tissue_y1")
_SHARES = (0.8, 0.1, 0.1)  # the paper's 8:1:1


@dataclass(frozen=True)
class Row:
    """One image of a dataset."""

    image: Path
    frame: int | None  # 1-based frame of a multi-frame file, from `file#n`
    mask: Path | None  # None: not annotated
    label: int | None  # 0, 1, or None: unknown
    patient: str  # groups rows in every split
    region: Box | None  # declared tissue, from the tissue_* columns where present


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
    path = folder / "index.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
            if missing:
                raise TrainingError(f"{path} has no column {', '.join(missing)}")
            rows = [_row(folder, entry, f"{path}:{line}") for line, entry in enumerate(reader, 2)]
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    if not rows:
        raise TrainingError(f"{path} lists no image")
    return rows


def split_by_patient(rows: Sequence[Row], seed: int) -> Split:
    """Split 8:1:1 by patient, within positive and other patients alike.

    A patient is positive where any of its rows is: the label is the patient's.
    """
    positive = {row.patient: False for row in rows}
    for row in rows:
        positive[row.patient] |= row.label == 1
    part: dict[str, int] = {}
    for wanted in (False, True):
        group = sorted(
            patient for patient, is_positive in positive.items() if is_positive == wanted
        )
        random.Random(f"{seed}-{wanted}").shuffle(group)
        first = round(len(group) * _SHARES[0])
        second = first + round(len(group) * _SHARES[1])
        part |= {p: 0 if i < first else 1 if i < second else 2 for i, p in enumerate(group)}
    parts = [tuple(row for row in rows if part[row.patient] == number) for number in range(3)]
    return Split(*parts)


def _row(folder: Path, entry: Mapping[str, str], where: str) -> Row:
    """Check one line of the index."""
    label = (entry["label"] or "").strip()
    if label not in ("", "0", "1"):
        raise TrainingError(f"{where}: label must be 0, 1 or blank")
    if not entry["image"] or not entry["patient"]:
        raise TrainingError(f"{where}: image and patient must not be blank")
    name, _, frame = entry["image"].partition("#")
    if frame and not (frame.isdigit() and int(frame) > 0):
        raise TrainingError(f"{where}: the frame after # must be a number from 1")
    return Row(
        image=_inside(folder, name, where),
        frame=int(frame) if frame else None,
        mask=_inside(folder, entry["mask"], where) if entry["mask"] else None,
        label=int(label) if label else None,
        patient=entry["patient"],
        region=_region(entry, where),
    )


def _region(entry: Mapping[str, str], where: str) -> Box | None:
    values = [entry.get(name) or "" for name in _BOX]
    if not all(values):
        return None
    try:
        x0, y0, x1, y1 = (int(value) for value in values)
    except ValueError as error:
        raise TrainingError(f"{where}: tissue box must be four whole numbers") from error
    return (x0, y0, x1, y1)


def _inside(folder: Path, name: str, where: str) -> Path:
    """Return a file of the dataset; an index must not reach outside of its folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise TrainingError(f"{where}: {name} lies outside of the dataset")
    return path
