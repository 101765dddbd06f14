"""Records of the synthetic ultrasound: what a picture shows and what is true about it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Features:
    """The four findings of a node that Table 1 of the paper relates to its pathology."""

    large: bool  # long axis of at least 1.0 cm
    irregular: bool  # outline; regular otherwise
    unclear: bool  # corticomedullary demarcation; clear otherwise
    flow: bool  # blood flow on Doppler; invisible on a grey image

    def row(self) -> dict[str, str]:
        """Return the features as columns of an index, in the words of the paper."""
        return {
            "size": ">=1.0" if self.large else "<1.0",
            "shape": "irregular" if self.irregular else "regular",
            "cmd": "unclear" if self.unclear else "clear",
            "flow": "present" if self.flow else "absent",
        }


@dataclass(frozen=True)
class PhantomNode:
    """One lymph node of a picture."""

    mask: Mask  # (H, W) bool, the whole node, hilum included, clipped to the tissue
    features: Features
    long_axis_mm: float  # of the drawn ellipse, before its outline is modulated
    short_axis_mm: float


@dataclass(frozen=True)
class PhantomImage:
    """One synthetic B-mode picture with its truth."""

    frame: NDArray[np.uint8]  # (H, W, 3) RGB, annotations burned in
    nodes: tuple[PhantomNode, ...]  # by size, largest first; empty: no node
    label: int | None  # 1 metastatic, 0 not; None where no node is shown
    tissue_box: tuple[int, int, int, int]  # x0, y0, x1, y1, half open
    mm_per_px: float  # square pixels
    laterality: str  # "R" or "L"
    style: str  # name of the scanner style

    @property
    def mask(self) -> Mask:
        """(H, W) bool: the union of all nodes."""
        union = np.zeros(self.frame.shape[:2], bool)
        for node in self.nodes:
            union |= node.mask
        return union
