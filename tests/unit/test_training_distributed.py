"""Two processes under torchrun train the network that one process would."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from model.bundle_file import Bundle
from model.training.checkpoint import NAME
from model.training.synced_norm import synchronise
from tests.builders_net import dataset
from tests.train_in_team import run

ROOT = Path(__file__).parents[2]
CONFIG = """
threads = 1
workers = 0
[architecture]
encoder = "timm-mobilenetv3_small_minimal_100"
decoder_channels = 32
classifier_widths = [4, 8]
classifier_hidden = 4
[input]
width = 64
height = 64
[[stages]]
epochs = 1
batch = 4
[[stages]]
epochs = 1
batch = 4
trains = "class"
"""


def _torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Start two processes as a user does; the free port is torchrun's business."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, "-m", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_two_processes_give_the_weights_of_one_with_twice_the_batch(tmp_path) -> None:
    """Within 1e-5, after six steps in float64; normalisation and Dice see the whole batch."""
    run(tmp_path / "one", 8)
    made = _torchrun("tests.train_in_team", tmp_path / "two", 4)
    assert made.returncode == 0, made.stderr[-2000:]
    one, two = (load_file(tmp_path / name / NAME) for name in ("one", "two"))
    assert list(one) == list(two)
    weights = [key for key in one if key.startswith("network.")]
    assert max(float(np.abs(one[key] - two[key]).max()) for key in weights) < 1e-5
    logs = [_log(tmp_path / name) for name in ("one", "two")]
    assert [row["epoch"] for row in logs[1]] == ["1", "2"]
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]
    assert made.stdout.count("epoch 2/2") == 1


def _log(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "log.csv").read_text().splitlines()))


def test_the_command_under_torchrun_leaves_one_bundle(tmp_path) -> None:
    data = dataset(tmp_path / "d", patients=20)
    (tmp_path / "c.toml").write_text(CONFIG)
    made = _torchrun(
        "daemon.cli", "train", "--data", data, "--out", tmp_path / "o", "--config",
        tmp_path / "c.toml",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    assert made.stdout.count("split by patient") == 1
    assert Bundle.load(tmp_path / "o" / "bundle").card.training["best_epoch"] in (1, 2)
    assert [row["epoch"] for row in _log(tmp_path / "o")] == ["1", "2"]


@pytest.mark.parametrize("training", [True, False])
def test_normalisation_of_one_process_is_torch_s_own(training) -> None:
    """Values, gradients and running averages, with the sum over one process."""
    torch.manual_seed(0)
    ours, theirs = (nn.Sequential(nn.BatchNorm2d(3)) for _ in range(2))
    synchronise(ours, lambda values: values)
    values = torch.randn(4, 3, 5, 6) * 3 + 2
    inputs = [values.clone().requires_grad_() for _ in range(2)]
    for network, given in zip((ours, theirs), inputs, strict=True):
        network.train(training)(given).square().mul(torch.arange(6.0)).sum().backward()
    assert torch.allclose(inputs[0].grad, inputs[1].grad, atol=1e-4)
    pairs = zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True)
    for (name, mine), (other, their) in pairs:
        assert name == other
        assert torch.allclose(mine.float(), their.float(), atol=1e-5)
