"""How good the network is as it stands: Dice and AUROC of the validation part, quickly.

In the network's pixels, without the daemon's path; `evaluation` measures the bundle by that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.network import AxNet
from model.nodes import Rules
from model.training.augment import Batch
from model.training.batches import Indices, collect
from model.training.data import Cache
from model.training.metrics import auroc

_BATCH = 16


@dataclass(frozen=True)
class Validation:
    """What one pass over the validation part gave, in the network's pixels."""

    dice: float  # mean over annotated images; an image rightly left empty counts 1; nan without
    auroc: float  # of patients (maximum of their images); nan without both classes

    @property
    def score(self) -> float:
        """What the best weights are chosen by: both stages count alike."""
        known = [value for value in (self.dice, self.auroc) if not math.isnan(value)]
        return sum(known) / len(known) if known else 0.0


def validate(
    network: AxNet,
    cache: Cache,
    rules: Rules,
    scale: int = 1,
    normalised: Callable[[Tensor], Tensor] = lambda image: image,
) -> Validation:
    """Measure the network; `normalised` turns grey 0..1 into what it expects, on its device."""
    network.eval()
    dices: list[float] = []
    patients = _Patients()
    for start in range(0, len(cache.patients), _BATCH):
        chosen = np.arange(start, min(start + _BATCH, len(cache.patients)))
        batch = collect(cache, chosen, scale)
        with torch.inference_mode():
            mask_logits, class_logits = network(normalised(batch.image))
        dices += _dices(mask_logits, batch, rules)
        patients.add(cache, chosen, class_logits.tolist())
    return Validation(float(np.mean(dices)) if dices else math.nan, patients.auroc())


class _Patients:
    """Greatest logit and label of each labelled patient."""

    def __init__(self) -> None:
        self._logits: dict[str, float] = {}
        self._labels: dict[str, int] = {}

    def add(self, cache: Cache, chosen: Indices, logits: list[float]) -> None:
        for index, logit in zip(chosen, logits, strict=True):
            patient, label = cache.patients[index], int(cache.labels[index])
            if label >= 0:
                self._labels[patient] = max(self._labels.get(patient, 0), label)
                self._logits[patient] = max(self._logits.get(patient, -math.inf), logit)

    def auroc(self) -> float:
        truth = np.array(list(self._labels.values()), np.int8)
        return auroc(np.array([self._logits[p] for p in self._labels]), truth)


def _dices(logits: Tensor, batch: Batch, rules: Rules) -> list[float]:
    """Dice per annotated image, at the threshold of the bundle's rules."""
    predicted = torch.sigmoid(logits).cpu() >= rules.threshold
    true = batch.mask > 0.5
    total = (predicted.sum((1, 2, 3)) + true.sum((1, 2, 3))).float()
    shared = (predicted & true).sum((1, 2, 3)).float()
    least = rules.min_fraction * predicted[0].numel()
    values = torch.where(total < least, 1.0, 2 * shared / total.clamp_min(1))
    return [float(v) for v in values[batch.annotated]]
