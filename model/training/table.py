"""`index.csv` as cells: one reading of it for everyone who looks at a column."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

from model.errors import TrainingError

NAME = "index.csv"


@dataclass(frozen=True)
class Entry:
    """One row of the table, blanks round its cells taken off."""

    line: int  # of the file, 1 is the header
    cells: Mapping[str, str]  # by column; "" where blank


def read_table(folder: Path) -> list[Entry]:
    """Read the index of a dataset folder; rows without any content are passed over.

    Raises
    ------
    TrainingError
        It is missing, no CSV in UTF-8, or a row has more cells than the header.
    """
    path = folder / NAME
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write the mark
            return list(_entries(path, file))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{path} is not CSV in UTF-8: save it as such") from error


def _entries(path: Path, file: TextIO) -> Iterator[Entry]:
    reader = csv.reader(file, strict=True)
    header = [name.strip() for name in next(reader, [])]
    if len(header) == 1 and ";" in header[0]:
        raise TrainingError(f"{path} parts its columns by semicolons: save it with commas")
    twice = [name for number, name in enumerate(header) if name and name in header[:number]]
    if twice:
        raise TrainingError(f"{path} has two columns {twice[0]}: rename one")
    for values in reader:
        cells = [value.strip() for value in values]
        if len(cells) > len(header) and any(cells[len(header) :]):
            raise TrainingError(
                f"{path}:{reader.line_num}: more cells than columns: a comma within a cell needs"
                " quotes round the cell"
            )
        if any(cells):
            # cells that are left off at the end are blank
            pairs = zip_longest(header, cells[: len(header)], fillvalue="")
            yield Entry(reader.line_num, {name: cell for name, cell in pairs if name})
