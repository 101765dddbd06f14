"""The two-stage network of the paper: DeepLabV3+ finds the node, a small CNN reads it.

The CNN sees image x sigmoid(mask), and the outline where it has a row for it: the soft mask keeps
the second stage differentiable, so that both stages train together.
"""

import warnings

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.architecture import Architecture


class NodeClassifier(nn.Module):
    """Convolutions, global pooling, two fully connected layers: one logit per masked image.

    With `outline_widths`, a second row of convolutions sees the mask alone: in the masked
    image speckle drowns the outline, and the shape of a node is never learned from it.
    """

    def __init__(
        self, widths: tuple[int, ...], hidden: int, outline_widths: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.features = _convolutions(widths)
        # pairs of convolutions: an indentation is a matter of a neighbourhood, not of an edge
        self.outline = _convolutions(outline_widths, again=True) if outline_widths else None
        pooled = 2 * sum(row[-1] for row in (widths, outline_widths) if row)
        self.head = nn.Sequential(
            nn.Linear(pooled, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1)
        )

    def forward(self, image: Tensor, soft: Tensor) -> Tensor:
        """Logits (N,) of images (N, 1, H, W) under soft masks (N, 1, H, W), 0 to 1."""
        pooled = [_pooled(self.features(image * soft))]
        if self.outline is not None:
            # cut at one half: how sure the first stage is tells of the scanner, not of the shape;
            # no gradient passes: what outline a node has is for the drawn masks to teach
            shape = functional.avg_pool2d((soft >= 0.5).to(soft.dtype), 2)
            pooled.append(_pooled(self.outline(2 * shape - 1)))
        logits: Tensor = self.head(torch.cat(pooled, dim=1))
        return logits.squeeze(1)


def _convolutions(widths: tuple[int, ...], *, again: bool = False) -> nn.Sequential:
    """Halve the image with each of the widths; `again`: convolve once more at each size."""
    layers: list[nn.Module] = []
    channels = 1
    for width in widths:
        for stride in (2, 1) if again else (2,):
            layers += [
                nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
    return nn.Sequential(*layers)


def _pooled(features: Tensor) -> Tensor:
    """Mean and maximum over the image: a node's size, and its strongest sign whatever its size."""
    return torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)


class AxNet(nn.Module):
    """Grey image (N, 1, H, W) float -> mask logits (N, 1, H, W) and class logits (N,).

    H and W are multiples of 16 (the encoder's stride). Weights are random: nothing is downloaded.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.segmenter = _segmenter(architecture)
        self.classifier = NodeClassifier(
            architecture.classifier_widths,
            architecture.classifier_hidden,
            architecture.outline_widths,
        )

    @property
    def encoder(self) -> nn.Module:
        """The encoder of the first stage."""
        return self.segmenter.get_submodule("encoder")

    def forward(self, image: Tensor, focus: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mask logits, and class logits of what the soft mask leaves inside `focus`."""
        mask_logits = self.segment(image)
        return mask_logits, self.classify(image, mask_logits, focus)

    def segment(self, image: Tensor) -> Tensor:
        """Mask logits (N, 1, H, W) of images (N, 1, H, W)."""
        logits: Tensor = self.segmenter(image)
        return logits

    def classify(self, image: Tensor, mask_logits: Tensor, focus: Tensor | None = None) -> Tensor:
        """Class logits (N,) of the softly masked images.

        `focus` (N, 1, H, W), 0 or 1, masks other components out of the soft mask, so that one
        node is scored alone.
        """
        soft = torch.sigmoid(mask_logits)
        if focus is not None:
            soft = soft * focus
        logits: Tensor = self.classifier(image, soft)
        return logits


def _segmenter(architecture: Architecture) -> nn.Module:
    """Build the first stage; `encoder_weights=None` is what keeps it from downloading."""
    with warnings.catch_warnings():
        # smp means to rename its encoders one day; its version is pinned, and bundles name them
        warnings.simplefilter("ignore", DeprecationWarning)
        segmenter: nn.Module = smp.DeepLabV3Plus(
            encoder_name=architecture.encoder,
            encoder_weights=None,
            decoder_channels=architecture.decoder_channels,
            in_channels=1,
            classes=1,
        )
    return segmenter


def parameter_count(network: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
