"""Joins dataset folders into one, so that a run can train on several.

    python -m model.training.join --out DIR DATASET [DATASET ...]

Patients that bear the same name are the same patient: a cohort of grafts belongs to the pictures
it was drawn into.
"""

import argparse
import csv
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import TrainingError
from model.training.index import Row, read_index
from model.training.table import read_table


@dataclass(frozen=True)
class Joined:
    """What was joined."""

    images: int
    shared: int  # patients that stand in more than one of the datasets


def join(folders: Sequence[Path], out: Path, same: Mapping[str, str] | None = None) -> Joined:
    """Copy datasets into one folder with one index.

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
        A dataset cannot be read, two folders have one name, `out` exists, or `same` names a patient
        that no row has. Nothing is left in `out` then.
    """
    same = same or {}
    if len({folder.name for folder in folders}) < len(folders):
        raise TrainingError("two of the folders have the same name: rename one")
    read = {folder: read_index(folder) for folder in folders}  # refuses what a run would refuse
    _check_names(same, {row.patient for rows in read.values() for row in rows})
    if out.exists():
        raise TrainingError(f"{out} exists: name a new folder")
    rows: list[dict[str, str]] = []
    try:
        for folder in folders:
            rows += _copied(folder, read[folder], out, same)
        names = list(dict.fromkeys(name for row in rows for name in row))
        with (out / "index.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        shutil.rmtree(out, ignore_errors=True)
        raise TrainingError(f"{error.filename}: {error.strerror}") from error
    return Joined(len(rows), _shared(rows))


def _shared(rows: Sequence[Mapping[str, str]]) -> int:
    """Count patients that stand in more than one dataset."""
    pairs = {(row["patient"], row["dataset"]) for row in rows}
    return sum(times > 1 for times in Counter(name for name, _ in pairs).values())


def _check_names(same: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse renamings that would leave two names of one patient apart."""
    for name, other in same.items():
        for patient in (name, other):
            if patient not in known:
                raise TrainingError(f"--same {name}={other}: no row has the patient {patient}")
        if other in same:
            raise TrainingError(f"--same {name}={other}: {other} is renamed itself, name its end")


def _copied(
    folder: Path, read: Sequence[Row], out: Path, same: Mapping[str, str]
) -> list[dict[str, str]]:
    """Copy the files of a dataset; its rows, as they stand in the joint index."""
    rows = []
    for row, entry in zip(read, read_table(folder), strict=True):
        mark = f"#{row.frame}" if row.frame else ""
        image = _copy(row.image, folder, out)
        rows.append(
            {
                **entry.cells,
                "image": f"{image}{mark}",
                "mask": _copy(row.mask, folder, out) if row.mask else "",
                "patient": same.get(row.patient, row.patient),
                "dataset": folder.name,
            }
        )
    return rows


def _copy(path: Path, folder: Path, out: Path) -> str:
    """Copy one file; its name in the joint index."""
    name = Path(folder.name) / path.relative_to(folder.resolve())
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, out / name)
    return name.as_posix()


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
    if wrong := [pair for pair in args.same if "=" not in pair]:
        parser.error(f"--same {wrong[0]}: write NAME=OTHER")
    pairs = [tuple(pair.split("=", 1)) for pair in args.same]
    same = dict(pairs)
    if len(same) < len(set(pairs)):
        parser.error("--same gives one name two others: name the one they all end in")
    try:
        joined = join(args.folders, args.out, same)
        print(f"{joined.images} images in {args.out}")
        print(f"{joined.shared} patients stand in more than one of the datasets")
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
