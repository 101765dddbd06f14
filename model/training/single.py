"""One network: from a split and its prepared images to a verified bundle and its metrics."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from model import bundle_file
from model.bundle_file import Bundle, Card, OperatingPoint
from model.runtime import Predictor
from model.training import checkpoint, evaluation, metrics, model_card, rules, selection
from model.training.checkpoint import Progress
from model.training.config import Points, Regions, TrainConfig
from model.training.data import Cache, Readers, load_cache
from model.training.distributed import Team
from model.training.index import Row, Split
from model.training.loop import BEST, Trainer
from model.training.results import ImageResult

Say = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """What one network is trained by, and where."""

    out: Path  # folder of the run
    config: TrainConfig
    readers: Readers
    say: Say
    team: Team = field(default_factory=Team)


@dataclass(frozen=True)
class Finished:
    """What a run leaves."""

    bundle: Bundle
    test: tuple[ImageResult, ...]  # the bundle on each image of the test part


def start(task: Task) -> Trainer:
    """Make the network, as the last checkpoint has it where there is one."""
    trainer = Trainer(task.config, task.out, task.say, task.team)
    if (task.out / checkpoint.NAME).exists():
        trainer.resume()
    return trainer


def prepare(task: Task, rows: Sequence[Row], regions: Regions) -> Cache:
    """Prepare images, or find them prepared."""
    return load_cache(
        task.out / "cache",
        rows,
        task.config.input,
        regions,
        seed=task.config.seed,
        readers=task.readers,
        workers=task.config.workers,
        progress=lambda done, of: task.say(f"prepared {done}/{of} images"),
    )


def finish(
    task: Task, split: Split, progress: Progress, more: Mapping[str, Any] | None = None
) -> Finished:
    """Calibrate on the validation part, choose thresholds there, measure on the test part.

    Parameters
    ----------
    more
        What the card says of the training beside the settings.
    """
    out, config, readers = task.out, task.config, task.readers
    weights = (out / BEST).read_bytes()
    card = card_of(config, {**_training(split, progress), **(more or {})})
    draft = bundle_file.write(out / "draft", card, [weights])
    task.say("choosing rules, temperature and operating points on the validation part")
    card = replace(card, nodes=rules.choose(Predictor(draft), split.validation, readers))
    draft = bundle_file.write(out / "draft", card, [weights])
    results = evaluation.evaluate(Predictor(draft), split.validation, readers)
    card = replace(card, **_calibrated(results, config.points, task.say))
    draft = bundle_file.write(out / "draft", card, [weights])
    predictor = Predictor(draft)
    parts: Mapping[str, Sequence[Row]] = {"validation": split.validation, "test": split.test}
    found = {name: evaluation.evaluate(predictor, rows, readers) for name, rows in parts.items()}
    measured = {
        name: evaluation.report(results, card.operating_points, card.aggregation)
        for name, results in found.items()
        if results
    }
    (out / "metrics.json").write_text(json.dumps(measured, indent=2), encoding="ascii")
    # seconds differ from run to run of one model, and the card's bytes are the model's identity
    lasting = {
        name: {key: value for key, value in part.items() if key != "seconds_per_image"}
        for name, part in measured.items()
    }
    bundle = bundle_file.write(out / "bundle", replace(card, metrics=lasting), [weights])
    shutil.rmtree(out / "draft")
    checkpoint.write_whole(out / model_card.NAME, model_card.markdown(bundle).encode())
    task.say(f"bundle {bundle.digest[:12]} written to {bundle.path}")
    return Finished(bundle, tuple(found["test"]))


def _calibrated(results: Sequence[ImageResult], points: Points, say: Say) -> dict[str, Any]:
    """Temperature and operating points from the validation part alone."""
    everyone = evaluation.patients(results)
    scores, labels = evaluation.arrays(everyone)
    segmented = np.array([p.segmented for p in everyone], np.bool_)
    found = calibrate(logits(scores), segmented, labels, points)
    if not found:
        say(
            "the validation part has patients of one class: no threshold could be chosen, 0.5 stays"
        )
    return found


def calibrate(
    raw: metrics.Floats,
    segmented: NDArray[np.bool_],
    labels: NDArray[np.int8],
    points: Points,
) -> dict[str, Any]:
    """Temperature and operating points of a card; nothing where the patients are of one class.

    A patient without a segmented node has no logit to scale; at the operating points it counts as
    not suspected, which is what the node would report.

    Parameters
    ----------
    raw
        (N,) logit of each patient at temperature 1.
    segmented
        (N,) bool, False: no node was segmented.
    labels
        (N,) 0 or 1.
    """
    if len(set(labels.tolist())) < 2:
        return {}
    temperature = metrics.fit_temperature(raw[segmented], labels[segmented])
    scaled = np.where(segmented, expit(raw / temperature), 0.0)
    return {
        "temperature": round(temperature, 4),
        "operating_points": selection.operating_points(scaled, labels, points),
    }


def logits(scores: metrics.Floats) -> metrics.Floats:
    """Logits of scores 0..1; those of 0 and 1 are kept finite."""
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)), float)


def card_of(config: TrainConfig, training: Mapping[str, Any]) -> Card:
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
        training={"data": about.data, **training, **_settings(config)},
    )


def _training(split: Split, progress: Progress) -> dict[str, Any]:
    """Gather what is known of a training once it is over."""
    return {
        "images": {name: len(rows) for name, rows in vars(split).items()},
        "patients": {n: len({r.patient for r in rows}) for n, rows in vars(split).items()},
        "best_epoch": progress.best_epoch,
        "best_validation_score": round(progress.best_score, 4),
    }


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Keep what the card does not say elsewhere."""
    elsewhere = {"about", "architecture", "input", "nodes", "workers", "threads", "initial_file"}
    if not config.folds.count:
        elsewhere.add("folds")
    return {key: value for key, value in asdict(config).items() if key not in elsewhere}
