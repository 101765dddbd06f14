"""The frames of a segmentation: which source frame each one shows, and its packed bits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.context import Source
from dicom_io.errors import ObjectError
from dicom_io.findings import NodeFinding, NodeView


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
    source = frame.source
    plane = np.zeros((source.rows, source.columns), dtype=bool)
    for view in frame.views:
        height, width = view.mask.shape
        if not (
            0 <= view.row <= source.rows - height and 0 <= view.column <= source.columns - width
        ):
            raise ObjectError("a mask reaches beyond its source frame")
        plane[view.row : view.row + height, view.column : view.column + width] |= view.mask
    return plane


def pack(planes: Iterable[NDArray[np.bool_]]) -> bytes:
    """Return the bits of all frames, first pixel in the least significant bit (PS3.5 8.1.1).

    Frames follow each other without padding, so eight of them always end on a byte: eight are
    packed at a time, which keeps a long cine's unpacked bits out of memory.
    """
    remaining = iter(planes)
    packed = bytearray()
    while chunk := list(islice(remaining, 8)):
        bits = np.concatenate([plane.ravel() for plane in chunk])
        packed += np.packbits(bits, bitorder="little").tobytes()
    if len(packed) % 2:
        packed += b"\0"
    return bytes(packed)


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
    derivation = [codes.SEGMENTATION.item()]  # shared: items are only written, never changed
    purpose = [codes.SOURCE_IMAGE.item()]
    for frame in frames:
        ds = Dataset()
        ds.FrameContentSequence = [_frame_content(frame)]
        ds.DerivationImageSequence = [_derivation(frame, derivation, purpose)]
        ds.SegmentIdentificationSequence = [Dataset()]
        ds.SegmentIdentificationSequence[0].ReferencedSegmentNumber = frame.segment
        if positions:
            ds.PlanePositionSequence = [Dataset()]
            ds.PlanePositionSequence[0].ImagePositionPatient = [0, 0, frame.position - 1]
        yield ds


def _frame_content(frame: SegFrame) -> Dataset:
    ds = Dataset()
    ds.StackID = "1"
    ds.InStackPositionNumber = frame.position
    ds.DimensionIndexValues = [frame.segment, frame.position]
    if frame.source.is_cine and not frame.source.names_frames:
        ds.FrameComments = f"Frame {frame.frame_number} of the source image"
    return ds


def _derivation(frame: SegFrame, derivation: list[Dataset], purpose: list[Dataset]) -> Dataset:
    ds = Dataset()
    ds.DerivationCodeSequence = derivation
    image = reference(frame.source, frame.frame_number)
    image.PurposeOfReferenceCodeSequence = purpose
    ds.SourceImageSequence = [image]
    return ds


def reference(source: Source, *frame_numbers: int) -> Dataset:
    """Return an image reference; frames are named only where there are several (PS3.3 10.3)."""
    ds = Dataset()
    ds.ReferencedSOPClassUID = source.sop_class_uid
    ds.ReferencedSOPInstanceUID = source.sop_instance_uid
    if source.names_frames and frame_numbers:
        ds.ReferencedFrameNumber = list(frame_numbers)
    return ds
