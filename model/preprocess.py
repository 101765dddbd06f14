"""From a frame to the network's input and back: the one preprocessing of daemon and training.

Coordinates are those of PS3.3 C.18.6: continuous, 0 at the outer edge of the first pixel, so that
the centre of pixel i lies at i + 0.5 and a half-open box covers exactly its pixels.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[int, int, int, int]  # x0, y0, x1, y1; half open; pixels


@dataclass(frozen=True)
class Spec:
    """How a bundle wants its images; a change of it changes every output."""

    width: int = 320  # pixels, a multiple of 16
    height: int = 256  # pixels, a multiple of 16
    resize: Literal["stretch", "letterbox"] = "stretch"  # stretch is the paper's
    mean: float = 0.25  # grey 0..1 taken off
    std: float = 0.2  # grey 0..1 divided by


DEFAULT = Spec()


@dataclass(frozen=True)
class Placement:
    """Where a box of the source lies in the network's image; both are scaled into each other."""

    source: Box  # the crop, in source pixels
    target: Box  # its place, in network pixels
    width: int  # of the network's image
    height: int

    def to_source(self, x: float, y: float) -> tuple[float, float]:
        """Map a continuous point of the network's image into the source frame."""
        return _scale(x, y, self.target, self.source)

    def to_target(self, x: float, y: float) -> tuple[float, float]:
        """Map a continuous point of the source frame into the network's image."""
        return _scale(x, y, self.source, self.target)

    def map_to_source(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resize a map of the network (height, width) onto the source crop (h, w), bilinear."""
        x0, y0, x1, y1 = self.source
        image = Image.fromarray(np.ascontiguousarray(values, np.float32))
        resized = image.resize(
            (x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=_as_floats(self.target)
        )
        return np.asarray(resized, np.float32)

    def mask_to_target(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Bring a mask of the source crop (h, w) into the network's image (height, width)."""
        x0, y0, x1, y1 = self.target
        image = Image.fromarray(mask.astype(np.float32))
        resized = image.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
        out = np.zeros((self.height, self.width), np.bool_)
        out[y0:y1, x0:x1] = np.asarray(resized) >= 0.5
        return out


@dataclass(frozen=True)
class Prepared:
    """One image as the network sees it, and the way back."""

    tensor: NDArray[np.float32]  # (1, height, width), normalised grey
    placement: Placement


def prepare(frame: NDArray[np.uint8], region: Box | None = None, spec: Spec = DEFAULT) -> Prepared:
    """Crop to the tissue, take overlays off, make grey, resize, normalise.

    Parameters
    ----------
    frame
        (H, W, 3) uint8 RGB.
    region
        Box of tissue in the frame, clamped to it here; None takes the whole frame.

    Returns
    -------
    Prepared
        `tensor` (1, height, width) float32; letterbox margins hold the value of black.
    """
    grey, placement = prepare_grey(frame, region, spec)
    return Prepared(normalise(grey, spec), placement)


def prepare_grey(
    frame: NDArray[np.uint8], region: Box | None = None, spec: Spec = DEFAULT
) -> tuple[NDArray[np.uint8], Placement]:
    """Like `prepare`, short of the normalisation: (height, width) uint8, for training's cache."""
    box = _clamp(region, frame.shape[1], frame.shape[0])
    x0, y0, x1, y1 = box
    from model import tissue  # with scipy: whoever reads a card only does not wait for it

    grey = tissue.grey_without_overlay(np.ascontiguousarray(frame[y0:y1, x0:x1]))
    target = _target(x1 - x0, y1 - y0, spec)
    tx0, ty0, tx1, ty1 = target
    # Pillow widens its filter with the scale, so that shrinking does not alias
    image = Image.fromarray(grey).resize((tx1 - tx0, ty1 - ty0), Image.Resampling.BILINEAR)
    out = np.zeros((spec.height, spec.width), np.uint8)
    out[ty0:ty1, tx0:tx1] = np.asarray(image)
    return out, Placement(box, target, spec.width, spec.height)


def normalise(grey: NDArray[np.uint8], spec: Spec = DEFAULT) -> NDArray[np.float32]:
    """Grey (height, width) uint8 -> (1, height, width) float32, about zero mean and unit spread."""
    scaled = (grey.astype(np.float32) / 255.0 - spec.mean) / spec.std
    return scaled[np.newaxis].astype(np.float32)


def _clamp(region: Box | None, width: int, height: int) -> Box:
    """Cut the box to the frame; a box that misses the frame is a caller's error."""
    if region is None:
        return (0, 0, width, height)
    x0, y0 = max(region[0], 0), max(region[1], 0)
    x1, y1 = min(region[2], width), min(region[3], height)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"region {region} lies outside a frame of {width} x {height} pixels")
    return (x0, y0, x1, y1)


def _target(width: int, height: int, spec: Spec) -> Box:
    """Place of a crop of this size in the network's image."""
    if spec.resize == "stretch":
        return (0, 0, spec.width, spec.height)
    scale = min(spec.width / width, spec.height / height)
    w = min(max(round(width * scale), 1), spec.width)
    h = min(max(round(height * scale), 1), spec.height)
    x0, y0 = (spec.width - w) // 2, (spec.height - h) // 2
    return (x0, y0, x0 + w, y0 + h)


def _scale(x: float, y: float, source: Box, target: Box) -> tuple[float, float]:
    """Map the point linearly from one box to the other; corners fall on corners exactly."""
    return (
        target[0] + (x - source[0]) * (target[2] - target[0]) / (source[2] - source[0]),
        target[1] + (y - source[1]) * (target[3] - target[1]) / (source[3] - source[1]),
    )


def _as_floats(box: Box) -> tuple[float, float, float, float]:
    return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
