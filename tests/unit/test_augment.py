"""The nine augmentations: seeded, bounded as set, held against torchvision's v2; the sheet."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from daemon import cli
from model.errors import TrainingError
from model.training import config
from model.training.augment import Batch, apply_move, augment, average, draw_move
from model.training.config import Augmentation
from model.training.contact_sheet import columns_of
from tests.builders_net import dataset

ALONE = columns_of(Augmentation())
STILL = ALONE["as it is"]
NAMES = sorted(set(ALONE) - {"as it is", "all, as in training"})
MOVES = {"flip", "rotation", "translation", "elastic"}


def _smooth(count: int = 4, height: int = 64, width: int = 80) -> Tensor:
    torch.manual_seed(0)
    coarse = torch.rand(count, 1, 8, 10)
    return functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0.05, 1)


def _batch(image: Tensor) -> Batch:
    yes = torch.ones(len(image), dtype=torch.bool)
    mask = torch.zeros_like(image)
    mask[:, :, 20:40, 30:60] = 1
    return Batch(image, mask, torch.ones_like(mask), yes, torch.ones(len(image)), yes, ~yes)


def _seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def test_there_are_nine() -> None:
    assert len(NAMES) == 9


# seeds


@pytest.mark.parametrize("name", [*NAMES, "all, as in training"])
def test_a_seed_decides_every_bit(name) -> None:
    batch = _batch(_smooth())
    one, again, other = (augment(batch, ALONE[name], _seeded(seed)) for seed in (5, 5, 6))
    for part in ("image", "mask", "focus"):
        assert torch.equal(getattr(one, part), getattr(again, part))
    if name not in ("flip", "average blur", "sharpen"):  # which have nothing to draw
        assert not torch.equal(one.image, other.image)


def test_the_global_generator_plays_no_part() -> None:
    batch = _batch(_smooth())
    torch.manual_seed(1)
    one = augment(batch, Augmentation(), _seeded())
    torch.manual_seed(2)
    assert torch.equal(one.image, augment(batch, Augmentation(), _seeded()).image)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_switched_off_by_its_probability(name) -> None:
    batch = _batch(_smooth())
    assert not torch.allclose(augment(batch, ALONE[name], _seeded()).image, batch.image, atol=1e-3)
    still = augment(batch, STILL, _seeded())
    assert torch.allclose(still.image, batch.image, atol=1e-5)
    assert torch.equal(still.mask, batch.mask)


def test_a_probability_is_the_share_of_images() -> None:
    image = _smooth(1, 16, 16).repeat(400, 1, 1, 1)
    batch = Batch(image, image.round(), image.round(), *(torch.ones(400),) * 4)
    for name in ("rotation_p", "elastic_p", "gamma_p", "noise_p", "blur_p", "dropout_p"):
        settings = replace(STILL, dropout=0.9, **{name: 0.25})
        changed = (augment(batch, settings, _seeded()).image - image).abs().amax((1, 2, 3)) > 1e-5
        assert 0.15 < float(changed.float().mean()) < 0.35, name


# what moves


@pytest.mark.parametrize("name", NAMES)
def test_mask_and_image_move_together_or_the_mask_stays(name) -> None:
    batch = _batch(_smooth())
    if name in MOVES:
        batch = replace(batch, image=batch.mask.clone())
    changed = augment(batch, ALONE[name], _seeded(3))
    assert torch.equal(changed.mask, batch.mask) == (name not in MOVES)
    if name in MOVES:
        assert float(((changed.image > 0.5).float() - changed.mask).abs().mean()) < 0.001


def test_moves_are_those_of_torchvision() -> None:
    """Flip, then rotation, zoom and translation: v2 takes them in two calls, image by image."""
    image = _smooth(6)
    settings = replace(ALONE["rotation"], flip=0.5, translation_p=1.0, scale=0.2, rotation_deg=40.0)
    move = draw_move(6, settings, _seeded(1))
    assert {float(f) for f in move.flip} == {-1.0, 1.0}
    for n, moved in enumerate(apply_move(image, move)):
        one = tv_tensors.Image(image[n])
        expected = v2.affine(
            v2.horizontal_flip(one) if move.flip[n] < 0 else one,
            angle=-math.degrees(move.angle[n]),
            translate=[float(move.right[n]) * 80, float(move.down[n]) * 64],
            scale=float(move.zoom[n]),
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        assert float((moved - expected).abs().max()) < 1e-3


def test_bending_is_that_of_torchvision() -> None:
    image = _smooth(2)
    move = draw_move(2, ALONE["elastic"], _seeded(1))
    for n, moved in enumerate(apply_move(image, move)):
        bend = functional.interpolate(2 * move.bend[n : n + 1], (64, 80), mode="bicubic")
        expected = v2.elastic(tv_tensors.Image(image[n]), bend.permute(0, 2, 3, 1))
        assert float((moved - expected).abs().max()) < 1e-4


def test_moves_keep_within_their_limits() -> None:
    move = draw_move(2000, replace(Augmentation(), scale=0.15, elastic_p=1.0), _seeded())
    for values, limit in [
        (move.angle.rad2deg(), 15.0), (move.right, 0.1), (move.down, 0.1),
        (move.bend, 0.02), (move.zoom.log(), math.log(1.15)),
    ]:  # fmt: skip
        assert 0.98 * limit < float(values.abs().max()) <= limit * 1.00001
        assert abs(float(values.mean())) < 0.05 * limit


# what changes the picture alone


def test_gamma_is_one_exponent_an_image() -> None:
    image = _smooth(200, 8, 8)
    changed = augment(_batch200(image), ALONE["gamma"], _seeded()).image
    exponents = (changed.log() / image.log()).flatten(1)
    inner = image.flatten(1) < 0.9  # where the logarithm is not near zero
    spread = torch.stack([e[i].max() - e[i].min() for e, i in zip(exponents, inner, strict=True)])
    assert float(spread.max()) < 1e-3
    drawn = torch.stack([e[i].median() for e, i in zip(exponents, inner, strict=True)])
    assert float(drawn.min()) + 1e-4 >= 1 / 1.5
    assert float(drawn.max()) <= 1.5 + 1e-4
    assert float((drawn > 1).float().mean()) == pytest.approx(0.5, abs=0.1)


def _batch200(image: Tensor) -> Batch:
    yes = torch.ones(len(image), dtype=torch.bool)
    return Batch(image, torch.ones_like(image), torch.ones_like(image), yes, yes.float(), yes, ~yes)


def test_gamma_of_torchvision_is_the_same_curve() -> None:
    image = _smooth(1)
    changed = augment(_batch(image), ALONE["gamma"], _seeded(2)).image
    exponent = float((changed.log() / image.log())[image < 0.9].median())
    assert torch.allclose(v2.adjust_gamma(tv_tensors.Image(image), exponent), changed, atol=1e-4)


def test_the_average_is_taken_of_what_exists() -> None:
    image = _smooth(1)[0]
    for width in (3, 5):
        square = functional.avg_pool2d(
            image, width, 1, width // 2, count_include_pad=False
        )  # fmt: skip
        assert torch.allclose(average(image, width), square, atol=1e-6)


def test_sharpening_is_the_reverse_of_averaging() -> None:
    image = _smooth() * 0.8 + 0.1
    twice = replace(ALONE["sharpen"], sharpen=2.0)
    once, more = (augment(_batch(image), s, _seeded()).image for s in (ALONE["sharpen"], twice))
    expected = torch.stack([2 * one - average(one, 3) for one in image]).clamp(0, 1)
    assert torch.allclose(once, expected, atol=1e-5)
    assert float((more - image).abs().mean()) > 1.8 * float((once - image).abs().mean())


def test_noise_and_dropout_keep_within_their_limits() -> None:
    image = torch.full((200, 1, 32, 32), 0.5)
    noise = augment(_batch200(image), ALONE["Gaussian noise"], _seeded()).image
    deviations = noise.flatten(1).std(1)
    assert 0.045 < float(deviations.max()) < 0.053
    assert float(deviations.median()) == pytest.approx(0.025, abs=0.005)
    black = augment(_batch200(image), ALONE["dropout"], _seeded()).image
    assert set(black.unique().tolist()) == {0.0, 0.5}
    shares = (black == 0).float().flatten(1).mean(1)
    assert 0.025 < float(shares.max()) < 0.045
    assert float(shares.mean()) == pytest.approx(0.015, abs=0.003)


# settings


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("flip = 2.0", "flip must be from 0 to 1"),
        ("noise_p = -0.1", "noise_p must be from 0 to 1"),
        ("blur = 4", "blur must be odd"),
        ("gamma = 0.5", "gamma must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, text, says) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"[augmentation]\n{text}\n")
    with pytest.raises(TrainingError, match=says):
        config.load(path)


# the contact sheet


def test_the_command_writes_a_contact_sheet(tmp_path, capsys) -> None:
    data = dataset(tmp_path / "d", patients=10)
    small = tmp_path / "c.toml"
    small.write_text("[input]\nwidth = 96\nheight = 80\n[augmentation]\nblur = 7\n")
    sheet = tmp_path / "sheet.png"
    code = cli.main(
        ["train", "--data", str(data), "--contact-sheet", str(sheet), "--config", str(small)]
    )
    assert code == 0
    assert "contact sheet written to" in capsys.readouterr().out
    picture = np.asarray(Image.open(sheet))
    assert picture.shape == (18 + 8 * 80, 11 * 96, 3)
    assert _outlined(picture) == 88
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml", "d", "sheet.png"]


def _outlined(picture: np.ndarray) -> int:
    """Count the cells that show an outline."""
    yellow = (picture[18:] == (255, 220, 0)).all(axis=2)
    return int(yellow.reshape(8, 80, 11, 96).any(axis=(1, 3)).sum())


def test_a_sheet_that_cannot_be_written(tmp_path: Path, capsys) -> None:
    data = dataset(tmp_path / "d", patients=2)
    sheet = tmp_path / "none" / "sheet.png"
    assert cli.main(["train", "--data", str(data), "--contact-sheet", str(sheet)]) != 0
    assert "cannot be written" in capsys.readouterr().err
