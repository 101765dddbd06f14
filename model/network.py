"""The two-stage network of the paper: DeepLabV3+ finds the node, a small CNN reads it.

Both train together, for the CNN (`model.classifier`) sees the image under the soft mask.
"""

import warnings

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from model.architecture import Architecture
from model.classifier import NodeClassifier


class AxNet(nn.Module):
    """Grey image (N, 1, H, W) float -> mask logits (N, 1, H, W) and class logits (N,).

    H and W are multiples of 16 (the encoder's stride). Weights are random: nothing is downloaded.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.segmenter = _segmenter(architecture)
        self.classifier = NodeClassifier(architecture)

    @property
    def encoder(self) -> nn.Module:
        """The encoder of the first stage."""
        return self.segmenter.get_submodule("encoder")

    def forward(
        self, image: Tensor, focus: Tensor | None = None, drawn: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mask logits, and class logits of what the soft mask leaves inside `focus`.

        `drawn` (N, 1, H, W) is the mask that the classifier sees in place of the soft one, where it
        is not negative.
        """
        mask_logits = self.segment(image)
        soft = torch.sigmoid(mask_logits)
        if drawn is not None:
            soft = torch.where(drawn >= 0, drawn, soft)
        return mask_logits, self._read(image, soft, focus)

    def segment(self, image: Tensor) -> Tensor:
        """Mask logits (N, 1, H, W) of images (N, 1, H, W)."""
        logits: Tensor = self.segmenter(image)
        return logits

    def classify(self, image: Tensor, mask_logits: Tensor, focus: Tensor | None = None) -> Tensor:
        """Class logits (N,) of the softly masked images.

        `focus` (N, 1, H, W), 0 or 1, masks other components out of the soft mask, so that one
        node is scored alone.
        """
        return self._read(image, torch.sigmoid(mask_logits), focus)

    def _read(self, image: Tensor, soft: Tensor, focus: Tensor | None) -> Tensor:
        """Class logits (N,) under soft masks (N, 1, H, W)."""
        logits: Tensor = self.classifier(image, soft if focus is None else soft * focus)
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
