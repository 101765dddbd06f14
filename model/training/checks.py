"""What is wrong with a dataset, found before hours of training are spent on it.

Errors stop the run; warnings are said. All of them go to `checks.json`, each with the lines of
`index.csv` that it is about.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.errors import TrainingError
from model.preprocess import Box, prepare_grey
from model.training import duplicates
from model.training.config import Regions
from model.training.data import PICTURES, Progress, Readers, choose_region, spread
from model.training.index import PARTS, Row, Split, read_index, split_by_patient

_OUTSIDE = 0.1  # share of a mask outside of the tissue region that is worth a word
_NAMED = 5  # lines that a message names; checks.json has them all


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    check: str  # which check found it
    serious: bool  # an error; else a warning
    message: str  # one line: what, where, what to do
    lines: tuple[int, ...] = ()  # of index.csv


@dataclass(frozen=True)
class Examined:
    """What reading one row's files gave."""

    thumbnail: NDArray[np.float32]  # (24, 32); zeros where the image cannot be read
    problem: tuple[str, str] | None = None  # check and words, of an error
    region: Box | None = None  # declared by index or file
    empty: bool = False  # annotated, without a node
    outside: float = 0.0  # share of the mask outside of the tissue region


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
        *duplicate_findings(rows, examined, splits),
    ]
    report(found, out, len(rows), say)
    return splits


def examine(
    rows: Sequence[Row], readers: Readers, workers: int = 0, progress: Progress | None = None
) -> tuple[list[Row], list[Examined]]:
    """Read every file once; returns the rows with their declared regions, and what was seen."""
    seen = list(spread(partial(_examine, readers=readers), rows, workers, progress))
    return [replace(row, region=e.region) for row, e in zip(rows, seen, strict=True)], seen


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


def _examine(row: Row, readers: Readers) -> Examined:
    """Read the files of one row; what is wrong with them comes back as words."""
    nothing = np.zeros(duplicates.SHAPE, np.float32)
    for path in (row.image, row.mask):
        if path is not None and not path.is_file():
            return Examined(nothing, ("missing_file", f"{path.name} is missing: add the file"))
    try:
        region = readers.region_of(row)
        row = replace(row, region=region)
        frame = readers.image(row.image, row.frame)
        box = choose_region(row, frame, Regions(), np.random.default_rng(0))
        grey, placement = prepare_grey(frame, box)
        mask = readers.mask_of(row)
    except TrainingError as error:
        return Examined(nothing, ("unreadable_file", str(error)))
    except ValueError:
        problem = "the tissue box lies outside of the image: correct tissue_x0 to tissue_y1"
        return Examined(nothing, ("tissue_box", problem))
    small = duplicates.thumbnail(grey)
    if mask is None:
        return Examined(small, region=region)
    if mask.shape != frame.shape[:2]:
        return Examined(small, ("mask_size", _sizes(mask, frame)))
    return Examined(small, None, region, not mask.any(), _outside(mask, placement.source))


def _sizes(mask: NDArray[np.bool_], frame: NDArray[np.uint8]) -> str:
    sizes = " and ".join(f"{a.shape[1]} x {a.shape[0]}" for a in (mask, frame))
    return f"mask and image differ in size ({sizes} pixels): draw the mask on this image"


def _outside(mask: NDArray[np.bool_], box: Box) -> float:
    """Share of the mask outside of a box."""
    x0, y0, x1, y1 = box
    total = int(mask.sum())
    return 1 - int(mask[y0:y1, x0:x1].sum()) / total if total else 0.0


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


def _listed(found: Sequence[Finding]) -> list[dict[str, object]]:
    return [{k: v for k, v in asdict(finding).items() if k != "serious"} for finding in found]
