"""``axnode train --data DIR --out DIR``: a bundle from a dataset folder."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PICTURES = (".png", ".jpg", ".jpeg")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with index.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--config", type=Path, help="settings in TOML; left out: the paper's")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")


def run(args: argparse.Namespace) -> int:
    """Train; TrainingError says what is wrong with data, settings or checkpoint."""
    from model.training import config, data
    from model.training.run import train

    readers = data.Readers(image=read_image, mask=data.read_mask)
    settings = config.load(args.config)
    train(args.data, args.out, settings, resume=args.resume, readers=readers, say=_say)
    return 0


def read_image(path: Path, frame: int | None) -> "NDArray[np.uint8]":
    """Read a picture or one frame (1-based) of a DICOM file as (H, W, 3) uint8 RGB.

    At module level, for the training hands it to worker processes by name.
    """
    from dicom_io.errors import FrameError
    from dicom_io.frames import Image
    from model.errors import TrainingError
    from model.training.data import read_picture

    if path.suffix.lower() in _PICTURES:
        return read_picture(path, frame)
    try:
        return Image.open(path).frame((frame or 1) - 1)
    except FrameError as error:
        raise TrainingError(f"{path.name} of the dataset cannot be used: {error}") from error


def _say(line: str) -> None:
    print(line, flush=True)
