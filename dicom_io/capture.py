"""Secondary Capture of a finding drawn on its frame: for archives and viewers without SEG."""

from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_io import codes, context
from dicom_io.context import (
    Source,
    common_side,
    describe,
    series_description,
    state_lossiness,
)
from dicom_io.errors import ObjectError
from dicom_io.findings import StudyFindings
from dicom_io.results import BuiltObject, UidMaker, finish
from dicom_io.seg_frames import reference

SERIES_NUMBER = 9101
_LARGEST = 0xFFFF  # Rows and Columns are US


def capture(
    findings: StudyFindings,
    source_path: Path,
    frame_number: int,
    picture: NDArray[np.uint8],
    uid: UidMaker,
    ordinal: int,
    now: datetime,
) -> BuiltObject:
    """Return a picture of one source frame, lossless, in one series with its likes.

    Parameters
    ----------
    source_path
        The image that the picture shows.
    frame_number
        1-based frame of it.
    picture
        (H, W, 3) uint8 RGB, contours and values already drawn.
    uid
        As for `results.build`. Roles asked for: `sc`, and `sc_series` with ordinal 0.
    ordinal
        0-based number of the picture.

    Raises
    ------
    ObjectError
        The picture is no RGB frame, or the object does not validate.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ObjectError("a capture needs an RGB picture of bytes")
    if max(picture.shape) > _LARGEST:
        raise ObjectError("a picture is larger than DICOM can hold")
    source = context.read_source(source_path)
    when = context.stamp(now, source)
    described = {
        "SOPClassUID": SecondaryCaptureImageStorage,
        "SOPInstanceUID": uid("sc", ordinal),
        "StudyInstanceUID": findings.study_instance_uid,
        "SeriesInstanceUID": uid("sc_series", 0),
    }
    ds = Dataset()
    describe(ds, findings, described, when, SERIES_NUMBER)
    ds.InstanceNumber = ordinal + 1
    ds.Modality = "OT"
    ds.Laterality = common_side(findings.nodes)
    ds.SeriesDescription = series_description(findings, "lymph nodes pictures")
    _derivation(ds, findings, source, frame_number)
    _pixels(ds, picture)
    return finish("sc", ordinal, ds, source, findings, [source])


def _derivation(ds: Dataset, findings: StudyFindings, source: Source, frame_number: int) -> None:
    """SC Equipment and General Image (PS3.3 C.8.6.1, C.7.6.1)."""
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.PatientOrientation = ""
    ds.BurnedInAnnotation = "YES"  # our own text, and what the source's frame had
    ds.DerivationDescription = "Contours and measurements of a model drawn on the image"
    origin = reference(source, frame_number)
    origin.PurposeOfReferenceCodeSequence = [codes.SOURCE_IMAGE.item()]
    ds.SourceImageSequence = [origin]
    if findings.algorithm.demonstration:
        ds.ImageComments = "DEMONSTRATION. Not for clinical use."
    state_lossiness(ds, source.ds)


def _pixels(ds: Dataset, picture: NDArray[np.uint8]) -> None:
    ds.Rows, ds.Columns = picture.shape[:2]
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = ds.PixelRepresentation = 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    data = np.ascontiguousarray(picture).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB"
