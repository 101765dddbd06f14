"""Synthetic ultrasound as DICOM: arrays in, Part 10 files out, the same bytes every time.

US Image (PS3.3 A.6) and US Multi-frame Image (A.7) objects of patients who are visibly invented.
UIDs derive from what the image is, dates are fixed.
"""

import hashlib
import io
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as ItemSequence
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from .uids import IMPLEMENTATION_CLASS_UID

_DATE, _TIME = "20260105", "090000"
_FRAME_MS = 50.0
_JPEG_QUALITY = 90
_CENTIMETRES, _SECONDS, _CM_PER_SECOND = 3, 4, 7  # PS3.3 C.8.5.5.1.15
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601


class Encoding(StrEnum):
    """How the pixels are written."""

    EXPLICIT = "explicit"  # RGB, uncompressed
    RLE = "rle"  # RGB
    JPEG = "jpeg"  # YBR_FULL_422, baseline, lossy
    JPEG2000 = "jpeg2000"  # YBR_RCT, reversible
    PALETTE = "palette"  # PALETTE COLOR of 256 greys, RLE
    MONOCHROME = "monochrome"  # MONOCHROME2, RLE


_SYNTAX = {
    Encoding.EXPLICIT: ExplicitVRLittleEndian,
    Encoding.RLE: RLELossless,
    Encoding.JPEG: JPEGBaseline8Bit,
    Encoding.JPEG2000: JPEG2000Lossless,
    Encoding.PALETTE: RLELossless,
    Encoding.MONOCHROME: RLELossless,
}
_CLASSES: dict[bool, str] = {
    False: UltrasoundImageStorage,
    True: UltrasoundMultiFrameImageStorage,
}
_PHOTOMETRIC = {
    Encoding.JPEG: "YBR_FULL_422",
    Encoding.JPEG2000: "YBR_RCT",  # PS3.5 8.2.4: the reversible transform is used
    Encoding.PALETTE: "PALETTE COLOR",
    Encoding.MONOCHROME: "MONOCHROME2",
}


@dataclass(frozen=True)
class SyntheticRegion:
    """One item of SequenceOfUltrasoundRegions."""

    box: tuple[int, int, int, int]  # x0, y0, x1, y1, half open
    mm_per_px: float | None  # of a tissue region; None: a trace over time
    kind: str  # tissue, colour or spectral


@dataclass(frozen=True)
class SyntheticImage:
    """One image to be written, and whose it is said to be."""

    patient: int  # number of the invented patient, 1..99
    study: str  # key of the study: same key, same Study Instance UID
    series: int  # Series Number
    instance: int  # Instance Number
    laterality: str  # "R", "L" or "" for unknown
    frames: NDArray[np.uint8]  # (N, H, W, 3) RGB
    encoding: Encoding
    regions: tuple[SyntheticRegion, ...]  # empty: left out of the file
    colour_flow: bool = False  # Doppler colour is drawn on it
    model_name: str = "phantom"  # of the invented scanner


def uid(*parts: object) -> str:
    """Return a UID that is always the same for the same parts (PS3.5 B.2: 2.25 and a number)."""
    text = "\x1f".join(str(part) for part in ("axnode synthetic", *parts))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    # the layout of a name-based UUID (RFC 4122), which is what 2.25 is for
    number = number & ~(0xF << 76) | (5 << 76)
    number = number & ~(0x3 << 62) | (2 << 62)
    return f"2.25.{number}"


def study_uid(seed: int, study: str) -> str:
    """Return the Study Instance UID of a synthetic study."""
    return uid(seed, study)


def dataset(image: SyntheticImage, seed: int) -> Dataset:
    """Return the whole data set, file meta information included.

    Parameters
    ----------
    image
        What to write.
    seed
        Of the pictures; studies of different seeds have different UIDs.
    """
    ds = Dataset()
    several = image.frames.shape[0] > 1
    ds.SOPClassUID = _CLASSES[several]
    _patient_and_study(ds, image, seed)
    _series_and_equipment(ds, image, seed)
    _image(ds, image, several)
    _anatomy(ds, image.laterality)
    if image.regions:
        ds.SequenceOfUltrasoundRegions = ItemSequence([_region(r) for r in image.regions])
    _pixels(ds, image)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = _SYNTAX[image.encoding]
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    return ds


def file_bytes(image: SyntheticImage, seed: int) -> bytes:
    """Return the image as the bytes of a Part 10 file."""
    buffer = io.BytesIO()
    dataset(image, seed).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _patient_and_study(ds: Dataset, image: SyntheticImage, seed: int) -> None:
    ds.PatientName = f"PHANTOM^AXILLA {image.patient:02d}"
    ds.PatientID = f"PHANTOM-{image.patient:02d}"
    ds.PatientBirthDate = ""
    ds.PatientSex = ""
    ds.StudyInstanceUID = study_uid(seed, image.study)
    ds.StudyID = f"PH{image.patient:02d}"
    ds.StudyDescription = "US AXILLA"
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    for part in ("Study", "Series", "Content"):
        setattr(ds, f"{part}Date", _DATE)
        setattr(ds, f"{part}Time", _TIME)


