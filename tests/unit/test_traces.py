"""What must not decide the class: painted-out nodes and pasted calipers."""

import dataclasses

import numpy as np
import pytest
import torch

from model.training import traces
from model.training.augment import Batch
from model.training.config import Augmentation
from model.training.traces import FILLS


def picture() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    grey = (0.5 + 0.05 * rng.standard_normal((64, 80))).astype(np.float32)
    mask = np.zeros((64, 80), bool)
    mask[20:40, 30:60] = True
    grey[mask] = 0.1
    return grey, mask


def batch_of(count: int) -> Batch:
    grey, mask = picture()
    image = torch.from_numpy(np.stack([grey] * count))[:, None]
    masks = torch.from_numpy(np.stack([mask] * count).astype(np.float32))[:, None]
    flags = torch.ones(count, dtype=torch.bool)
    return Batch(image, masks, torch.ones_like(masks), flags, torch.ones(count), flags, ~flags)


@pytest.mark.parametrize("fill", FILLS)
def test_nothing_of_a_blanked_node_is_left(fill: str) -> None:
    grey, mask = picture()
    out = traces.blanked(grey, mask, fill, np.random.default_rng(1))
    far = np.ones_like(mask)
    far[10:50, 20:70] = False
    assert np.array_equal(out[far], grey[far])
    left = np.abs(out - grey)[mask] < 1e-6
    assert left.mean() < 0.05
    assert fill == "constant" or out[mask].mean() > 0.4  # nothing of its 0.1
    assert out.dtype == np.float32
    assert 0 <= out.min() <= out.max() <= 1


def test_what_lies_around_is_carried_inwards() -> None:
    grey, mask = picture()
    out = traces.blanked(grey, mask, "around", np.random.default_rng(1))
    assert abs(float(out[mask].mean()) - 0.5) < 0.03


def test_calipers_are_bright_few_and_reach_the_node() -> None:
    grey, mask = picture()
    reached = 0
    for seed in range(20):
        out = traces.marked(grey, mask, np.random.default_rng(seed))
        changed = out != grey
        assert 0 < changed.mean() < 0.1
        assert out[changed].min() >= 0.7
        reached += bool(changed[18:42, 28:62].any())
    assert reached >= 12


def test_calipers_need_no_node() -> None:
    grey, mask = picture()
    assert (traces.marked(grey, mask & False, np.random.default_rng(0)) != grey).any()


def test_a_batch_is_disturbed_as_often_as_asked() -> None:
    batch = batch_of(400)
    settings = dataclasses.replace(Augmentation(), blank_p=0.25, calipers_p=0.5)
    out = traces.disturb(batch, settings, np.random.default_rng(5))
    blank = (out.mask.amax((1, 2, 3)) == 0).float().mean()
    changed = (out.image != batch.image).flatten(1).any(1).float().mean()
    assert 0.18 < blank < 0.32
    assert 0.55 < changed < 0.70  # 1 - 0.75 * 0.5
    assert torch.equal(out.label, batch.label)


def test_nothing_is_disturbed_unless_asked() -> None:
    batch = batch_of(3)
    out = traces.disturb(batch, Augmentation(), np.random.default_rng(5))
    assert torch.equal(out.image, batch.image)
    assert torch.equal(out.mask, batch.mask)


def test_what_nobody_outlined_is_not_painted_out() -> None:
    batch = dataclasses.replace(batch_of(3), annotated=torch.zeros(3, dtype=torch.bool))
    settings = dataclasses.replace(Augmentation(), blank_p=1.0)
    out = traces.disturb(batch, settings, np.random.default_rng(5))
    assert torch.equal(out.image, batch.image)
