"""Which images a step sees, and as what: decided by seed, epoch and step alone.

So a run that goes on at any step draws what an unbroken one would; no generator's state is kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from model.nodes import territories
from model.training import traces
from model.training.augment import Batch, augment
from model.training.config import Stage, TrainConfig
from model.training.data import Cache

Indices = NDArray[np.int64]

_CLASS_ALONE = 0.2  # effort of training the class alone, of that of everything


def order_of(count: int, stage: Stage, seed: int, epoch: int, processes: int = 1) -> list[Indices]:
    """Draw the images of each step of an epoch, for all processes together.

    Batch normalisation cannot train on a single image: a rest that would leave a process with one
    is left out of this epoch.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(count)[: max(round(count * stage.share), 1)]
    size = stage.batch * processes
    steps = [np.sort(order[start : start + size]) for start in range(0, len(order), size)]
    return [chosen for chosen in steps if len(chosen) >= 2 * processes or len(order) == 1]


def generator_of(seed: int, epoch: int, step: int, process: int = 0) -> np.random.Generator:
    """Return the source of everything random within a step."""
    return np.random.default_rng((seed, epoch, step + 1, process))  # 0, 0 would be `order_of`'s


def rate(stage: Stage, done: float) -> float:
    """Learning rate when a share of the stage is done."""
    if stage.schedule == "constant":
        return stage.learning_rate
    return stage.learning_rate * max(0.5 * (1 + math.cos(math.pi * done)), 0.02)


def work(stage: Stage, images: float) -> float:
    """Effort of training on so many images, in full-size images."""
    return images / stage.scale**2 * (1 if stage.trains == "all" else _CLASS_ALONE)


def work_of(plan: Sequence[tuple[Stage, int]], images: int) -> float:
    """Effort of the epochs of a plan."""
    return sum(work(stage, images * stage.share) for stage, _ in plan)


@dataclass(frozen=True)
class Drawn:
    """What a step trains on."""

    batch: Batch
    rows: Indices  # which images of the cache they are
    seed: int  # of what the network itself draws


def draw(
    cache: Cache, chosen: Indices, stage: Stage, config: TrainConfig, rng: np.random.Generator
) -> Drawn:
    """Collect and augment the images of a step; runs beside the step before."""
    seed = int(rng.integers(2**62))
    batch = collect(cache, chosen, stage.scale)
    batch = traces.disturb(batch, config.augmentation, rng)
    batch = look_alone(batch, config.focus, rng)
    batch = show(batch, config.drawn, rng)
    batch = augment(batch, config.augmentation, torch.Generator().manual_seed(seed))
    return Drawn(batch, chosen, seed)


def collect(cache: Cache, chosen: Indices, scale: int) -> Batch:
    """Put images together, shrunk by `scale`."""
    image = torch.from_numpy(cache.images[chosen])[:, None].float() / 255.0
    mask = torch.from_numpy(cache.masks[chosen])[:, None].float()
    if scale > 1:
        image = functional.avg_pool2d(image, scale)
        mask = (functional.avg_pool2d(mask, scale) >= 0.5).float()
    labels = torch.from_numpy(cache.labels[chosen])
    annotated = torch.from_numpy(cache.annotated[chosen])
    focus = torch.ones_like(mask)
    label, shown = labels.clamp_min(0).float(), torch.zeros_like(annotated)
    return Batch(image, mask, focus, annotated, label, labels >= 0, shown)


def look_alone(batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """Show the classifier one of several nodes alone, on a share of the images."""
    focus = batch.focus.clone()
    for index in np.flatnonzero(rng.random(len(focus)) < share):
        focus[index, 0] = _one_node(batch.mask[index, 0], rng)
    return replace(batch, focus=focus)


def show(batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """Show the classifier the drawn mask of a share of the images that have one."""
    drawn = torch.from_numpy(rng.random(len(batch.shown)) < share)
    return replace(batch, shown=drawn & batch.annotated)


def _one_node(mask: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw the territory of one connected component; everything where there is none."""
    labels, count = ndimage.label(mask.numpy() > 0.5)
    if not count:
        return torch.ones_like(mask)
    parts = territories([labels == number for number in range(1, count + 1)])
    return torch.from_numpy(parts[rng.integers(count)]).float()
