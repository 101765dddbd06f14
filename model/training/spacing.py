"""The size of a picture's pixels, which PNG does not tell: a column of the index may."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.errors import TrainingError
from model.runtime import Predictor
from model.training.evaluation import Look, Looker
from model.training.index import Row
from model.training.table import read_table

COLUMN = "mm_per_px"  # as the phantoms' index has it; square pixels


def declared(folder: Path, rows: Sequence[Row]) -> dict[Row, float]:
    """Return the millimetres per pixel of the rows whose index gives them.

    Raises
    ------
    TrainingError
        A value is no number above 0.
    """
    texts = [entry.cells.get(COLUMN, "") for entry in read_table(folder)]
    return {row: _number(text, row) for row, text in zip(rows, texts, strict=True) if text}


def _number(text: str, row: Row) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise TrainingError(f"index.csv:{row.line}: {COLUMN} must be a number above 0, or blank")
    return value


def with_spacing(look: Looker, known: Mapping[Row, float]) -> Looker:
    """Let a look tell the index's spacing where the file has none of its own."""

    def looked(predictor: Predictor, row: Row, frame: NDArray[np.uint8]) -> Look:
        seen = look(predictor, row, frame)
        if seen.spacing is not None or row not in known:
            return seen
        return replace(seen, spacing=(known[row], known[row]))

    return looked
