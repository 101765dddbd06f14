"""The paper's nine augmentations, on batches of tensors, from one seeded generator.

Flip, rotation, translation and elastic deformation are one resampling of image, mask and focus
together; pixel dropout, sharpening, average blur, Gaussian noise and gamma touch the image alone.
torchvision's v2 does the same with one resampling each, image by image, and takes longer; the tests
hold this module against it, and docs/datasets.md has the times.
"""

import math
from dataclasses import dataclass, replace

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
    shown: Tensor  # (N,) bool: the classifier sees the drawn mask

    @property
    def seen(self) -> Tensor:
        """Mask (N, 1, H, W) that the classifier sees; -1 where it sees the one that is found."""
        return torch.where(self.shown[:, None, None, None], self.mask, -1.0)


@dataclass(frozen=True)
class Move:
    """How each image of a batch is moved; every part (N,) but `bend`."""

    flip: Tensor  # -1 mirrored, else 1
    angle: Tensor  # radians, counter-clockwise on the screen
    zoom: Tensor  # above 1 enlarges
    right: Tensor  # shift, share of the width
    down: Tensor  # shift, share of the height
    bend: Tensor  # (N, 2, 6, 7) displacement x, y on a coarse grid, share of the image


def augment(batch: Batch, settings: Augmentation, generator: Generator) -> Batch:
    """Return the batch, changed at random; equal generators give equal batches."""
    move = draw_move(len(batch.image), settings, generator)
    stack = torch.cat([batch.image, batch.mask, batch.focus], dim=1)
    moved = apply_move(stack, move)
    image = torch.stack([_look(one, settings, generator) for one in moved[:, :1]])
    mask, focus = (moved[:, 1:2] > 0.5).float(), (moved[:, 2:] > 0.5).float()
    return replace(batch, image=image, mask=mask, focus=focus)


def draw_move(count: int, settings: Augmentation, generator: Generator) -> Move:
    """Draw the moves of `count` images."""
    turned = _chosen(count, settings.rotation_p, generator)
    shifted = _chosen(count, settings.translation_p, generator)
    bent = _chosen(count, settings.elastic_p, generator).view(-1, 1, 1, 1)
    return Move(
        flip=1.0 - 2.0 * _chosen(count, settings.flip, generator),
        angle=turned * _spread((count,), math.radians(settings.rotation_deg), generator),
        zoom=torch.exp(_spread((count,), math.log1p(settings.scale), generator)),
        right=shifted * _spread((count,), settings.translation, generator),
        down=shifted * _spread((count,), settings.translation, generator),
        bend=bent * _spread((count, 2, *_ELASTIC_GRID), settings.elastic, generator),
    )


def apply_move(stack: Tensor, move: Move) -> Tensor:
    """Move images (N, C, H, W), all channels alike, bilinearly; what comes in is black."""
    count, _, height, width = stack.shape
    aspect = width / height  # rotation must not shear an image that is not square
    cos, sin = torch.cos(move.angle) / move.zoom, torch.sin(move.angle) / move.zoom
    # from output to input, where the image is 2 wide and 2 high
    rows = [
        torch.stack([move.flip * cos, -move.flip * sin / aspect, torch.zeros(count)], 1),
        torch.stack([sin * aspect, cos, torch.zeros(count)], 1),
    ]
    theta = torch.stack(rows, 1)
    shift = 2 * torch.stack([move.right, move.down], 1)[:, :, None]
    theta[:, :, 2:] = -theta[:, :, :2] @ shift
    grid = functional.affine_grid(theta, [count, 1, height, width], align_corners=False)
    for index in torch.nonzero(move.bend.flatten(1).any(1)).flatten().tolist():
        bend = functional.interpolate(
            2 * move.bend[index : index + 1], (height, width), mode="bicubic", align_corners=False
        )
        grid[index] += bend[0].permute(1, 2, 0)
    return functional.grid_sample(stack, grid, mode="bilinear", align_corners=False)


def _look(image: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Gamma, average blur, sharpening, Gaussian noise and dropout of one image (1, H, W)."""
    if _hit(settings.gamma_p, generator):
        image = image.clamp(0, 1).pow(math.exp(_within(math.log(settings.gamma), generator)))
    if _hit(settings.blur_p, generator):
        image = average(image, settings.blur)
    if _hit(settings.sharpen_p, generator):
        image = image + settings.sharpen * (image - average(image, 3))
    if _hit(settings.noise_p, generator):
        strength = abs(_within(settings.noise, generator))
        image = image + strength * torch.randn(image.shape, generator=generator)
    if _hit(settings.dropout_p, generator):
        share = abs(_within(settings.dropout, generator))
        image = image * (torch.rand(image.shape, generator=generator) >= share)
    return image.clamp(0, 1)


def average(image: Tensor, width: int) -> Tensor:
    """Mean of the neighbourhood of each pixel of (1, H, W); `width` odd, at the edge what exists.

    Row means, then column means: the same as one square, for fewer additions.
    """
    half = width // 2
    for size, padding in (((1, width), (0, half)), ((width, 1), (half, 0))):
        image = functional.avg_pool2d(image, size, 1, padding, count_include_pad=False)
    return image


def _spread(shape: tuple[int, ...], limit: float, generator: Generator) -> Tensor:
    """Uniform numbers from -limit to limit."""
    return (2 * torch.rand(shape, generator=generator) - 1) * limit


def _chosen(count: int, probability: float, generator: Generator) -> Tensor:
    """1 for the images that an augmentation touches, else 0."""
    return (torch.rand(count, generator=generator) < probability).float()


def _within(limit: float, generator: Generator) -> float:
    """One uniform number from -limit to limit."""
    return float(_spread((1,), limit, generator))


def _hit(probability: float, generator: Generator) -> bool:
    """Whether an augmentation touches this image."""
    return bool(_chosen(1, probability, generator))