def _series_and_equipment(ds: Dataset, image: SyntheticImage, seed: int) -> None:
    ds.Modality = "US"
    ds.SeriesInstanceUID = uid(seed, image.study, image.series)
    ds.SOPInstanceUID = uid(seed, image.study, image.series, image.instance)
    ds.SeriesNumber = image.series
    ds.InstanceNumber = image.instance
    side = {"R": "right", "L": "left"}.get(image.laterality, "side not stated")
    ds.SeriesDescription = f"Axilla {side}, synthetic"
    ds.BodyPartExamined = "AXILLA"
    if image.laterality:
        ds.Laterality = image.laterality
    ds.Manufacturer = "AxNode phantom generator"
    ds.ManufacturerModelName = image.model_name
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = "1"
    ds.SpecificCharacterSet = "ISO_IR 100"


def _image(ds: Dataset, image: SyntheticImage, several: bool) -> None:
    # PS3.3 C.8.5.6.1.1: value 3 is the application, value 4 the kinds of data (2D, colour)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "SMALL PARTS", "0011" if image.colour_flow else "0001"]
    ds.UltrasoundColorDataPresent = int(image.colour_flow)
    ds.BurnedInAnnotation = "NO"  # text, but none that could identify a person
    ds.PatientOrientation = ""
    if several:
        ds.NumberOfFrames = image.frames.shape[0]
        ds.FrameTime = _FRAME_MS
        ds.FrameIncrementPointer = 0x00181063


def _anatomy(ds: Dataset, laterality: str) -> None:
    ds.AnatomicRegionSequence = ItemSequence([_code("91470000", "Axilla")])
    side = {"R": ("24028007", "Right"), "L": ("7771000", "Left")}.get(laterality)
    if side is not None:
        ds.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = ItemSequence([_code(*side)])


def _code(value: str, meaning: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue = value
    ds.CodingSchemeDesignator = "SCT"
    ds.CodeMeaning = meaning
    return ds


def _region(region: SyntheticRegion) -> Dataset:
    ds = Dataset()
    spectral = region.kind == "spectral"
    ds.RegionSpatialFormat = 3 if spectral else 1  # C.8.5.5.1.1
    ds.RegionDataType = {"tissue": 1, "colour": 2, "spectral": 3}[region.kind]  # C.8.5.5.1.2
    ds.RegionFlags = 0
    x0, y0, x1, y1 = region.box
    ds.RegionLocationMinX0, ds.RegionLocationMinY0 = x0, y0
    ds.RegionLocationMaxX1, ds.RegionLocationMaxY1 = x1 - 1, y1 - 1
    if region.mm_per_px is None or spectral:
        ds.PhysicalUnitsXDirection, ds.PhysicalUnitsYDirection = _SECONDS, _CM_PER_SECOND
        ds.PhysicalDeltaX, ds.PhysicalDeltaY = 4.0 / (x1 - x0), -145.0 / (y1 - y0)
        return ds
    ds.PhysicalUnitsXDirection, ds.PhysicalUnitsYDirection = _CENTIMETRES, _CENTIMETRES
    ds.PhysicalDeltaX = ds.PhysicalDeltaY = region.mm_per_px / 10
    return ds


def _pixels(ds: Dataset, image: SyntheticImage) -> None:
    frames = image.frames
    grey = image.encoding in (Encoding.PALETTE, Encoding.MONOCHROME)
    if grey:
        frames = np.rint(frames @ _LUMA).astype(np.uint8)
    ds.Rows, ds.Columns = frames.shape[1:3]
    ds.SamplesPerPixel = 1 if grey else 3
    ds.PhotometricInterpretation = _PHOTOMETRIC.get(image.encoding, "RGB")
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    if not grey:
        ds.PlanarConfiguration = 0
    ds.LossyImageCompression = "00"
    if image.encoding is Encoding.PALETTE:
        _palette(ds)
    if image.encoding is Encoding.JPEG:
        _jpeg(ds, frames)
        return
    ds.PixelData = frames.tobytes()
    ds["PixelData"].VR = "OB"
    if _SYNTAX[image.encoding] != ExplicitVRLittleEndian:
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(_SYNTAX[image.encoding], generate_instance_uid=False)


def _jpeg(ds: Dataset, frames: NDArray[np.uint8]) -> None:
    coded = [_jpeg_frame(frame) for frame in frames]
    ds.PixelData = encapsulate(coded)
    ds["PixelData"].VR = "OB"
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionRatio = round(frames.nbytes / sum(len(frame) for frame in coded), 1)
    ds.LossyImageCompressionMethod = "ISO_10918_1"


def _jpeg_frame(frame: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling="4:2:2")
    return buffer.getvalue()


def _palette(ds: Dataset) -> None:
    """Add a palette of 256 slightly warm greys (PS3.3 C.7.6.3.1.5)."""
    ramp = np.arange(256, dtype=np.float64) * 257
    for name, share in (("Red", 1.0), ("Green", 0.98), ("Blue", 0.93)):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = np.rint(ramp * share).astype("<u2").tobytes()
        setattr(ds, f"{name}PaletteColorLookupTableData", table)
