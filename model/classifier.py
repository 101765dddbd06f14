"""The second stage: what the mask leaves of an image goes in, one logit comes out.

The CNN sees image x sigmoid(mask), and the outline where it has a row for it: the soft mask keeps
it differentiable, so that both stages train together.
"""

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.architecture import Architecture

_STRIDE = 16  # of the encoder's features: finer ones know too little of a picture
_AT_STRIDE = 3  # their place among timm's feature maps


class NodeClassifier(nn.Module):
    """Convolutions, global pooling, two fully connected layers: one logit per masked image.

    With `classifier_encoder`, a network that may have learned from other pictures stands in place
    of the convolutions. With `outline_widths`, a second row of convolutions sees the mask alone: in
    the masked image speckle drowns the outline, and the shape of a node is never learned from it.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.features: nn.Module
        name, outline_widths = architecture.classifier_encoder, architecture.outline_widths
        widths, hidden = architecture.classifier_widths, architecture.classifier_hidden
        if name:
            self.features, channels = _encoder(name)
        else:
            self.features, channels = _convolutions(widths), widths[-1]
        # pairs of convolutions: an indentation is a matter of a neighbourhood, not of an edge
        self.outline = _convolutions(outline_widths, again=True) if outline_widths else None
        pooled = 2 * (channels + (outline_widths[-1] if outline_widths else 0))
        self.head = nn.Sequential(
            nn.Linear(pooled, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1)
        )
        self._coarse = bool(name)

    def forward(self, image: Tensor, soft: Tensor) -> Tensor:
        """Logits (N,) of images (N, 1, H, W) under soft masks (N, 1, H, W), 0 to 1."""
        pooled = [self._content(image * soft, soft)]
        if self.outline is not None:
            # cut at one half: how sure the first stage is tells of the scanner, not of the shape;
            # no gradient passes: what outline a node has is for the drawn masks to teach
            shape = functional.avg_pool2d((soft >= 0.5).to(soft.dtype), 2)
            pooled.append(_pooled(self.outline(2 * shape - 1)))
        logits: Tensor = self.head(torch.cat(pooled, dim=1))
        return logits.squeeze(1)

    def _content(self, masked: Tensor, soft: Tensor) -> Tensor:
        """Return what is inside the mask, (N, 2 C)."""
        if not self._coarse:
            return _pooled(self.features(masked))
        (features,) = self.features(masked)
        share = functional.avg_pool2d(soft, _STRIDE).to(features.dtype)
        inside = (features * share).sum((2, 3)) / share.sum((2, 3)).clamp_min(1e-3)
        return torch.cat([inside, features.amax((2, 3))], dim=1)


def _encoder(name: str) -> tuple[nn.Module, int]:
    """Build a network of timm down to 1/16 of the image, with random weights; and its channels."""
    encoder = timm.create_model(
        name,
        pretrained=False,
        in_chans=1,
        features_only=True,
        feature_cls="getter",  # which leaves out what is coarser
        out_indices=(_AT_STRIDE,),
    )
    return encoder, encoder.feature_info.channels()[0]


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
