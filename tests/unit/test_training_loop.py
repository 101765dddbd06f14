"""The loop's own decisions: presets, order of images, clipping, patience, what it says."""

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.bundle_file import OperatingPoint
from model.errors import TrainingError
from model.training import batches, config, journal
from model.training.augment import Batch
from model.training.config import Points, Stage, TrainConfig
from model.training.loop import BEST
from model.training.loss import joint_loss
from model.training.run import train
from model.training.validation import Validation
from tests.builders_net import dataset
from tests.builders_training import FAST, disks, quiet

CONFIGS = Path(config.__file__).parent / "configs"


# presets


def test_the_defaults_are_the_paper_s_recipe() -> None:
    default = TrainConfig()
    assert (default.architecture.encoder, default.initial) == ("resnet101", "random")
    size = default.input
    assert (size.width, size.height, size.resize) == (320, 256, "stretch")
    loss = default.loss
    assert (loss.dice, loss.pixel, loss.classification, loss.positive) == (1.0, 0.0, 1.0, 1.0)
    (stage,) = default.stages
    assert (stage.epochs, stage.learning_rate, stage.schedule) == (100, 1e-4, "constant")
    assert (stage.scale, stage.share, stage.trains) == (1, 1.0, "all")
    assert (default.clip, default.patience) == (0.0, 0)
    assert default.points.named[0] == "max_accuracy"
    nine = default.augmentation
    assert (nine.rotation_deg, nine.translation, nine.scale) == (15.0, 0.10, 0.0)
    others = (nine.flip, nine.elastic_p, nine.noise_p, nine.blur_p, nine.sharpen_p, nine.dropout_p)
    assert min(others) > 0
    assert nine.gamma > 1


def test_the_paper_s_preset_is_the_default_written_out() -> None:
    assert config.load(CONFIGS / "paper.toml") == TrainConfig()


def test_the_other_preset_changes_the_encoder_alone() -> None:
    other = config.load(CONFIGS / "resnet34.toml")
    wanted = dataclasses.replace(TrainConfig().architecture, encoder="resnet34")
    assert other == dataclasses.replace(TrainConfig(), architecture=wanted)


# which images a step sees


@pytest.mark.parametrize(("count", "batch", "processes"), [(20, 8, 1), (17, 8, 1), (41, 4, 3)])
def test_an_epoch_shows_each_image_once_but_for_a_rest_too_small(count, batch, processes) -> None:
    stage = Stage(batch=batch)
    steps = batches.order_of(count, stage, seed=1, epoch=2, processes=processes)
    seen = np.concatenate(steps)
    rest = count % (batch * processes)
    left_out = rest if rest < 2 * processes else 0
    assert len(seen) == len(set(seen.tolist())) == count - left_out
    again = batches.order_of(count, stage, seed=1, epoch=2, processes=processes)
    assert all((a == b).all() for a, b in zip(steps, again, strict=True))
    other = batches.order_of(count, stage, seed=1, epoch=3, processes=processes)
    assert any((a != b).any() for a, b in zip(steps, other, strict=True))


def test_every_step_and_process_draws_other_numbers() -> None:
    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    drawn = [batches.generator_of(7, *place).integers(2**62) for place in places]
    drawn.append(np.random.default_rng((7, 0)).integers(2**62))  # the order of the epoch
    assert len(set(drawn)) == 5


def test_the_drawn_mask_is_shown_as_often_as_asked_and_only_where_there_is_one() -> None:
    count = 400
    mask = torch.ones(count, 1, 2, 2)
    annotated = torch.arange(count) % 2 == 0
    yes = torch.ones(count, dtype=torch.bool)
    batch = Batch(mask, mask, mask, annotated, yes.float(), yes, ~yes)
    shown = batches.show(batch, 0.5, np.random.default_rng(1))
    assert not shown.shown[~annotated].any()
    assert 0.4 < float(shown.shown[annotated].float().mean()) < 0.6
    assert (shown.seen[shown.shown] == 1).all()
    assert (shown.seen[~shown.shown] == -1).all()
    assert not batches.show(batch, 0.0, np.random.default_rng(1)).shown.any()


