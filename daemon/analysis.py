"""What was read in a study: handed from the analysing process to the one that reports it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_io.findings import Exclusion, ImageRead, NodeFinding


@dataclass(frozen=True)
class Frame:
    """One source frame, decoded, for a picture."""

    sop_instance_uid: str
    frame_number: int  # 1-based
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB


@dataclass(frozen=True)
class Analysis:
    """What was read in a study, before it is put into words."""

    images: tuple[ImageRead, ...]
    nodes: tuple[NodeFinding, ...]
    exclusions: tuple[Exclusion, ...]
    frames: tuple[Frame, ...] = ()  # to draw on, where pictures are wanted
