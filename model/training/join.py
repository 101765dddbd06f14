"""Joins dataset folders into one, so that a run can train on several.

    python -m model.training.join --out DIR DATASET [DATASET ...]

Patients that bear the same name are the same patient: a cohort of grafts belongs to the pictures
it was drawn into.
"""

import argparse
import csv
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from model.errors import TrainingError
from model.training.index import read_index


def join(folders: Sequence[Path], out: Path, same: Mapping[str, str] | None = None) -> int:
    """Copy datasets into one folder with one index; return its number of rows.

    Parameters
    ----------
    folders
        Datasets; the files of each come to lie below its name.
    out
        A new folder.
    same
        Patients that turned out to be another one: name -> the name to use.

    Raises
    ------
    TrainingError
        A dataset cannot be read, two folders have one name, or `out` exists.
    """
    if len({folder.name for folder in folders}) < len(folders):
        raise TrainingError("two of the folders have the same name: rename one")
    rows: list[dict[str, str]] = []
    try:
        out.mkdir(parents=True)
        for folder in folders:
            read_index(folder)  # refuses what a run would refuse
            rows += _copied(folder, out, same or {})
        names = list(dict.fromkeys(name for row in rows for name in row))
        with (out / "index.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except FileExistsError as error:
        raise TrainingError(f"{out} exists: name a new folder") from error
    except OSError as error:
        raise TrainingError(f"{error.filename}: {error.strerror}") from error
    return len(rows)


def _copied(folder: Path, out: Path, same: Mapping[str, str]) -> list[dict[str, str]]:
    """Copy the files of a dataset; its rows, as they stand in the joint index."""
    rows = []
    with (folder / "index.csv").open(newline="", encoding="utf-8-sig") as file:
        for entry in csv.DictReader(file):
            row = {**entry, "patient": same.get(entry["patient"], entry["patient"])}
            for column in ("image", "mask"):
                name, mark, frame = entry[column].partition("#")
                if name:
                    target = out / folder.name / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(folder / name, target)
                    row[column] = f"{folder.name}/{name}{mark}{frame}"
            row["dataset"] = folder.name
            rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Join what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m model.training.join", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DATASET")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--same",
        action="append",
        default=[],
        metavar="NAME=OTHER",
        help="patients that are one; may be repeated",
    )
    args = parser.parse_args(arguments)
    same = dict(pair.split("=", 1) for pair in args.same)
    try:
        print(f"{join(args.folders, args.out, same)} images in {args.out}")
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
