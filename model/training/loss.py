"""Dice for the mask and binary cross-entropy for the class, loss-weighted as in the paper.

The loss is a function of seven sums over the batch. Where several processes share a batch, the sums
are added up among them first: they then minimise the very loss that one process would.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from model.training.augment import Batch
from model.training.config import Loss

Total = Callable[[Tensor], Tensor]  # adds a tensor up over all processes, differentiably


def alone(values: Tensor) -> Tensor:
    """Return the total of one process: what it holds."""
    return values


def joint_loss(
    mask_logits: Tensor, class_logits: Tensor, batch: Batch, weights: Loss, total: Total = alone
) -> Tensor:
    """One number to minimise; images without a mask or a label leave that part out.

    An image that is known to hold no node has nothing to classify: its label is not used.
    """
    logits = mask_logits[batch.annotated]
    target = batch.mask[batch.annotated].to(logits.dtype)
    pixels = functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    useful = batch.labelled & (~batch.annotated | (batch.mask.amax((1, 2, 3)) > 0))
    entropy = functional.binary_cross_entropy_with_logits(
        class_logits[useful],
        batch.label[useful],
        pos_weight=torch.tensor(weights.positive, device=class_logits.device),
        reduction="sum",
    )
    counts = entropy.new_tensor([target.numel(), int(useful.sum())])
    sums = total(torch.stack([*_overlap(logits, target), pixels, entropy, *counts]))
    dice = _dice_loss(*sums[:3])
    # a part without a target has a sum of zero, and so costs nothing
    pixel, label = sums[3] / sums[5].clamp_min(1), sums[4] / sums[6].clamp_min(1)
    return weights.dice * dice + weights.pixel * pixel + weights.classification * label


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return one minus the soft Dice of the whole batch.

    Pooled over the batch: an image without a node then still pulls false positives down, which
    its own Dice (0 whatever is predicted) would not.
    """
    return _dice_loss(*_overlap(logits, target))


def _overlap(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum up the overlap, the soft mask and the true one."""
    probability = torch.sigmoid(logits)
    return (probability * target).sum(), probability.sum(), target.sum()


def _dice_loss(shared: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
    return 1.0 - (2.0 * shared + 1.0) / (predicted + true + 1.0)
