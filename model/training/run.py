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
from model.training import evaluation, metrics, rules
from model.training.checkpoint import Progress
from model.training.config import Regions, TrainConfig
from model.training.data import PICTURES, Cache, Readers, load_cache
from model.training.index import Row, Split, read_index, split_by_patient
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
) -> Bundle:
    """Train on a dataset folder and leave `bundle/`, `metrics.json` and the log in `out`.

    Raises
    ------
    TrainingError
        The dataset, the configuration or the checkpoint cannot be used.
    """
    split = split_by_patient(read_index(data), config.seed)
    if not split.validation:
        raise TrainingError("too few patients: the validation part is empty")
    if (out / "checkpoint.safetensors").exists() and not resume:
        raise TrainingError(f"{out} holds a run already: add --resume, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    say(_counts(split))
    trainer = Trainer(config, out, say)
    if resume:
        trainer.resume()
    progress = trainer.fit(
        _cache(out, split.train, config, config.regions, readers, say),
        _cache(out, split.validation, config, Regions(), readers, say),
    )
    return _finish(data, out, config, split, progress, readers, say)


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
    card = replace(card, **_calibrated(results))
    draft = bundle_file.write(out / "draft", card, [weights])
    predictor = Predictor(draft)
    parts: Mapping[str, Sequence[Row]] = {"validation": split.validation, "test": split.test}
    measured = {
        name: evaluation.report(
            evaluation.evaluate(predictor, rows, readers), card.operating_points
        )
        for name, rows in parts.items()
        if rows
    }
    (out / "metrics.json").write_text(json.dumps(measured, indent=2), encoding="ascii")
    bundle = bundle_file.write(out / "bundle", replace(card, metrics=measured), [weights])
    say(f"bundle {bundle.digest[:12]} written to {bundle.path}")
    return bundle


def _calibrated(results: Sequence[evaluation.ImageResult]) -> dict[str, Any]:
    """Temperature and operating points from the validation part alone.

    A patient without a segmented node has no logit to scale; at the operating points it counts as
    not suspected, which is what the node would report.
    """
    everyone = evaluation.patients(results)
    scores, labels = evaluation.arrays(everyone)
    if len(set(labels.tolist())) < 2:
        return {}
    segmented = np.array([p.segmented for p in everyone])
    logits = _logits(scores)
    temperature = metrics.fit_temperature(logits[segmented], labels[segmented])
    scaled = np.where(segmented, 1 / (1 + np.exp(-logits / temperature)), 0.0)
    return {
        "temperature": round(temperature, 4),
        "operating_points": metrics.operating_points(scaled, labels),
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
