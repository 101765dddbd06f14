"""The training loop: stages of epochs, validation after each, the best weights kept."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from torch.optim import Adam

from model.errors import TrainingError
from model.network import AxNet
from model.training import batches, checkpoint, initial, journal
from model.training.ahead import ahead
from model.training.augment import Batch
from model.training.averaged import averaged
from model.training.batches import Drawn, Indices
from model.training.config import Stage, TrainConfig
from model.training.data import Cache
from model.training.distributed import Team
from model.training.loss import joint_loss
from model.training.origin import changed, origin_of
from model.training.validation import Validation, validate

BEST = "best.safetensors"
_LINE_EVERY_S = 30.0  # between two lines within an epoch


class Trainer:
    """One run in a folder; `fit` leaves the best weights there.

    Parameters
    ----------
    out
        Folder of the run: log.csv, checkpoint.safetensors, best.safetensors.
    say
        Receives a line per epoch, and now and then one about how long it will take.
    team
        The processes that train together; alone where left out.
    """

    def __init__(
        self, config: TrainConfig, out: Path, say: Callable[[str], None], team: Team | None = None
    ) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)  # initial weights
        self.config, self.out = config, out
        self.team = team or Team()
        self._say = say if self.team.first else _silent
        self.device = self.team.device
        self.network = initial.build(config.architecture)
        if not (out / checkpoint.NAME).exists():  # a checkpoint holds more than they
            initial.load(self.network, config)
        self.team.synchronise(self.network)
        self.network.to(self.device).to(memory_format=torch.channels_last)
        self.averaged = averaged(self.network, config.average) if config.average else None
        self.optimiser = Adam(self.network.parameters(), lr=config.stages[0].learning_rate)
        self.progress = checkpoint.Progress()
        self._plan = [(stage, n) for stage in config.stages for n in range(stage.epochs)]
        self._started = self._spoke = time.monotonic()
        self._worked = 0.0  # since then, in full-size images

    @property
    def kept(self) -> AxNet:
        """The network whose weights are measured and kept: the mean, where there is one."""
        return cast(AxNet, self.averaged.module) if self.averaged else self.network

    def resume(self) -> None:
        """Go on from the last checkpoint."""
        self.progress = checkpoint.load(self.out, self.network, self.optimiser, self.averaged)

    def fit(self, train: Cache, validation: Cache) -> checkpoint.Progress:
        """Train through all stages.

        Raises
        ------
        TrainingError
            The checkpoint is of other images, the loss is no number, or the disk is full.
        """
        self._started = self._spoke = time.monotonic()
        self._check_origin(train)
        self._write_log()
        for epoch in range(self.progress.epoch, len(self._plan)):
            if self._waited_enough(epoch):
                self._say(f"no better weights for {self.config.patience} epochs: stopping")
                break
            self._epoch(train, epoch)
            self._close(validation, epoch)
        return self.progress

    def validate(self, cache: Cache, scale: int = 1) -> Validation:
        """Measure the network as it stands."""
        return validate(self.kept, cache, self.config.nodes, scale, self._normalised)

    def _epoch(self, cache: Cache, epoch: int) -> None:
        """Train once over (a share of) the images, from the step that is next."""
        stage, within = self._plan[epoch]
        order = self._order(cache, epoch)
        self._check_steps(len(order))
        model = self._ready(stage)
        every = self.config.checkpoint_steps
        draws = (
            partial(
                batches.draw,
                cache,
                chosen[self.team.rank :: self.team.size],
                stage,
                self.config,
                batches.generator_of(self.config.seed, epoch, step, self.team.rank),
            )
            for step, chosen in enumerate(order)
            if step >= self.progress.step
        )
        started = time.monotonic()
        for step, draw in enumerate(ahead(draws, self.config.workers), self.progress.step):
            waited = time.monotonic() - started
            for group in self.optimiser.param_groups:
                group["lr"] = batches.rate(stage, (within + step / len(order)) / stage.epochs)
            loss = self._step(model, cache, draw, epoch, step)
            self._advance(len(order), loss, time.monotonic() - started, waited)
            started = time.monotonic()
            self._worked += batches.work(stage, len(order[step]))
            if every and (step + 1) % every == 0 and step + 1 < len(order):
                self._save()
            self._tell(cache, epoch, len(order))

    def _step(self, model: nn.Module, cache: Cache, drawn: Drawn, epoch: int, step: int) -> float:
        """One update of the weights; the loss."""
        on_device = Batch(*(part.to(self.device) for part in vars(drawn.batch).values()))
        torch.manual_seed(drawn.seed)  # the network's own dropout; a resumed run draws the same
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"
        ):
            logits = model(self._normalised(on_device.image), on_device.focus, on_device.seen)
        mask, label = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in logits)
        loss = joint_loss(mask, label, on_device, self.config.loss, self.team.total)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._no_number(drawn, cache, epoch, step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.optimiser.step()
        if self.averaged:
            self.averaged.update_parameters(self.network)
        return value

    def _ready(self, stage: Stage) -> nn.Module:
        """Set the network up for a stage, which may leave the masks as they are."""
        self.network.train()
        masks = stage.trains == "all"
        self.network.segmenter.train(masks).requires_grad_(masks)
        return self.team.share(self.network)

    def _normalised(self, image: Tensor) -> Tensor:
        """Grey 0..1 to what the network expects, as `preprocess.normalise` does."""
        spec = self.config.input
        return ((image - spec.mean) / spec.std).to(self.device)

    def _order(self, cache: Cache, epoch: int) -> list[Indices]:
        stage, _ = self._plan[epoch]
        count = len(cache.patients)
        return batches.order_of(count, stage, self.config.seed, epoch, self.team.size)

    def _advance(self, steps: int, loss: float, seconds: float, waited: float) -> None:
        now = self.progress
        self.progress = replace(
            now,
            step=now.step + 1,
            steps=steps,
            loss_sum=now.loss_sum + loss,
            seconds=now.seconds + seconds,
            waited=now.waited + waited,
        )

    def _close(self, validation: Cache, epoch: int) -> None:
        """Validate, keep the weights if they are the best, and enter the epoch into the log."""
        started = time.monotonic()
        stage, now = self._plan[epoch][0], self.progress
        result = self.validate(validation, stage.scale) if self.team.first else Validation(0, 0)
        result = Validation(*self.team.agree((result.dice, result.auroc)))
        # scores of finer images start anew, being lower
        anew = epoch == 0 or self._plan[epoch - 1][0].scale != stage.scale
        best = anew or result.score > now.best_score
        row = journal.Epoch(
            epoch=epoch + 1,
            scale=stage.scale,
            learning_rate=self.optimiser.param_groups[0]["lr"],
            loss=now.loss_sum / max(now.step, 1),
            dice=result.dice,
            auroc=result.auroc,
            seconds=now.seconds + time.monotonic() - started,
            waited=now.waited,
            best=best,
        )
        self.progress = checkpoint.Progress(
            epoch=epoch + 1,
            best_epoch=epoch + 1 if best else now.best_epoch,
            best_score=result.score if best else now.best_score,
            history=(*now.history, row),
            origin=now.origin,
        )
        self._keep(row)

    def _keep(self, row: journal.Epoch) -> None:
        """Write the files of a finished epoch; the checkpoint names only what is on the disk."""
        if self.team.first and row.best:
            tensors = {k: v.cpu().contiguous() for k, v in self.kept.state_dict().items()}
            checkpoint.write_whole(self.out / BEST, to_safetensors(tensors))
        self._save()
        self._write_log()
        self._say(journal.finished(row, len(self._plan)))

    def _save(self) -> None:
        if self.team.first:
            checkpoint.save(self.out, self.network, self.optimiser, self.progress, self.averaged)

    def _write_log(self) -> None:
        if self.team.first:
            text = journal.table(self.progress.history)
            checkpoint.write_whole(self.out / "log.csv", text.encode("ascii"))

    def _waited_enough(self, epoch: int) -> bool:
        """Whether the last stage has had its patience; earlier ones only prepare it."""
        first = len(self._plan) - self.config.stages[-1].epochs
        waited = epoch - max(self.progress.best_epoch, first)
        return 0 < self.config.patience <= waited

    def _tell(self, cache: Cache, epoch: int, steps: int) -> None:
        """Say now and then how far the epoch is, and how long the run will take."""
        time_ = time.monotonic()
        if time_ - self._spoke < _LINE_EVERY_S:
            return
        self._spoke, now = time_, self.progress
        stage, count = self._plan[epoch][0], len(cache.patients)
        todo = batches.work(stage, count * stage.share) * (1 - now.step / steps)
        todo += batches.work_of(self._plan[epoch + 1 :], count)
        left = journal.time_left(time_ - self._started, self._worked, todo)
        loss = now.loss_sum / now.step
        self._say(journal.under_way(epoch + 1, len(self._plan), now.step, steps, loss, left))

    def _check_origin(self, cache: Cache) -> None:
        """Refuse to go on with what the checkpoint is not of.

        Raises
        ------
        TrainingError
            It is of other images or settings.
        """
        now = origin_of(self.config, cache)
        begun = self.progress.epoch + bool(self.progress.step)
        if other := changed(self.progress.origin, now, begun):
            raise TrainingError(
                f"{self.out} holds a run with other {', '.join(other)}: give those back, or name"
                " another --out"
            )
        self.progress = replace(self.progress, origin=now)

    def _check_steps(self, steps: int) -> None:
        """Refuse to go on within an epoch that is now cut into other steps."""
        if self.progress.step and self.progress.steps != steps:
            raise TrainingError(
                f"{self.out} stopped within an epoch of {self.progress.steps} steps, not {steps}:"
                " go on with the same number of processes"
            )

    def _no_number(self, drawn: Drawn, cache: Cache, epoch: int, step: int) -> TrainingError:
        """Write out the batch whose loss is no number; the error to raise."""
        path = self.out / f"bad-batch-{self.team.rank}.safetensors"
        tensors = {k: v.contiguous() for k, v in vars(drawn.batch).items()}
        patients = sorted({cache.patients[index] for index in drawn.rows})
        about = {"rows": json.dumps(drawn.rows.tolist()), "patients": json.dumps(patients)}
        checkpoint.write_whole(path, to_safetensors(tensors, about))
        return TrainingError(
            f"the loss is not a number in epoch {epoch + 1}, step {step + 1}: its images are in"
            f" {path}; look at them, lower learning_rate or set clip = 1.0, then --resume"
        )


def _silent(line: str) -> None:
    """Say nothing: the first process speaks for all."""
