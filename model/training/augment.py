"""The paper's nine augmentations, on batches of tensors, from one seeded generator.

Flip, rotation, translation and elastic deformation are one resampling of image, mask and focus
together; pixel dropout, sharpening, average blur, Gaussian noise and gamma touch the image alone.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from model.training.config import Augmentation

_ELASTIC_GRID = (6, 7)  # rows, columns of the coarse field that bends the image


@dataclass(frozen=True)
class Batch:
    """What one training step sees."""

    image: Tensor  # (N, 1, H, W) float, grey 0..1
    mask: Tensor  # (N, 1, H, W) float, 0 or 1
    focus: Tensor  # (N, 1, H, W) float, 0 or 1: where the classifier may look
    annotated: Tensor  # (N,) bool: the mask means something
    label: Tensor  # (N,) float, 0 or 1
    labelled: Tensor  # (N,) bool: the label means something


def augment(batch: Batch, settings: Augmentation, generator: Generator) -> Batch:
    """Return the batch, changed at random; equal generators give equal batches."""
    count, _, height, width = batch.image.shape
    grid = _grid(count, height, width, settings, generator)
    stack = torch.cat([batch.image, batch.mask, batch.focus], dim=1)
    moved = functional.grid_sample(stack, grid, mode="bilinear", align_corners=False)
    image = _photometric(moved[:, :1], settings, generator)
    mask, focus = (moved[:, 1:2] > 0.5).float(), (moved[:, 2:] > 0.5).float()
    return Batch(image, mask, focus, batch.annotated, batch.label, batch.labelled)


def _grid(
    count: int, height: int, width: int, settings: Augmentation, generator: Generator
) -> Tensor:
    """Draw a sampling grid (N, H, W, 2): flip, rotation, translation, zoom and bending."""
    angle = _spread(count, math.radians(settings.rotation_deg), generator)
    zoom = torch.exp(_spread(count, math.log1p(settings.scale), generator))
    flip = 1.0 - 2.0 * _chosen(count, settings.flip, generator)
    aspect = width / height  # rotation must not shear an image that is not square
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    rows = [
        torch.stack([flip * cos, -flip * sin / aspect, _shift(count, settings, generator)], 1),
        torch.stack([sin * aspect, cos, _shift(count, settings, generator)], 1),
    ]
    grid = functional.affine_grid(
        torch.stack(rows, 1), [count, 1, height, width], align_corners=False
    )
    coarse = _spread((count, 2, *_ELASTIC_GRID), 2 * settings.elastic, generator)
    coarse = coarse * _chosen(count, settings.elastic_p, generator).view(-1, 1, 1, 1)
    bend = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    return grid + bend.permute(0, 2, 3, 1)


def _photometric(image: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Gamma, average blur, sharpening, Gaussian noise and pixel dropout, each on some images."""
    count = len(image)
    exponent = torch.exp(_spread(count, math.log(settings.gamma), generator)).view(-1, 1, 1, 1)
    image = image.clamp(0, 1).pow(exponent)
    blurred = functional.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    soften = _chosen(count, settings.blur_p, generator).view(-1, 1, 1, 1)
    sharpen = _chosen(count, settings.sharpen_p, generator).view(-1, 1, 1, 1)
    image = image + soften * (blurred - image) + sharpen * (image - blurred)
    strength = settings.noise * torch.rand(count, generator=generator)
    strength = strength * _chosen(count, settings.noise_p, generator)
    noise = torch.randn(image.shape, generator=generator)
    image = image + strength.view(-1, 1, 1, 1) * noise
    share = settings.dropout * torch.rand(count, generator=generator)
    share = share * _chosen(count, settings.dropout_p, generator)
    kept = torch.rand(image.shape, generator=generator) >= share.view(-1, 1, 1, 1)
    return (image * kept).clamp(0, 1)


def _shift(count: int, settings: Augmentation, generator: Generator) -> Tensor:
    """Draw translations in the grid's units, where the image is 2 wide."""
    return _spread(count, 2 * settings.translation, generator)


def _spread(shape: int | tuple[int, ...], limit: float, generator: Generator) -> Tensor:
    """Uniform numbers from -limit to limit."""
    return (2 * torch.rand(shape, generator=generator) - 1) * limit


def _chosen(count: int, probability: float, generator: Generator) -> Tensor:
    """1 for the images that an augmentation touches, else 0."""
    return (torch.rand(count, generator=generator) < probability).float()
