"""The frames of a segmentation: which source frame each one shows, and its packed bits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.context import Source
from dicom_io.errors import ObjectError
from dicom_io.findings import NodeFinding, NodeView
from dicom_io.items import new_item, put


@dataclass(frozen=True)
class SegFrame:
    """One stored frame: one segment on one source frame."""

    segment: int  # 1-based ReferencedSegmentNumber
    source: Source
    frame_number: int  # 1-based frame of the source
    position: int  # 1-based rank of the source frame among those that the SEG shows
    views: tuple[NodeView, ...]  # what is drawn on it, in parts that are joined; none: empty


def frames_of(
    nodes: Sequence[NodeFinding],
    sources: Sequence[Source],
    kept: Mapping[str, Sequence[int]] | None = None,
) -> tuple[SegFrame, ...]:
    """Return the stored frames, by segment and then by place in the series.

    Parameters
    ----------
    kept
        Frame numbers per SOP Instance UID that every segment has though they may be empty; None:
        only frames that show any pixel.
    """
    by_uid = {source.sop_instance_uid: source for source in sources}
    order = {source.sop_instance_uid: index for index, source in enumerate(sources)}
    drawn = [_by_frame(node) for node in nodes]
    always = {(uid, number) for uid in by_uid for number in (kept or {}).get(uid, ())}
    places = sorted(always.union(*drawn), key=lambda key: (order[key[0]], key[1]))
    rank = {key: position for position, key in enumerate(places, 1)}
    return tuple(
        SegFrame(segment, by_uid[key[0]], key[1], rank[key], tuple(views.get(key, ())))
        for segment, views in enumerate(drawn, 1)
        for key in sorted(always.union(views), key=rank.__getitem__)
    )


def _by_frame(node: NodeFinding) -> dict[tuple[str, int], list[NodeView]]:
    views: dict[tuple[str, int], list[NodeView]] = {}
    for view in node.views:
        if view.mask.any():
            views.setdefault((view.sop_instance_uid, view.frame_number), []).append(view)
    if not views:
        raise ObjectError(f"{node.label} has no pixel on any frame")
    return views


def paint(frame: SegFrame) -> NDArray[np.bool_]:
    """Return the (rows, columns) bool mask of one stored frame."""
    plane = np.zeros((frame.source.rows, frame.source.columns), dtype=bool)
    first, band = band_of(frame)
    plane[first : first + len(band)] = band
    return plane


def band_of(frame: SegFrame) -> tuple[int, NDArray[np.bool_]]:
    """Return the rows of a stored frame that show anything: the first one's number, the rows."""
    source, views = frame.source, frame.views
    if any(not _fits(view, source) for view in views):
        raise ObjectError("a mask reaches beyond its source frame")
    first = min((view.row for view in views), default=0)
    end = max((view.row + len(view.mask) for view in views), default=0)
    band = np.zeros((end - first, source.columns), dtype=bool)
    for view in views:
        height, width = view.mask.shape
        top = view.row - first
        band[top : top + height, view.column : view.column + width] |= view.mask
    return first, band


def _fits(view: NodeView, source: Source) -> bool:
    height, width = view.mask.shape
    down, right = source.rows - height, source.columns - width
    return bool(0 <= view.row <= down and 0 <= view.column <= right)


def pack(bands: Iterable[tuple[int, NDArray[np.bool_]]], count: int, size: int) -> bytes:
    """Return the bits of all frames, first pixel in the least significant bit (PS3.5 8.1.1).

    Frames follow each other without padding, so one may begin within a byte.

    Parameters
    ----------
    bands
        The rows of each frame that show anything, as `band_of` returns them.
    count, size
        Number of frames, and of pixels in each.
    """
    packed = np.zeros(-(-count * size // 16) * 2, np.uint8)  # even, as every value (PS3.5 7.1.1)
    for index, (first, band) in enumerate(bands):
        start = index * size + first * band.shape[1]
        bits = np.concatenate([np.zeros(start % 8, bool), band.ravel()])
        octets = np.packbits(bits, bitorder="little")
        packed[start // 8 : start // 8 + len(octets)] |= octets
    return packed.tobytes()


def unpack(data: bytes, index: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """Return frame `index` (0-based) of packed bits as a (rows, columns) bool mask."""
    size = rows * columns
    first, last = index * size, (index + 1) * size
    raw = np.frombuffer(data, dtype=np.uint8)[first // 8 : -(-last // 8)]
    bits = np.unpackbits(raw, bitorder="little")[first % 8 : first % 8 + size]
    return bits.astype(bool).reshape(rows, columns)


def functional_groups(frames: Sequence[SegFrame], *, positions: bool) -> Iterator[Dataset]:
    """Yield the per-frame functional groups (PS3.3 C.7.6.16).

    Parameters
    ----------
    positions
        Write an invented ImagePositionPatient, one millimetre per source frame.
    """
    for frame in frames:
        ds = new_item()
        ds.FrameContentSequence = [_frame_content(frame)]
        ds.DerivationImageSequence = [_derivation(frame)]
        ds.SegmentIdentificationSequence = [new_item()]
        ds.SegmentIdentificationSequence[0].ReferencedSegmentNumber = frame.segment
        if positions:
            ds.PlanePositionSequence = [new_item()]
            ds.PlanePositionSequence[0].ImagePositionPatient = [0, 0, frame.position - 1]
        yield ds


def _frame_content(frame: SegFrame) -> Dataset:
    ds = new_item()
    put(ds, "StackID", "1")
    ds.InStackPositionNumber = frame.position
    ds.DimensionIndexValues = [frame.segment, frame.position]
    if frame.source.is_cine and not frame.source.names_frames:
        ds.FrameComments = f"Frame {frame.frame_number} of the source image"
    return ds


def _derivation(frame: SegFrame) -> Dataset:
    ds = new_item()
    put(ds, "DerivationCodeSequence", codes.SEGMENTATION)
    image = reference(frame.source, frame.frame_number)
    put(image, "PurposeOfReferenceCodeSequence", codes.SOURCE_IMAGE)
    ds.SourceImageSequence = [image]
    return ds


def reference(source: Source, *frame_numbers: int) -> Dataset:
    """Return an image reference; frames are named only where there are several (PS3.3 10.3)."""
    ds = new_item()
    put(ds, "ReferencedSOPClassUID", source.sop_class_uid)
    put(ds, "ReferencedSOPInstanceUID", source.sop_instance_uid)
    if source.names_frames and frame_numbers:
        ds.ReferencedFrameNumber = list(frame_numbers)
    return ds
