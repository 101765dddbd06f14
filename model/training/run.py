"""A whole training run: dataset in, verified bundle and metrics out."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from model import bundle_file
from model.bundle_file import Bundle, Card, OperatingPoint
from model.errors import TrainingError
from model.runtime import Predictor
from model.training import checkpoint, distributed, evaluation, metrics, rules, selection
from model.training.checkpoint import Progress
from model.training.checks import checked_split
from model.training.config import Points, Regions, TrainConfig
from model.training.data import PICTURES, Cache, Readers, load_cache
from model.training.distributed import Team
from model.training.index import Row, Split
from model.training.loop import BEST, Trainer

Say = Callable[[str], None]


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

    Returns
    -------
    Bundle or None
        None in every process but the first, where `torchrun` started several.

    Raises
    ------
    TrainingError
        The dataset, the configuration or the checkpoint cannot be used.
    """
    selection.rules_of(config.points)  # a wrong rule is told now, not after the last epoch
    _check_folder(out, resume)
    with distributed.team() as team:
        say = say if team.first else _silent
        # every process looks for itself, so that what one finds wrong leaves none of them waiting
        split = checked_split(
            data,
            out,
            config.seed,
            classified=config.loss.classification > 0,
            readers=readers,
            workers=config.workers,
            say=say,
        )
        say(_counts(split))
        trainer = Trainer(config, out, say, team)
        if resume and (out / checkpoint.NAME).exists():
            trainer.resume()
        elif resume:
            say(f"no checkpoint in {out}: starting from the beginning")
        caches = _caches(out, split, config, readers, say, team)
        progress = trainer.fit(*caches)
    # the others are done: what follows is a minute of one process
    return _finish(data, out, config, split, progress, readers, say) if team.first else None


def _check_folder(out: Path, resume: bool) -> None:
    """Make the folder of the run, unless it holds one that was not asked for."""
    if (out / checkpoint.NAME).exists() and not resume:
        raise TrainingError(f"{out} holds a run already: add --resume, or name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{out} cannot be made: {error.strerror}") from error


def _caches(
    out: Path, split: Split, config: TrainConfig, readers: Readers, say: Say, team: Team
) -> tuple[Cache, Cache]:
    """Prepare the training and the validation part, once for all processes."""

    def both() -> tuple[Cache, Cache]:
        return (
            _cache(out, split.train, config, config.regions, readers, say),
            _cache(out, split.validation, config, Regions(), readers, say),
        )

    if team.first:
        both()
    team.wait()
    return both()


def _cache(
    out: Path,
    rows: Sequence[Row],
    config: TrainConfig,
    regions: Regions,
    readers: Readers,
    say: Say,
) -> Cache:
    return load_cache(
        out / "cache",
        rows,
        config.input,
        regions,
        seed=config.seed,
        readers=readers,
        workers=config.workers,
        progress=lambda done, of: say(f"prepared {done}/{of} images"),
    )


def _finish(
    data: Path,
    out: Path,
    config: TrainConfig,
    split: Split,
    progress: Progress,
    readers: Readers,
    say: Say,
) -> Bundle:
    """Calibrate on the validation part, choose thresholds there, measure on the test part."""
    weights = (out / BEST).read_bytes()
    card = _card(config, split, progress)
    draft = bundle_file.write(out / "draft", card, [weights])
    say("choosing rules, temperature and operating points on the validation part")
    card = replace(card, nodes=rules.choose(Predictor(draft), split.validation, readers))
    draft = bundle_file.write(out / "draft", card, [weights])
    results = evaluation.evaluate(Predictor(draft), split.validation, readers)
    card = replace(card, **_calibrated(results, config.points, say))
    draft = bundle_file.write(out / "draft", card, [weights])
    predictor = Predictor(draft)
    parts: Mapping[str, Sequence[Row]] = {"validation": split.validation, "test": split.test}
    measured = {
        name: evaluation.report(
            evaluation.evaluate(predictor, rows, readers), card.operating_points, card.aggregation
        )
        for name, rows in parts.items()
        if rows
    }
    (out / "metrics.json").write_text(json.dumps(measured, indent=2), encoding="ascii")
    bundle = bundle_file.write(out / "bundle", replace(card, metrics=measured), [weights])
    say(f"bundle {bundle.digest[:12]} written to {bundle.path}")
    return bundle


def _calibrated(
    results: Sequence[evaluation.ImageResult], points: Points, say: Say
) -> dict[str, Any]:
    """Temperature and operating points from the validation part alone.

    A patient without a segmented node has no logit to scale; at the operating points it counts as
    not suspected, which is what the node would report.
    """
    everyone = evaluation.patients(results)
    scores, labels = evaluation.arrays(everyone)
    if len(set(labels.tolist())) < 2:
        say(
            "the validation part has patients of one class: no threshold could be chosen, 0.5 stays"
        )
        return {}
    segmented = np.array([p.segmented for p in everyone])
    logits = _logits(scores)
    temperature = metrics.fit_temperature(logits[segmented], labels[segmented])
    scaled = np.where(segmented, 1 / (1 + np.exp(-logits / temperature)), 0.0)
    return {
        "temperature": round(temperature, 4),
        "operating_points": selection.operating_points(scaled, labels, points),
    }


def _logits(scores: metrics.Floats) -> metrics.Floats:
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)), float)


def _card(config: TrainConfig, split: Split, progress: Progress) -> Card:
    """Everything the card can say before anything was measured."""
    about = config.about
    return Card(
        name=about.name,
        version=about.version,
        demonstration=about.demonstration,
        intended_use=about.intended_use,
        intended_population=about.intended_population,
        limits=about.limits,
        licence=about.licence,
        architecture=config.architecture,
        input=config.input,
        nodes=config.nodes,
        operating_points=(OperatingPoint("max_accuracy", 0.5),),
        training={
            "data": about.data,
            "images": {name: len(rows) for name, rows in vars(split).items()},
            "patients": {n: len({r.patient for r in rows}) for n, rows in vars(split).items()},
            "best_epoch": progress.best_epoch,
            "best_validation_score": round(progress.best_score, 4),
            **_settings(config),
        },
    )


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Keep what the card does not say elsewhere."""
    elsewhere = ("about", "architecture", "input", "nodes", "workers", "threads")
    return {key: value for key, value in asdict(config).items() if key not in elsewhere}


def _counts(split: Split) -> str:
    parts = [
        f"{name} {len(rows)} images of {len({r.patient for r in rows})} patients"
        for name, rows in vars(split).items()
    ]
    return "split by patient: " + ", ".join(parts)


def _silent(line: str) -> None:
    """Say nothing: the first process speaks for all."""
