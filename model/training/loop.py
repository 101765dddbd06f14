"""The training loop: stages of epochs, validation after each, the best weights kept."""

import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_safetensors
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from torch.optim import Adam

from model.network import AxNet
from model.nodes import territories
from model.training import checkpoint
from model.training.augment import Batch, augment
from model.training.config import Stage, TrainConfig
from model.training.data import Cache
from model.training.initial import load_lite0
from model.training.loss import joint_loss
from model.training.metrics import auroc

BEST = "best.safetensors"
_VALIDATION_BATCH = 16


@dataclass(frozen=True)
class Validation:
    """What one pass over the validation part gave, in the network's pixels."""

    dice: float  # mean over annotated images; an image rightly left empty counts 1
    auroc: float  # of patients (maximum of their images); nan without both classes

    @property
    def score(self) -> float:
        """What the best weights are chosen by: both stages count alike."""
        return (self.dice + (0.5 if math.isnan(self.auroc) else self.auroc)) / 2


class Trainer:
    """One run in a folder; `fit` leaves the best weights there.

    Parameters
    ----------
    out
        Folder of the run: log.csv, checkpoint.safetensors, best.safetensors.
    say
        Receives one line per epoch.
    """

    def __init__(self, config: TrainConfig, out: Path, say: Callable[[str], None]) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)  # initial weights
        self.config, self.out, self._say = config, out, say
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = AxNet(config.architecture)
        if config.initial == "efficientnet-lite0":
            load_lite0(self.network, config.architecture.encoder)
        self.network.to(self.device).to(memory_format=torch.channels_last)
        self.optimiser = Adam(self.network.parameters(), lr=config.stages[0].learning_rate)
        self.progress = checkpoint.Progress(0, 0, -1.0)

    def resume(self) -> None:
        """Go on from the last finished epoch."""
        self.progress = checkpoint.load(self.out, self.network, self.optimiser)

    def fit(self, train: Cache, validation: Cache) -> checkpoint.Progress:
        """Train through all stages; the random numbers depend on seed and epoch alone."""
        plan = [(stage, n) for stage in self.config.stages for n in range(stage.epochs)]
        for epoch, (stage, within) in enumerate(plan):
            if epoch < self.progress.epoch:
                continue
            started = time.monotonic()
            loss = self._epoch(train, stage, within, epoch)
            result = self.validate(validation, stage.scale)
            first = epoch == 0 or plan[epoch - 1][0].scale != stage.scale
            self._keep(epoch + 1, result, first_at_scale=first)
            seconds = time.monotonic() - started
            self._log(epoch + 1, len(plan), stage, loss, result, seconds)
        return self.progress

    def validate(self, cache: Cache, scale: int = 1) -> Validation:
        """Measure the network as it stands."""
        self.network.eval()
        dices: list[float] = []
        scores: dict[str, float] = {}
        labels: dict[str, int] = {}
        for start in range(0, len(cache.patients), _VALIDATION_BATCH):
            chosen = np.arange(start, min(start + _VALIDATION_BATCH, len(cache.patients)))
            batch = self._batch(cache, chosen, scale, None)
            with torch.inference_mode():
                mask_logits, class_logits = self.network(self._normalised(batch.image))
            dices += self._dices(mask_logits, batch)
            for index, logit in zip(chosen, class_logits.tolist(), strict=True):
                patient, label = cache.patients[index], int(cache.labels[index])
                if label >= 0:
                    labels[patient] = max(labels.get(patient, 0), label)
                    scores[patient] = max(scores.get(patient, -math.inf), logit)
        ordered = sorted(labels)
        truth = np.array([labels[p] for p in ordered], np.int8)
        area = auroc(np.array([scores[p] for p in ordered]), truth)
        return Validation(float(np.mean(dices)) if dices else math.nan, area)

    def _epoch(self, cache: Cache, stage: Stage, within: int, epoch: int) -> float:
        """Train once over (a share of) the images; the mean loss."""
        self.network.train()
        for name, parameter in self.network.encoder.named_parameters():
            parameter.requires_grad_(not name.startswith(stage.frozen))
        seed = self.config.seed * 100_003 + epoch
        torch.manual_seed(seed)  # the network's own dropout; a resumed run draws the same
        generator = torch.Generator().manual_seed(seed)
        rng = np.random.default_rng((self.config.seed, epoch))
        batches = list(_shuffled(len(cache.patients), stage, rng))
        losses = []
        for step, chosen in enumerate(batches):
            done = (within + step / len(batches)) / stage.epochs
            for group in self.optimiser.param_groups:
                group["lr"] = _rate(stage, done)
            batch = self._batch(cache, chosen, stage.scale, rng)
            batch = augment(batch, self.config.augmentation, generator)
            losses.append(self._step(batch))
        return float(np.mean(losses))

    def _step(self, batch: Batch) -> float:
        """One update of the weights."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"
        ):
            logits = self.network(self._normalised(batch.image), batch.focus.to(self.device))
        on_device = Batch(*(part.to(self.device) for part in vars(batch).values()))
        loss = joint_loss(logits[0].float(), logits[1].float(), on_device, self.config.loss)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return float(loss.detach())

    def _normalised(self, image: Tensor) -> Tensor:
        """Grey 0..1 to what the network expects, as `preprocess.normalise` does."""
        spec = self.config.input
        return ((image - spec.mean) / spec.std).to(self.device)

    def _batch(
        self,
        cache: Cache,
        chosen: NDArray[np.int64],
        scale: int,
        rng: np.random.Generator | None,
    ) -> Batch:
        """Collect images; with `rng`, some of several nodes are looked at alone."""
        image = torch.from_numpy(cache.images[chosen])[:, None].float() / 255.0
        mask = torch.from_numpy(cache.masks[chosen])[:, None].float()
        if scale > 1:
            image = functional.avg_pool2d(image, scale)
            mask = (functional.avg_pool2d(mask, scale) >= 0.5).float()
        focus = torch.ones_like(mask)
        if rng is not None:
            for index in np.flatnonzero(rng.random(len(chosen)) < self.config.focus):
                focus[index, 0] = _one_node(mask[index, 0], rng)
        labels = torch.from_numpy(cache.labels[chosen])
        annotated = torch.from_numpy(cache.annotated[chosen])
        return Batch(image, mask, focus, annotated, labels.clamp_min(0).float(), labels >= 0)

    def _dices(self, logits: Tensor, batch: Batch) -> list[float]:
        """Dice per annotated image, at the threshold of the bundle's rules."""
        predicted = torch.sigmoid(logits).cpu() >= self.config.nodes.threshold
        true = batch.mask > 0.5
        total = (predicted.sum((1, 2, 3)) + true.sum((1, 2, 3))).float()
        shared = (predicted & true).sum((1, 2, 3)).float()
        least = self.config.nodes.min_fraction * predicted[0].numel()
        values = torch.where(total < least, 1.0, 2 * shared / total.clamp_min(1))
        return [float(v) for v in values[batch.annotated]]

    def _keep(self, epoch: int, result: Validation, *, first_at_scale: bool) -> None:
        """Remember the best weights; scores of finer images start anew, being lower."""
        best, best_epoch = self.progress.best_score, self.progress.best_epoch
        if first_at_scale or result.score > best:
            best, best_epoch = result.score, epoch
            tensors = {k: v.cpu().contiguous() for k, v in self.network.state_dict().items()}
            part = self.out / f"{BEST}.part"
            part.write_bytes(to_safetensors(tensors))
            part.rename(self.out / BEST)
        self.progress = checkpoint.Progress(epoch, best_epoch, best)
        checkpoint.save(self.out, self.network, self.optimiser, self.progress)

    def _log(
        self, epoch: int, epochs: int, stage: Stage, loss: float, result: Validation, seconds: float
    ) -> None:
        """One line for people, one row for tools."""
        path = self.out / "log.csv"
        new = not path.exists()
        with path.open("a", newline="", encoding="ascii") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["epoch", "scale", "loss", "dice", "auroc", "seconds"])
            numbers = [f"{v:.4f}" for v in (loss, result.dice, result.auroc)]
            writer.writerow([epoch, stage.scale, *numbers, round(seconds)])
        star = " *" if self.progress.best_epoch == epoch else ""
        self._say(
            f"epoch {epoch}/{epochs} at 1/{stage.scale}: loss {loss:.3f}, validation Dice"
            f" {result.dice:.3f}, AUROC {result.auroc:.3f}, {seconds:.0f} s{star}"
        )


def _shuffled(count: int, stage: Stage, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Draw the indices of each batch; batch normalisation cannot train on a single image."""
    order = rng.permutation(count)[: max(round(count * stage.share), 1)]
    for start in range(0, len(order), stage.batch):
        chosen = np.sort(order[start : start + stage.batch])
        if len(chosen) > 1 or len(order) == 1:
            yield chosen


def _rate(stage: Stage, done: float) -> float:
    """Learning rate when a share of the stage is done."""
    if stage.schedule == "constant":
        return stage.learning_rate
    return stage.learning_rate * max(0.5 * (1 + math.cos(math.pi * done)), 0.02)


def _one_node(mask: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw the territory of one connected component; everything where there is none."""
    labels, count = ndimage.label(mask.numpy() > 0.5)
    if not count:
        return torch.ones_like(mask)
    parts = territories([labels == number for number in range(1, count + 1)])
    return torch.from_numpy(parts[rng.integers(count)]).float()
