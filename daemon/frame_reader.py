"""The frames of one image through the model: decode, leave out what is too colourful, predict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daemon.panels import Panel
from dicom_io.errors import FrameError
from dicom_io.findings import Calibration, Exclusion, Reason
from dicom_io.frames import Image
from model.measure import Shape, measure
from model.nodes import PredictedNode
from model.preprocess import Prepared, Spec, prepare
from model.tissue import colour_fraction, grey_without_overlay

_COLOUR_LIMIT = 0.25  # of the tissue; above it the grey image is not what the model was trained on
_BATCH = 8  # regions predicted together


class Predicting(Protocol):
    """What the pipeline asks of `model.runtime.Predictor`."""

    def predict(self, batch: Sequence[Prepared]) -> list[list[PredictedNode]]:
        """Return the nodes of each prepared frame."""


@dataclass(frozen=True)
class Seen:
    """One node on one frame."""

    node: PredictedNode
    shape: Shape
    frame_number: int

    @property
    def row(self) -> int:
        """Top row of the node's mask in the frame."""
        return self.node.row

    @property
    def column(self) -> int:
        """Left column of the node's mask in the frame."""
        return self.node.column

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Mask of the node, (h, w), cropped to it."""
        return self.node.mask


@dataclass
class Reading:
    """What is gathered while one image is read."""

    frames: list[int] = field(default_factory=list)  # 1-based, analysed
    seen: list[list[list[Seen]]] = field(default_factory=list)  # by panel, by analysed frame
    exclusions: list[Exclusion] = field(default_factory=list)
    most_colour: float = 0.0  # greatest share of a panel that was filled
    panels_left_out: bool = False  # a panel of a dual view was too colourful, the other was read


@dataclass(frozen=True)
class _Waiting:
    """One panel of one frame on its way through the model."""

    position: int  # among the analysed frames
    panel: int
    frame_number: int
    prepared: Prepared
    grey: NDArray[np.uint8]  # the whole frame, overlay filled


def read_frames(
    image: Image,
    indices: Sequence[int],
    panels: Sequence[Panel],
    predictor: Predicting,
    spec: Spec,
    progress: Callable[[], None],
) -> Reading:
    """Read the frames at `indices` (from 0) of an image, panel by panel; see `Reading`."""
    reading = Reading(seen=[[] for _ in panels])
    waiting: list[_Waiting] = []
    for index in indices:
        progress()
        reason = _take(image, index, panels, spec, reading, waiting)
        if reason is not None:
            number = index + 1 if image.frame_count > 1 else None
            reading.exclusions.append(Exclusion(image.sop_instance_uid, number, reason))
        if len(waiting) >= _BATCH:
            _predict(waiting, panels, predictor, reading)
    if waiting:
        _predict(waiting, panels, predictor, reading)
    return reading


def _take(
    image: Image,
    index: int,
    panels: Sequence[Panel],
    spec: Spec,
    reading: Reading,
    waiting: list[_Waiting],
) -> Reason | None:
    """Put the panels of a frame in line; return why none of them can be read."""
    try:
        frame = image.frame(index)
    except FrameError as error:
        return Reason(error.reason)
    shares = [colour_fraction(frame, panel.box) for panel in panels]
    readable = [number for number, share in enumerate(shares) if share <= _COLOUR_LIMIT]
    if not readable:
        return Reason.COLOUR_OVERLAY
    reading.most_colour = max(reading.most_colour, *(shares[number] for number in readable))
    reading.panels_left_out |= len(readable) < len(panels)
    grey = grey_without_overlay(frame)
    for number in range(len(panels)):
        reading.seen[number].append([])
    for number in readable:
        prepared = prepare(frame, panels[number].box, spec)
        waiting.append(_Waiting(len(reading.frames), number, index + 1, prepared, grey))
    reading.frames.append(index + 1)
    return None


def _predict(
    waiting: list[_Waiting], panels: Sequence[Panel], predictor: Predicting, reading: Reading
) -> None:
    answers = predictor.predict([item.prepared for item in waiting])
    for item, nodes in zip(waiting, answers, strict=True):
        spacing = _spacing(panels[item.panel].calibration)
        reading.seen[item.panel][item.position] = [
            Seen(n, measure(n.mask, n.row, n.column, item.grey, spacing), item.frame_number)
            for n in sorted(nodes, key=lambda n: (n.column, n.row))
        ]
    waiting.clear()


def _spacing(calibration: Calibration | None) -> tuple[float, float] | None:
    return (calibration.row_mm, calibration.column_mm) if calibration else None
