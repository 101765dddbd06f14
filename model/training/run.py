"""A whole training run: dataset in, verified bundle and metrics out."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from model.bundle_file import Bundle
from model.errors import TrainingError
from model.training import checkpoint, distributed, selection, single
from model.training.checks import checked_split
from model.training.config import Regions, TrainConfig
from model.training.data import PICTURES, Cache, Readers
from model.training.fold_run import cross_validate
from model.training.index import Split
from model.training.single import Say, Task


def train(
    data: Path,
    out: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    readers: Readers = PICTURES,
    say: Say = print,
) -> Bundle | None:
    """Train on a dataset folder and leave `bundle/`, `metrics.json` and the log in `out`.

    With folds in the configuration `out` holds such a folder for each, and `folds.json`.

    Returns
    -------
    Bundle or None
        None in every process but the first, where `torchrun` started several; None, too, after
        folds without an ensemble.

    Raises
    ------
    TrainingError
        The dataset, the configuration or the checkpoint cannot be used.
    """
    selection.rules_of(config.points)  # a wrong rule is told now, not after the last epoch
    _check_folder(out, resume, config)
    task = Task(out, config, readers, say)
    if config.folds.count:
        return cross_validate(data, task)
    return _hold_out(data, task, resume)


def _hold_out(data: Path, task: Task, resume: bool) -> Bundle | None:
    """Train one network, in one process or several."""
    with distributed.team() as team:
        task = replace(task, say=task.say if team.first else _silent, team=team)
        # every process looks for itself, so that what one finds wrong leaves none of them waiting
        split = checked_split(
            data,
            task.out,
            task.config.seed,
            classified=task.config.loss.classification > 0,
            readers=task.readers,
            workers=task.config.workers,
            say=task.say,
        )
        if team.first:
            _write_parts(task.out / "split.csv", split)
        task.say(_counts(split))
        if resume and not (task.out / checkpoint.NAME).exists():
            task.say(f"no checkpoint in {task.out}: starting from the beginning")
        trainer = single.start(task)
        progress = trainer.fit(*_caches(task, split))
    # the others are done: what follows is a minute of one process
    return single.finish(task, split, progress).bundle if team.first else None


def _check_folder(out: Path, resume: bool, config: TrainConfig) -> None:
    """Make the folder of the run, unless it holds one that was not asked for."""
    alone = (out / checkpoint.NAME).exists()
    folded = any(out.glob(f"fold-*/{checkpoint.NAME}"))
    if (alone or folded) and not resume:
        raise TrainingError(f"{out} holds a run already: add --resume, or name another folder")
    if alone if config.folds.count else folded:
        held = "with folds" if folded else "without folds"
        raise TrainingError(
            f"{out} holds a run {held}: give the configuration it was made with, or name another"
            " folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{out} cannot be made: {error.strerror}") from error


def _caches(task: Task, split: Split) -> tuple[Cache, Cache]:
    """Prepare the training and the validation part, once for all processes."""

    def both() -> tuple[Cache, Cache]:
        return (
            single.prepare(task, split.train, task.config.regions),
            single.prepare(task, split.validation, Regions()),
        )

    if task.team.first:
        both()
    task.team.wait()
    return both()


def _write_parts(path: Path, split: Split) -> None:
    """Say who is in which part: a later run on some of the same patients must know."""
    parts = {row.patient: name for name, rows in vars(split).items() for row in rows}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("patient", "split"), *sorted(parts.items())])
    checkpoint.write_whole(path, text.getvalue().encode())


def _counts(split: Split) -> str:
    parts = [
        f"{name} {len(rows)} images of {len({r.patient for r in rows})} patients"
        for name, rows in vars(split).items()
    ]
    return "split by patient: " + ", ".join(parts)


def _silent(line: str) -> None:
    """Say nothing: the first process speaks for all."""