# the update


def test_the_weights_that_are_kept_can_be_the_mean_of_the_steps(tmp_path) -> None:
    settings = dataclasses.replace(FAST, average=0.5, stages=(Stage(epochs=1, batch=4),))
    trainer = quiet(settings, tmp_path)
    seen: list[dict[str, torch.Tensor]] = []
    update = trainer.optimiser.step

    def step() -> None:
        update()
        seen.append({k: v.clone() for k, v in trainer.network.state_dict().items()})

    trainer.optimiser.step = step  # type: ignore[method-assign]
    trainer.fit(disks(12, seed=1), disks(4, seed=2))
    kept = load_file(tmp_path / BEST)
    name = next(k for k, v in seen[0].items() if v.ndim == 4)
    # of three steps: the first, then (1 + n) / (10 + n) of the mean is kept
    mean = seen[0][name]
    for number, state in enumerate(seen[1:], 1):
        mean = torch.lerp(state[name], mean, min(0.5, (1 + number) / (10 + number)))
    assert len(seen) == 3
    assert torch.allclose(kept[name], mean, atol=1e-7)
    assert not torch.allclose(kept[name], seen[-1][name], atol=1e-7)
    counter = next(k for k in kept if k.endswith("num_batches_tracked"))
    assert int(kept[counter]) == 3


def test_a_mean_of_weights_needs_masks_that_are_trained(tmp_path) -> None:
    with pytest.raises(TrainingError, match="average keeps a mean"):
        dataclasses.replace(FAST, average=0.9, stages=(Stage(trains="class"),))
    with pytest.raises(TrainingError, match="less than 1"):
        dataclasses.replace(FAST, average=1.0)


def _change(out: Path, clip: float) -> float:
    """Norm of Adam's first average, a tenth of the gradient, after one step."""
    stages = (Stage(epochs=1, batch=8, learning_rate=1e-3),)
    trainer = quiet(dataclasses.replace(FAST, stages=stages, clip=clip), out)
    trainer.fit(disks(8), disks(2))
    averages = [state["exp_avg"].flatten() for state in trainer.optimiser.state.values()]
    return float(torch.cat(averages).norm())


def test_a_long_gradient_is_shortened(tmp_path) -> None:
    free = _change(tmp_path / "free", 0.0)
    assert free > 0.02
    assert _change(tmp_path / "clipped", 0.1) == pytest.approx(0.01, rel=1e-3)
    assert _change(tmp_path / "loose", 1e6) == pytest.approx(free)


def test_the_loss_of_two_halves_is_that_of_the_whole() -> None:
    """The sums of two processes, added up, give the loss of one."""
    batch = batches.collect(disks(6), np.arange(6), 1)
    mask, label = torch.randn(6, 1, 64, 64), torch.randn(6)
    parts = []

    def noting(sums: torch.Tensor) -> torch.Tensor:
        parts.append(sums)
        return sums

    whole = joint_loss(mask, label, batch, FAST.loss)
    for half in (slice(0, 2), slice(2, 6)):
        cut = dataclasses.replace(batch, **{k: v[half] for k, v in vars(batch).items()})
        joint_loss(mask[half], label[half], cut, FAST.loss, noting)
    both = joint_loss(mask[:2], label[:2], cut_to(batch, 2), FAST.loss, lambda _: sum(parts))
    assert float(both) == pytest.approx(float(whole), rel=1e-5)


def cut_to(batch, count):
    return dataclasses.replace(batch, **{k: v[:count] for k, v in vars(batch).items()})


def _moved(trainer, before: dict[str, torch.Tensor]) -> set[str]:
    """Which halves of the network differ from what they were, running averages included."""
    after = trainer.network.state_dict()
    return {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}


