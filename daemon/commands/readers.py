"""The files of a dataset, for training and evaluation: pictures, DICOM frames, masks as SEG.

The functions stand at module level: the training hands them to worker processes by name. Heavy
libraries are imported where they are used, so that the command's help does not wait for them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from daemon.panels import Panel
    from dicom_io.findings import Reason
    from dicom_io.frames import Image
    from model.preprocess import Box
    from model.training.data import Readers

_PICTURES = (".png", ".jpg", ".jpeg")
_CINE_FRAMES = 30  # `study.cine_frames` as it is by default: which frame decides on the panels


def readers() -> "Readers":
    """Return the readers of everything that a dataset may hold."""
    from model.training.data import Readers

    return Readers(image=read_image, mask=read_mask, region=read_region)


def read_image(path: Path, frame: int | None) -> "NDArray[np.uint8]":
    """Read a picture or one frame (1-based) of a DICOM file as (H, W, 3) uint8 RGB."""
    from dicom_io.errors import FrameError
    from model.training.data import read_picture

    if is_picture(path):
        return read_picture(path, frame)
    try:
        return _open(path).frame((frame or 1) - 1)
    except FrameError as error:
        raise _unusable(path, error) from error


def read_mask(path: Path, frame: int | None, image: Path | None = None) -> "NDArray[np.bool_]":
    """Read a PNG, or all segments of a SEG on one frame (1-based) of `image`, as (H, W) bool."""
    from dicom_io.errors import ObjectError
    from dicom_io.seg_read import union
    from model.errors import TrainingError
    from model.training import data

    if is_picture(path):
        return data.read_mask(path, frame)
    if image is None or is_picture(image):
        raise TrainingError(f"{path.name} is no picture: a DICOM SEG needs a DICOM image")
    try:
        return union(path, _open(image).sop_instance_uid, frame or 1)
    except ObjectError as error:
        raise _unusable(path, error) from error


def read_region(path: Path, frame: int | None) -> "Box | None":
    """Return the panel of a DICOM image that the daemon reads, the greatest of several.

    None for a picture, and for an image that the daemon would not read.
    """
    from dicom_io.findings import Reason

    if is_picture(path):
        return None
    _, panels = open_panels(path)
    if isinstance(panels, Reason):
        return None
    return max((panel.box for panel in panels), key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))


def is_picture(path: Path) -> bool:
    """Whether a file is a picture; anything else is taken for DICOM."""
    return path.suffix.lower() in _PICTURES


def open_panels(path: Path) -> "tuple[Image, Sequence[Panel] | Reason]":
    """Open a DICOM image and find its panels on the frame by which the service does."""
    from daemon.panels import find_panels
    from daemon.pipeline import evenly
    from dicom_io.errors import FrameError

    image = _open(path)
    indices = evenly(image.frame_count, _CINE_FRAMES)
    try:
        return image, find_panels(image, indices[len(indices) // 2])
    except FrameError as error:
        raise _unusable(path, error) from error


def _open(path: Path) -> "Image":
    from dicom_io.errors import FrameError
    from dicom_io.frames import Image
    from model.errors import TrainingError

    try:
        return Image.open(path)
    except FrameError as error:
        raise _unusable(path, error) from error
    except OSError as error:
        raise TrainingError(f"{path.name} cannot be opened: {error.strerror}") from error


def _unusable(path: Path, error: Exception) -> Exception:
    from model.errors import TrainingError

    return TrainingError(f"{path.name} of the dataset cannot be used: {error}")
