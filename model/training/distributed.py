"""Several processes that train one network: `torchrun`, DistributedDataParallel.

Without `torchrun` a team is one process, and every function here does nothing.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from model.training.synced_norm import synchronise

# the others wait while the first prepares images or validates: hours on a large data set
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Team:
    """The processes of one run; one of them writes."""

    rank: int = 0  # this process, 0 to size - 1
    size: int = 1  # processes on all machines
    local: int = 0  # this process among those of its machine: the number of its GPU

    @property
    def first(self) -> bool:
        """Whether this process writes, validates and speaks."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device("cuda", self.local) if torch.cuda.is_available() else _CPU

    def share(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that gradients are averaged over the processes."""
        if self.size == 1:
            return network
        # running averages are equal in all processes already, see `synchronise`
        return DistributedDataParallel(network, forward_sync_buffers=False)

    def synchronise(self, network: nn.Module) -> None:
        """Let batch normalisation see the images of all processes."""
        if self.size > 1:
            synchronise(network, self.total)

    def total(self, values: Tensor) -> Tensor:
        """Add a tensor up over the processes; gradients find their way back."""
        summed: Tensor = _Total.apply(values) if self.size > 1 else values
        return summed

    def agree(self, values: Sequence[float]) -> list[float]:
        """Return the first process's numbers, in every process."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return [float(value) for value in tensor]

    def wait(self) -> None:
        """Go on only when all processes have come here."""
        if self.size > 1:
            dist.barrier()


_CPU = torch.device("cpu")


@contextmanager
def team() -> Iterator[Team]:
    """Join the processes that `torchrun` started, if it did."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    one = Team(int(os.environ["RANK"]), size, int(os.environ["LOCAL_RANK"]))
    if one.device.type == "cuda":
        torch.cuda.set_device(one.device)
    dist.init_process_group("nccl" if one.device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield one
    finally:
        dist.destroy_process_group()


class _Total(torch.autograd.Function):
    """Sum over processes. Each holds the same loss, so the gradients of all are added up too.

    DistributedDataParallel then divides by their number, and the gradient of the loss is left.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone()
        dist.all_reduce(summed)
        return summed