def _begun(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def test_a_stage_can_leave_the_masks_as_they_are(tmp_path) -> None:
    reads = Stage(epochs=1, batch=8, learning_rate=1e-3, trains="class")
    first = quiet(dataclasses.replace(FAST, stages=(reads,)), tmp_path / "a")
    before = _begun(first)
    first.fit(disks(16), disks(4))
    assert _moved(first, before) == {"classifier"}
    again = dataclasses.replace(reads, trains="all")
    second = quiet(dataclasses.replace(FAST, stages=(reads, again)), tmp_path / "b")
    second.fit(disks(16), disks(4))
    assert _moved(second, before) == {"classifier", "segmenter"}


def test_a_run_stopped_before_the_masks_were_trained_goes_on_exactly(tmp_path) -> None:
    """The optimiser knows nothing of the masks then."""
    reads = Stage(epochs=1, batch=8, learning_rate=1e-3, trains="class")
    config = dataclasses.replace(FAST, stages=(reads, dataclasses.replace(reads, trains="all")))
    whole = quiet(config, tmp_path / "whole")
    whole.fit(disks(16), disks(4))
    quiet(dataclasses.replace(config, stages=(reads,)), tmp_path / "cut").fit(disks(16), disks(4))
    rest = quiet(config, tmp_path / "cut")
    rest.resume()
    rest.fit(disks(16), disks(4))
    assert _moved(rest, _begun(whole)) == set()


# when to stop, and what is said


def test_without_better_weights_the_last_stage_ends(tmp_path) -> None:
    """A learning rate of nearly nothing: after the first epoch nothing improves."""
    stages = (Stage(epochs=3, batch=8, scale=2), Stage(epochs=20, batch=8, learning_rate=1e-12))
    trainer = quiet(dataclasses.replace(FAST, stages=stages, patience=2), tmp_path)
    trainer.optimiser.param_groups[0]["lr"] = 0.0
    for module in trainer.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0  # or its averages would still move
    done = trainer.fit(disks(8), disks(4))
    assert done.epoch == max(done.best_epoch, 3) + 2 < 23
    resumed = quiet(dataclasses.replace(FAST, stages=stages, patience=2), tmp_path)
    resumed.resume()
    assert resumed.fit(disks(8), disks(4)) == done


def test_the_score_rests_on_what_is_known() -> None:
    assert Validation(0.8, 0.6).score == pytest.approx(0.7)
    assert Validation(0.8, math.nan).score == 0.8
    assert Validation(math.nan, math.nan).score == 0.0


def test_the_log_is_a_table(tmp_path) -> None:
    stages = (Stage(epochs=2, batch=8), Stage(epochs=1, batch=8, learning_rate=1e-5))
    quiet(dataclasses.replace(FAST, stages=stages), tmp_path).fit(disks(8), disks(4))
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["learning_rate"] for row in rows] == ["0.0001", "0.0001", "1e-05"]
    assert rows[0]["best"] == "1"


@pytest.mark.parametrize(
    ("elapsed", "done", "todo", "says"),
    [
        (60, 10, 20, "2 min left"),
        (3600, 10, 25, "2 h 30 min left"),
        (10, 10, 1, "1 min left"),
        (10, 0, 1, "time left unknown"),
    ],
)
def test_time_left(elapsed, done, todo, says) -> None:
    assert journal.time_left(elapsed, done, todo) == says


def test_a_line_within_an_epoch() -> None:
    line = journal.under_way(3, 100, 50, 200, 0.5, "2 min left")
    assert line == "epoch 3/100 [#####...............] step 50/200, loss 0.500, 2 min left"


def test_a_run_declares_its_operating_points_in_the_bundle(tmp_path) -> None:
    declared = Points(rule_in="specificity>=0.95", rule_out="sensitivity>=0.95")
    settings = dataclasses.replace(FAST, stages=(Stage(epochs=1, batch=8),), points=declared)
    made = train(dataset(tmp_path / "d", patients=40), tmp_path / "o", settings, say=_nothing)
    assert made is not None
    points: dict[str, OperatingPoint] = {p.name: p for p in made.card.operating_points}
    assert next(iter(points)) == "max_accuracy"
    assert points["rule_in"].specificity >= 0.95
    assert points["rule_out"].sensitivity >= 0.95


def _nothing(line: str) -> None:
    pass
