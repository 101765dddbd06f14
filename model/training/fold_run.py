"""Cross-validation: a complete run for each fold, and `folds.json` over all of them."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model.bundle_file import Bundle
from model.errors import TrainingError
from model.training import checks, fold_bundle, fold_report, folds, single
from model.training.checkpoint import write_whole
from model.training.config import Regions, TrainConfig
from model.training.data import Cache
from model.training.fold_report import Outcome
from model.training.folds import Fold
from model.training.index import PARTS, Row, Split
from model.training.origin import HARMLESS
from model.training.results import ImageResult
from model.training.single import Task

NAME = "folds.json"
_DONE = "results.json"  # written last: the folder of a fold that has it is complete
Caches = Callable[[Split], tuple[Cache, Cache]]


def cross_validate(data: Path, task: Task) -> Bundle | None:
    """Train and test a network for each fold; leaves `fold-1/`, ... and `folds.json`.

    Folds that are finished are kept, and one that was under way goes on.

    Returns
    -------
    Bundle or None
        The ensemble, where the configuration asks for it.

    Raises
    ------
    TrainingError
        The dataset, the configuration, or what stands in the folder cannot be used.
    """
    _refuse_team()
    config = task.config
    made = _checked(data, task)
    task.say(_counts(made))
    caches = partial(_caches, task, _rows_of(made[0].split))
    outcomes = [_outcome(task, fold, len(made), caches) for fold in made]
    document = fold_report.document(outcomes, config)
    write_whole(task.out / NAME, json.dumps(document, indent=1).encode("ascii"))
    for line in fold_report.lines(document):
        task.say(line)
    if not config.folds.ensemble:
        return None
    bundle = fold_bundle.write(task, outcomes, document["pooled"])
    task.say(f"ensemble {bundle.digest[:12]} of {len(made)} networks written to {bundle.path}")
    return bundle


def _refuse_team() -> None:
    """Stop where `torchrun` started several processes."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise TrainingError(
            "folds are trained by one process: start axnode train without torchrun, or set"
            " folds.count = 0"
        )


def _checked(data: Path, task: Task) -> tuple[Fold, ...]:
    """Divide a dataset, and check all of it once."""
    config = task.config
    splits = checks.checked_splits(
        data,
        task.out,
        lambda rows: folds.divide(rows, config.folds, config.seed),
        classified=config.loss.classification > 0,
        readers=task.readers,
        workers=config.workers,
        say=task.say,
    )
    return folds.numbered(splits, config.folds.count)


def _outcome(task: Task, fold: Fold, count: int, caches: Caches) -> Outcome:
    """Train and test one fold, unless that is done."""
    name = f"fold {fold.number}/{count}"
    mine = replace(
        task,
        out=task.out / fold.folder,
        config=replace(task.config, seed=task.config.seed + fold.number - 1),
        say=lambda line: task.say(f"{name}: {line}"),
    )
    outcome = _stored(mine, fold)
    if outcome is None:
        outcome = _trained(mine, fold, caches)
    else:
        mine.say("finished already")
    mine.say(fold_report.line(outcome))
    return outcome


def _trained(task: Task, fold: Fold, caches: Caches) -> Outcome:
    """Train one fold, from where it stands."""
    task.out.mkdir(exist_ok=True)
    trainer = single.start(task)
    progress = trainer.fit(*caches(fold.split))
    more = {"fold": fold.number, "repeat": fold.repeat}
    finished = single.finish(task, fold.split, progress, more)
    document = {
        "of": _fingerprint(task.config, fold),
        "bundle": finished.bundle.digest,
        "test": [asdict(result) for result in finished.test],
    }
    write_whole(task.out / _DONE, json.dumps(document).encode("ascii"))
    return Outcome(fold, finished.bundle, finished.test)


def _stored(task: Task, fold: Fold) -> Outcome | None:
    """Return what a finished fold gave; None where it is not finished.

    Raises
    ------
    TrainingError
        The fold is of other patients or settings, or its bundle was changed.
    """
    path = task.out / _DONE
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_bytes())
        of, digest = document["of"], document["bundle"]
        test = tuple(ImageResult(**entry) for entry in document["test"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} cannot be read: remove {task.out}, and train this fold anew with --resume"
        ) from error
    if of != _fingerprint(task.config, fold):
        raise TrainingError(
            f"{task.out} was trained on other patients, with other settings or by another AxNode:"
            " give those back, or name another --out"
        )
    bundle = Bundle.load(task.out / "bundle")
    if bundle.digest != digest:
        raise TrainingError(
            f"{bundle.path} is not the bundle that was measured: remove {task.out}, and train this"
            " fold anew with --resume"
        )
    return Outcome(fold, bundle, test)


def _fingerprint(config: TrainConfig, fold: Fold) -> str:
    """Tell runs apart by settings and by the index, not by what the files hold."""
    settings: dict[str, Any] = {k: v for k, v in asdict(config).items() if k not in HARMLESS}
    rows = {
        name: [
            (
                row.patient,
                row.label,
                row.image.name,
                row.frame,
                row.mask and row.mask.name,
                row.region,
            )
            for row in getattr(fold.split, name)
        ]
        for name in PARTS
    }
    return hashlib.sha256(json.dumps([settings, rows]).encode()).hexdigest()[:16]


def _rows_of(split: Split) -> list[Row]:
    """All rows, as the index has them."""
    return sorted((*split.train, *split.validation, *split.test), key=lambda row: row.line)


def _caches(task: Task, rows: Sequence[Row], split: Split) -> tuple[Cache, Cache]:
    """Training and validation part of a fold; the images are prepared once for all folds."""
    as_trained = single.prepare(task, rows, task.config.regions)
    as_served = single.prepare(task, rows, Regions())
    where = {row.line: place for place, row in enumerate(rows)}
    return (
        _some(as_trained, [where[row.line] for row in split.train]),
        _some(as_served, [where[row.line] for row in split.validation]),
    )


def _some(cache: Cache, places: Sequence[int]) -> Cache:
    """Return some images of a cache, which stay on the disk."""
    chosen = np.array(places, np.int64)
    return Cache(
        # all that is ever asked of them is `images[indices]`
        images=cast(NDArray[np.uint8], _View(cache.images, chosen)),
        masks=cast(NDArray[np.uint8], _View(cache.masks, chosen)),
        annotated=cache.annotated[chosen],
        labels=cache.labels[chosen],
        patients=tuple(cache.patients[place] for place in places),
    )


class _View:
    """Some images of an array on disk, read when they are asked for."""

    def __init__(self, whole: NDArray[np.uint8], chosen: NDArray[np.int64]) -> None:
        self._whole, self._chosen = whole, chosen

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images at these places of the part, (n, height, width)."""
        return self._whole[self._chosen[places]]


def _counts(made: Sequence[Fold]) -> str:
    """One line about the division."""
    first = made[0].split
    patients = len({row.patient for row in _rows_of(first)})
    parts = [f"{len({r.patient for r in rows})} {name}" for name, rows in vars(first).items()]
    repeats = made[-1].repeat
    again = f", in {repeats} repeats" if repeats > 1 else ""
    return f"{len(made)} folds of {patients} patients{again}; in the first: {', '.join(parts)}"
