"""What a run began as: its position and its weights mean nothing under other settings."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from model.training.config import Stage, TrainConfig
from model.training.data import Cache

# settings that leave every weight and every number as it is
HARMLESS = ("about", "workers", "threads", "initial_file", "checkpoint_steps", "folds")
_LATE = ("patience", "points")  # decide when a run ends, and what is chosen then


def origin_of(config: TrainConfig, cache: Cache) -> dict[str, str]:
    """Return a fingerprint of the images and of each setting that decides the weights."""
    what: dict[str, Any] = {k: v for k, v in asdict(config).items() if k not in HARMLESS + _LATE}
    what["images"] = [cache.patients, cache.labels.tolist()]
    epochs = (_fingerprint(_epoch(stage)) for stage in config.stages for _ in range(stage.epochs))
    return {**{key: _fingerprint(value) for key, value in what.items()}, "stages": " ".join(epochs)}


def changed(before: Mapping[str, str], now: Mapping[str, str], epochs: int) -> list[str]:
    """Name what differs between two runs; nothing where there was none before.

    Of the stages the first `epochs` count, those that were begun: a run may be prolonged.
    """
    if not before:
        return []
    other = [key for key in now if key != "stages" and before.get(key) != now[key]]
    begun, planned = (run.get("stages", "").split()[:epochs] for run in (before, now))
    return [*other, *(["stages"] if begun != planned else [])]


def _epoch(stage: Stage) -> dict[str, Any]:
    """Return what decides an epoch; how many there are does where the rate depends on it."""
    kept = asdict(stage)
    if stage.schedule == "constant":
        del kept["epochs"]
    return kept


def _fingerprint(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
