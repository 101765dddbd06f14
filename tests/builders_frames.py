"""Ultrasound files made in memory for the tests of decoding; no person's data."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def us_dicom() -> Path:
    """Folder of the real files; the test is skipped where there is none."""
    root = os.environ.get("AXNODE_TEST_DATA")
    if not root:
        pytest.skip("AXNODE_TEST_DATA is not set: no real ultrasound files")
    return Path(root) / "us_dicom"


def image_dataset(pixels: bytes, rows: int, columns: int, **attributes: object) -> Dataset:
    """Return a minimal ultrasound data set: 8-bit RGB unless `attributes` say otherwise."""
    ds = Dataset()
    ds.SOPClassUID = US_IMAGE
    ds.SOPInstanceUID = "1.2.3.4"
    ds.SeriesInstanceUID = "1.2.3"
    ds.StudyInstanceUID = "1.2"
    ds.Modality = "US"
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.PixelData = pixels
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    return ds


def monochrome(pixels: NDArray[np.generic], **attributes: object) -> Dataset:
    """Return a MONOCHROME2 data set of the array's bytes as they are."""
    settings: dict[str, object] = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": pixels.itemsize * 8,
        "BitsStored": pixels.itemsize * 8,
        "HighBit": pixels.itemsize * 8 - 1,
    }
    return image_dataset(pixels.tobytes(), *pixels.shape, **{**settings, **attributes})


def write(path: Path, ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a data set as a Part 10 file in the syntax, its pixel data as it stands."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta = meta
    ds.preamble = bytes(128)
    native = syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
    if not native and "PixelData" in ds:
        ds["PixelData"].is_undefined_length = True
    with path.open("wb") as file:
        dcmwrite(
            file,
            ds,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax != ExplicitVRBigEndian,
            force_encoding=True,
        )
    return path


def jpeg(planes: NDArray[np.uint8], *, transform: bool, subsampling: int = 0) -> bytes:
    """Encode three components as they are; `transform`: the markers call them YCbCr.

    Without, an Adobe marker calls them RGB.
    """
    out = BytesIO()
    height, width = planes.shape[:2]
    mode = "YCbCr" if transform else "RGB"
    image = PilImage.frombytes(mode, (width, height), planes.tobytes())
    image.save(out, "JPEG", quality=95, subsampling=subsampling, keep_rgb=not transform)
    return out.getvalue()


def jpeg_dataset(frames: list[bytes], rows: int, columns: int, **attributes: object) -> Dataset:
    """Return a data set of encapsulated frames, one fragment each."""
    settings: dict[str, object] = {"PhotometricInterpretation": "YBR_FULL_422"}
    if len(frames) > 1:
        settings["NumberOfFrames"] = len(frames)
    pixels = encapsulate(frames, has_bot=False)
    return image_dataset(pixels, rows, columns, **{**settings, **attributes})


def coloured_picture(rows: int = 48, columns: int = 64) -> NDArray[np.uint8]:
    """(rows, columns, 3) RGB: black ground, smooth grey tissue, a red and a blue vessel."""
    frame = np.zeros((rows, columns, 3), np.uint8)
    ramp = np.linspace(40, 200, columns - 16).astype(np.uint8)
    frame[8:-8, 8:-8] = ramp[None, :, None]
    frame[12:20, 16:32] = (200, 30, 20)
    frame[24:32, 16:32] = (20, 40, 210)
    return frame


def to_ybr(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Full-range YCbCr (PS3.3 C.7.6.3.1.2) of an RGB frame, by the standard's matrix."""
    matrix = np.array(
        [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], np.float64
    )
    ybr = frame.astype(np.float64) @ matrix.T + (0, 128, 128)
    return np.clip(np.rint(ybr), 0, 255).astype(np.uint8)
