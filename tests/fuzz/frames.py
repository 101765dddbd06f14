"""A stored file, from its header to decoded frames: the bytes are the file."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_io.compare import same_image_transcoded
from dicom_io.errors import FrameError
from dicom_io.facts import eligible, facts
from dicom_io.findings import Reason
from dicom_io.frames import Image
from dicom_io.header import read_header
from dicom_io.regions import b_mode_boxes, calibration, regions
from tests import builders_frames as frames
from tests.fuzz.files import in_memory

_REASONS = frozenset(Reason)
_LONGEST_SEED = 65_536


def check(data: bytes) -> None:
    """Read the file as the node does; nothing but FrameError with a known reason may come out."""
    with in_memory(data) as path:
        _read(path)
        try:
            image = Image.open(path)
            count = image.frame_count
            _look_around(image)
        except FrameError as error:
            _known(error)
            return
        assert count >= 1
        for index in sorted({0, count - 1}):
            _decode(image, index)


def _read(path: Path) -> None:
    """Read what the service itself reads, before and beside any analysis."""
    try:
        eligible(facts(read_header(path)))
    except FrameError as error:
        _known(error)
    assert same_image_transcoded(path, path) is False


def _known(error: FrameError) -> None:
    if error.reason not in _REASONS:
        raise AssertionError(f"FrameError of no known reason: {error.reason}")


def _look_around(image: Image) -> None:
    for box in b_mode_boxes(regions(image.header, image.rows, image.columns)):
        x0, y0, x1, y1 = box.box
        assert 0 <= x0 < x1 <= image.columns
        assert 0 <= y0 < y1 <= image.rows
    calibration(image.header)


def _decode(image: Image, index: int) -> None:
    try:
        frame = image.frame(index)
    except FrameError as error:
        _known(error)
        return
    assert (frame.shape, frame.dtype) == ((image.rows, image.columns, 3), np.uint8)


def seeds() -> Iterator[bytes]:
    """Small pictures in every way of encoding that is decoded."""
    picture = frames.coloured_picture(32, 40)
    grey = np.arange(32 * 40, dtype=np.uint16).reshape(32, 40)
    with tempfile.TemporaryDirectory() as folder:
        for ds, syntax in _native(picture, grey):
            yield frames.write(Path(folder) / "seed", ds, syntax).read_bytes()
        for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
            for make in (_colour, _grey):
                yield _compressed(Path(folder) / "seed", make(picture, grey), syntax)
        for make in (_colour, _grey):
            yield _lossless_jpeg(Path(folder) / "seed", make(picture, grey))
        coded = [frames.jpeg(picture, transform=True, subsampling=n) for n in (0, 2)]
        ds = frames.jpeg_dataset(coded, *picture.shape[:2])
        yield frames.write(Path(folder) / "seed", ds, frames.JPEG_BASELINE).read_bytes()


def _colour(picture: Any, grey: Any) -> Dataset:
    return frames.image_dataset(picture.tobytes(), *picture.shape[:2])


def _grey(picture: Any, grey: Any) -> Dataset:
    return frames.monochrome(grey, NumberOfFrames=1, WindowCenter=600, WindowWidth=900)


def _native(picture: Any, grey: Any) -> Iterator[tuple[Dataset, str]]:
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian):
        yield _colour(picture, grey), syntax
        yield _grey(picture, grey), syntax
    eight = (grey >> 3).astype(np.uint8)
    table = np.arange(256, dtype=np.uint16).tobytes()
    segments = np.array([0, 2, 7, 9, 1, 253, 255, 2, 1, 0, 0], np.uint16).tobytes()
    for prefix, value in (("", table), ("Segmented", segments)):
        tables: dict[str, object] = {}
        for colour in ("Red", "Green", "Blue"):
            tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            tables[f"{prefix}{colour}PaletteColorLookupTableData"] = value
        ds = frames.monochrome(eight, PhotometricInterpretation="PALETTE COLOR", **tables)
        yield ds, ExplicitVRLittleEndian
    cine = frames.monochrome(eight, NumberOfFrames=3)
    cine.PixelData = eight.tobytes() * 3
    yield cine, ExplicitVRLittleEndian


def _compressed(path: Path, ds: Dataset, syntax: str) -> bytes:
    frames.write(path, ds)
    read = dcmread(path)
    read.compress(syntax, generate_instance_uid=False)
    read.save_as(path)
    return path.read_bytes()


def _lossless_jpeg(path: Path, ds: Dataset) -> bytes:
    reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(frames.write(path, ds)))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path.read_bytes()


def seed_of(file: Path) -> bytes | None:
    """Return a real file as a seed, cut where it is long; its first frames may be whole."""
    return file.read_bytes()[:_LONGEST_SEED]
