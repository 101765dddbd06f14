"""Dice for the mask and binary cross-entropy for the class, loss-weighted as in the paper."""

import torch
from torch import Tensor
from torch.nn import functional

from model.training.augment import Batch
from model.training.config import Loss


def joint_loss(mask_logits: Tensor, class_logits: Tensor, batch: Batch, weights: Loss) -> Tensor:
    """One number to minimise; images without a mask or a label leave that part out.

    An image that is known to hold no node has nothing to classify: its label is not used.
    """
    total = mask_logits.sum() * 0.0  # keeps the graph where a batch has no target at all
    if batch.annotated.any():
        logits, target = mask_logits[batch.annotated], batch.mask[batch.annotated]
        total = total + weights.dice * dice_loss(logits, target)
        if weights.pixel:
            pixel = functional.binary_cross_entropy_with_logits(logits, target)
            total = total + weights.pixel * pixel
    useful = batch.labelled & (~batch.annotated | (batch.mask.amax((1, 2, 3)) > 0))
    if useful.any():
        entropy = functional.binary_cross_entropy_with_logits(
            class_logits[useful],
            batch.label[useful],
            pos_weight=torch.tensor(weights.positive, device=class_logits.device),
        )
        total = total + weights.classification * entropy
    return total


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return one minus the soft Dice of the whole batch.

    Pooled over the batch: an image without a node then still pulls false positives down, which
    its own Dice (0 whatever is predicted) would not.
    """
    probability = torch.sigmoid(logits)
    shared = (probability * target).sum()
    return 1.0 - (2.0 * shared + 1.0) / (probability.sum() + target.sum() + 1.0)
