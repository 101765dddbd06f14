"""What is wrong with a dataset, found before hours of training are spent on it.

Errors stop the run; warnings are said. All of them go to `checks.json`, each with the lines of
`index.csv` that it is about.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from model.errors import TrainingError
from model.training.data import PICTURES, Readers
from model.training.examined import examine
from model.training.findings import (
    Finding,
    duplicate_findings,
    file_findings,
    label_findings,
    mask_findings,
    split_findings,
)
from model.training.index import Row, Split, read_index, split_by_patient


def checked_split(
    data: Path,
    out: Path,
    seed: int,
    *,
    classified: bool = True,
    readers: Readers = PICTURES,
    workers: int = 0,
    say: Callable[[str], None] = print,
) -> Split:
    """Read a dataset, check all of it, and split it once; see `checked_splits`."""
    (split,) = checked_splits(
        data,
        out,
        lambda rows: (split_by_patient(rows, seed),),
        classified=classified,
        readers=readers,
        workers=workers,
        say=say,
    )
    return split


def checked_splits(
    data: Path,
    out: Path,
    divide: Callable[[Sequence[Row]], Sequence[Split]],
    *,
    classified: bool = True,
    readers: Readers = PICTURES,
    workers: int = 0,
    say: Callable[[str], None] = print,
) -> Sequence[Split]:
    """Read a dataset, check all of it, and split it; leaves `checks.json` in `out`.

    The rows returned hold the regions that their files declare. Every file is read once, however
    many splits there are. `classified` says that the class is trained: then labels must tell
    something apart.

    Raises
    ------
    TrainingError
        The dataset cannot be trained on; the message is the first error's.
    """
    rows = read_index(data)
    divide(rows)  # a patient in two parts is refused before images are read
    rows, examined = examine(rows, readers, workers, lambda n, of: say(f"checked {n}/{of} images"))
    splits = divide(rows)
    found = [
        *file_findings(rows, examined),
        *split_findings(splits, classified=classified),
        *mask_findings(rows, examined),
        *label_findings(rows),
        *duplicate_findings(rows, examined, splits),
    ]
    report(found, out, len(rows), say)
    return splits


def report(
    found: Sequence[Finding], out: Path, images: int, say: Callable[[str], None] = print
) -> None:
    """Write `checks.json`, say the warnings, raise the first error."""
    errors = [finding for finding in found if finding.serious]
    warnings = [finding for finding in found if not finding.serious]
    document = {"n_images": images, "errors": _listed(errors), "warnings": _listed(warnings)}
    out.mkdir(parents=True, exist_ok=True)
    part = out / f"checks.{os.getpid()}.part"  # several processes of one run may check at once
    part.write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")
    part.rename(out / "checks.json")
    for finding in warnings:
        say(f"warning: {finding.message}")
    if errors:
        more = f" ({len(errors) - 1} more in checks.json)" if len(errors) > 1 else ""
        raise TrainingError(errors[0].message + more)


def _listed(found: Sequence[Finding]) -> list[dict[str, object]]:
    return [{k: v for k, v in asdict(finding).items() if k != "serious"} for finding in found]
