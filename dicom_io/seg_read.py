"""Reading a binary SEG back: which pixels of which source frame belong to which segment."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_io.errors import ObjectError
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
    ds = pydicom.dcmread(path)
    if ds.get("SegmentationType") != "BINARY":
        raise ObjectError(f"{path.name} is not a binary segmentation object")
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in ds.SegmentSequence}
    for index, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        yield SegMask(
            sop_instance_uid=str(source.ReferencedSOPInstanceUID),
            frame_number=int(source.get("ReferencedFrameNumber", 1)),
            segment_number=number,
            label=labels[number],
            mask=unpack(ds.PixelData, index, int(ds.Rows), int(ds.Columns)),
        )
