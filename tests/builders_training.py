"""Builders for the training loop's tests: images drawn in memory, tiny runs, a deadly cache."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.training.config import Augmentation, Loss, Stage, TrainConfig
from model.training.data import Cache
from model.training.loop import Trainer
from tests.builders_net import SMALL_INPUT, TINY, ellipse

NONE = Augmentation(
    flip=0, rotation_deg=0, translation=0, elastic_p=0, gamma=1, noise_p=0, blur_p=0, sharpen_p=0,
    dropout_p=0,
)  # fmt: skip
FAST = TrainConfig(
    architecture=TINY,
    input=SMALL_INPUT,
    augmentation=NONE,
    threads=1,
    workers=0,
    loss=Loss(pixel=1.0),
    checkpoint_steps=0,
    stages=(Stage(epochs=2, batch=8, learning_rate=3e-3),),
)


def disks(count: int, seed: int = 0) -> Cache:
    """Draw images of 64 x 64 with a disk each: dark, or bright where the label is 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    places = rng.uniform(20, 44, (count, 2))
    masks = np.stack([ellipse((64, 64), (float(x), float(y)), (30, 26)) for x, y in places])
    grey = rng.integers(90, 130, masks.shape) + np.where(labels, 70, -70)[:, None, None] * masks
    return Cache(
        images=grey.astype(np.uint8),
        masks=masks.astype(np.uint8),
        annotated=np.ones(count, np.bool_),
        labels=labels.astype(np.int8),
        patients=tuple(f"p{number}" for number in range(count)),
    )


@dataclass
class Mortal:
    """Images that end the run when they are read for the `last`-th time, as a crash would."""

    images: NDArray[np.uint8]
    last: int
    end: Callable[[], Any]
    reads: int = 0

    def __getitem__(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        self.reads += 1
        if self.reads == self.last:
            self.end()
        return self.images[chosen]


def mortal(cache: Cache, last: int, end: Callable[[], Any]) -> Cache:
    """Return a cache that ends the run in its `last`-th step."""
    return replace(cache, images=Mortal(cache.images, last, end))  # type: ignore[arg-type]


def die() -> None:
    """End this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def quiet(config: TrainConfig, out: Path) -> Trainer:
    """Make a run that says nothing."""
    out.mkdir(parents=True, exist_ok=True)
    return Trainer(config, out, lambda line: None)
