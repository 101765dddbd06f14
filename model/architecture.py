"""What a network is built from, without building it: readable where torch is not wanted."""

from dataclasses import dataclass

PAPER_TEXT = "resnet101"  # the encoder the paper names (45.7 M parameters)
PAPER_COUNT = "resnet34"  # the encoder that its 22.49 M parameters fit (22.43 M and the CNN)


@dataclass(frozen=True)
class Architecture:
    """What has to be built before weights can be loaded into it."""

    encoder: str = PAPER_TEXT  # an encoder name of segmentation-models-pytorch
    decoder_channels: int = 256  # of the atrous pyramid; the published DeepLabV3+ has 256
    classifier_widths: tuple[int, ...] = (8, 16, 32, 48, 48)  # channels of the CNN's convolutions
    # a network of timm in their place, down to 1/16 of the image; the paper has none
    classifier_encoder: str = ""
    # channels of a second row that sees the outline alone; the paper has none
    outline_widths: tuple[int, ...] = ()
    classifier_hidden: int = 32  # units of its first fully connected layer

    def __post_init__(self) -> None:
        """Refuse a classifier without convolutions, or of no width."""
        widths = (*self.classifier_widths, *self.outline_widths)
        if not self.classifier_widths or not all(isinstance(w, int) and w > 0 for w in widths):
            raise ValueError("classifier_widths needs a width, and widths are whole and above 0")

    @property
    def label(self) -> str:
        """What reports and the command line call the network."""
        return f"DeepLabV3Plus {self.encoder}"
