"""A small run, for `torchrun ... -m tests.train_in_team OUT BATCH`."""

import dataclasses
import sys
from pathlib import Path

from torch import Tensor, nn

from model.training.config import Stage
from model.training.distributed import team
from model.training.loop import Trainer
from tests.builders_training import FAST, disks


def _doubled(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(given.double() for given in inputs)


def run(out: Path, batch: int) -> None:
    """Train in float64 on what does not depend on which process draws it.

    In float32 the gradients of two kernels differ by some 0.5 % in this tiny network, and Adam's
    first steps are as long for a gradient of nothing but rounding as for any other.
    """
    out.mkdir(exist_ok=True)
    stages = (Stage(epochs=2, batch=batch, learning_rate=1e-3),)
    settings = dataclasses.replace(FAST, stages=stages, focus=0.0)
    with team() as members:
        trainer = Trainer(settings, out, print, members)
        for module in trainer.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # drawn per process
        trainer.network.double().register_forward_pre_hook(_doubled)
        trainer.fit(disks(20, seed=1), disks(6, seed=2))


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
