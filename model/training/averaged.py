"""A running mean of a network's weights, which does better than the last step's.

Steps jump about a good place; their mean lies nearer to it (Polyak and Juditsky 1992,
doi 10.1137/0330046).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of a network that `update_parameters` draws towards it after each step.

    Parameters
    ----------
    decay
        Share of the mean that a step keeps, once there were enough of them.
    """
    return AveragedModel(network, avg_fn=_mean(decay), use_buffers=True)


def _mean(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    def mean(before: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
        if not before.is_floating_point():  # counters of batch normalisation
            return now
        # the first steps are far from where it ends: the mean forgets them fast
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        return torch.lerp(now, before, kept)

    return mean
