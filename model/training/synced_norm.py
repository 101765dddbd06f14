"""Batch normalisation over the images of all processes, not over each process's own few.

torch's SyncBatchNorm works on GPUs only and drops the activations that timm's layers hold, so this
one is written out: slower than a fused kernel, the same on every device, and checked on the CPU
against one process with the whole batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def synchronise(module: nn.Module, total: Callable[[Tensor], Tensor]) -> None:
    """Replace every batch normalisation within `module`; parameters and their names stay.

    Parameters
    ----------
    total
        Adds a tensor up over all processes, differentiably.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, SyncedNorm(child, total))
        else:
            synchronise(child, total)


class SyncedNorm(nn.BatchNorm2d):
    """Takes the place of a layer, with its parameters, averages and activation."""

    def __init__(self, layer: nn.BatchNorm2d, total: Callable[[Tensor], Tensor]) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum)
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        # of timm's BatchNormAct2d
        self.drop = getattr(layer, "drop", nn.Identity())
        self.act = getattr(layer, "act", nn.Identity())
        self._total = total

    def forward(self, values: Tensor) -> Tensor:
        """Normalise (N, C, H, W); in training by mean and variance over all processes."""
        done = self._over_all(values) if self.training else super().forward(values)
        activated: Tensor = self.act(self.drop(done))
        return activated

    def _over_all(self, values: Tensor) -> Tensor:
        exact = values.to(torch.promote_types(values.dtype, torch.float32))
        count = self._total(exact.new_tensor(values.numel() / values.shape[1]))
        mean = self._total(exact.sum((0, 2, 3))) / count
        centred = exact - mean[:, None, None]
        variance = self._total(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(values.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running averages that serve later on."""
        share = self.momentum if self.momentum is not None else 0.1
        with torch.no_grad():
            for running, new in ((self.running_mean, mean), (self.running_var, variance)):
                if running is not None:
                    running.lerp_(new, share)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
