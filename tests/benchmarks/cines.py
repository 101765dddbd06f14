"""Long cines of 1024 × 768 for the benchmarks: a phantom that moves, every frame another one."""

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_io.synthetic import Encoding, SyntheticImage, SyntheticRegion, dataset
from model.training.phantom import generate_cine

ROWS, COLUMNS = 768, 1024
_DRAWN = 12  # frames that the phantom is drawn for; the cine runs through them to and fro
Frame = NDArray[np.uint8]
Frames = Callable[[int], Iterator[Frame]]


@cache
def _phantom() -> tuple[tuple[Frame, ...], SyntheticRegion]:
    drawn = generate_cine(20260105, 7, _DRAWN, style="alder", size=(ROWS, COLUMNS))
    region = SyntheticRegion(drawn[0].tissue_box, drawn[0].mm_per_px, "tissue")
    return tuple(picture.frame for picture in drawn), region


def moving(count: int) -> Iterator[Frame]:
    """Yield (768, 1024, 3) grey RGB frames, no two alike: each has a little noise of its own."""
    drawn, region = _phantom()
    x0, y0, x1, y1 = region.box
    to_and_fro = [*range(_DRAWN), *range(_DRAWN - 2, 0, -1)]
    for number in range(count):
        frame = drawn[to_and_fro[number % len(to_and_fro)]].copy()
        noise = np.random.default_rng(number).integers(0, 3, (y1 - y0, x1 - x0, 1), np.uint8)
        frame[y0:y1, x0:x1] = np.minimum(frame[y0:y1, x0:x1], 253) + noise
        yield frame


def frozen(count: int) -> Iterator[Frame]:
    """Yield one frame again and again, but for a clock that runs at the edge of the screen."""
    (first,) = moving(1)
    for number in range(count):
        frame = first.copy()
        digits = np.unpackbits(np.array([number // 256, number % 256], np.uint8))
        frame[2:10, 2:130] = 200 * digits.repeat(8)[None, :, None]
        yield frame


def write(path: Path, frames: Frames, count: int, encoding: Encoding = Encoding.EXPLICIT) -> Path:
    """Write a cine as a study of its own; uncompressed pixels are written frame by frame."""
    native = encoding is Encoding.EXPLICIT
    whole = np.stack(list(frames(2 if native else count)))
    _, region = _phantom()
    ds = dataset(SyntheticImage(7, str(path), 1, 1, "R", whole, encoding, (region,)), 1)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    if not native:
        ds.save_as(path, enforce_file_format=True)
        return path
    return _native(path, ds, frames(count), count)


def _native(path: Path, ds: Dataset, frames: Iterable[Frame], count: int) -> Path:
    ds.NumberOfFrames = count
    del ds.PixelData
    ds.save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        size = count * ROWS * COLUMNS * 3
        file.write(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, size))  # PS3.5 7.1.2
        for frame in frames:
            file.write(frame.tobytes())
    return path
