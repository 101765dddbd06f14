"""Reading a binary SEG back: which pixels of which source frame belong to which segment."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_io.errors import ObjectError
from dicom_io.header import DAMAGE, quiet
from dicom_io.seg_frames import unpack


@dataclass(frozen=True)
class SegMask:
    """One stored frame of a SEG."""

    sop_instance_uid: str  # of the source image
    frame_number: int  # 1-based, of the source image
    segment_number: int
    label: str  # of the segment
    mask: NDArray[np.bool_]  # (H, W) of the source frame


def masks(path: Path) -> Iterator[SegMask]:
    """Yield the frames of a SEG file in their stored order.

    Raises
    ------
    ObjectError
        The file is not a binary SEG.
    """
    with _readable(path):
        ds = _binary(path)
        labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in ds.SegmentSequence}
        for index, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
            source = _source(ds, group)
            number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            yield SegMask(
                sop_instance_uid=str(source.ReferencedSOPInstanceUID),
                frame_number=_frame_number(source),
                segment_number=number,
                label=labels[number],
                mask=unpack(ds.PixelData, index, int(ds.Rows), int(ds.Columns)),
            )


def union(path: Path, sop_instance_uid: str, frame_number: int) -> NDArray[np.bool_]:
    """Unite all segments on one source frame.

    A frame that the SEG leaves out of an image it refers to holds no segment (PS3.3 A.51).

    Parameters
    ----------
    frame_number
        1-based, of the source image.

    Returns
    -------
    NDArray[np.bool_]
        (H, W) of the SEG, which are those of the source.

    Raises
    ------
    ObjectError
        The file is not a binary SEG, or does not refer to the image.
    """
    with _readable(path):
        ds = _binary(path)
        sources = [_source(ds, group) for group in ds.PerFrameFunctionalGroupsSequence]
        known = {str(source.ReferencedSOPInstanceUID) for source in sources} | _listed(ds)
        if sop_instance_uid not in known:
            raise ObjectError(f"{path.name} does not refer to the image")
        mask = np.zeros((int(ds.Rows), int(ds.Columns)), np.bool_)
        for index, source in enumerate(sources):
            same = str(source.ReferencedSOPInstanceUID) == sop_instance_uid
            if same and _frame_number(source) == frame_number:
                mask |= unpack(ds.PixelData, index, *mask.shape)
    return mask


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Translate what pydicom raises on a file that is none or lacks what a SEG has."""
    try:
        yield
    except (*DAMAGE, OSError):  # whose words may quote a value
        raise ObjectError(f"{path.name} is not a readable segmentation object") from None


def _binary(path: Path) -> Dataset:
    with quiet():
        ds = pydicom.dcmread(path)
    if ds.get("SegmentationType") != "BINARY":
        raise ObjectError(f"{path.name} is not a binary segmentation object")
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        raise ObjectError(f"{path.name} holds compressed masks, which are not read: decompress it")
    return ds


def _source(ds: Dataset, group: Dataset) -> Dataset:
    """Return the source image of a frame; what all frames share stands in the shared groups."""
    if "DerivationImageSequence" not in group:
        group = ds.SharedFunctionalGroupsSequence[0]
    source: Dataset = group.DerivationImageSequence[0].SourceImageSequence[0]
    return source


def _frame_number(source: Dataset) -> int:
    return int(source.get("ReferencedFrameNumber", 1))


def _listed(ds: Dataset) -> set[str]:
    """Instances that the SEG as a whole refers to, with segments on them or without."""
    return {
        str(instance.ReferencedSOPInstanceUID)
        for series in ds.get("ReferencedSeriesSequence", ())
        for instance in series.ReferencedInstanceSequence
    }
