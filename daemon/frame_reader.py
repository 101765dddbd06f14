"""The frames of one image through the model: decode, leave out what is too colourful, predict.

A panel that shows what it showed on an earlier frame, to the pixel, is not predicted again: a
frozen cine has one picture, whatever a clock beside it says.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daemon.panels import Panel
from dicom_io.errors import FrameError
from dicom_io.findings import Calibration, Exclusion, Reason
from dicom_io.frames import Image
from model.measure import MARGIN_REACH_PX, Shape, measure
from model.nodes import PredictedNode
from model.preprocess import Prepared, Spec, prepare
from model.tissue import colour_fraction, grey_without_overlay

_COLOUR_LIMIT = 0.25  # of the tissue; above it the grey image is not what the model was trained on
_BATCH = 4  # regions predicted together; more take memory, and on processors no less time


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


class _Frame:
    """A decoded frame while panels of it wait for the model."""

    def __init__(self, number: int, pixels: NDArray[np.uint8]) -> None:
        self.number = number  # 1-based
        self.pixels = pixels  # (H, W, 3)

    @cached_property
    def grey(self) -> NDArray[np.uint8]:
        """The whole frame, overlay filled; most frames show no node and are never asked for it."""
        return grey_without_overlay(self.pixels)


@dataclass
class _View:
    """What one panel shows, on all frames on which it shows just this."""

    panel: Panel
    colour: float  # share that is covered by colour
    seen: list[Seen] = field(default_factory=list)  # on the first of the frames, once predicted

    @property
    def readable(self) -> bool:
        """Whether the colour leaves enough grey."""
        return self.colour <= _COLOUR_LIMIT


@dataclass
class _Views:
    """The views of one image so far, and those that wait for the model."""

    panels: Sequence[Panel]
    spec: Spec
    known: dict[tuple[int, bytes], _View] = field(default_factory=dict)  # by panel and digest
    waiting: list[tuple[_View, Prepared, _Frame]] = field(default_factory=list)

    def of(self, frame: _Frame) -> list[_View]:
        """Return what each panel shows on a frame; what is new and readable waits."""
        return [self._view(number, panel, frame) for number, panel in enumerate(self.panels)]

    def _view(self, number: int, panel: Panel, frame: _Frame) -> _View:
        key = number, _digest(frame.pixels, panel)
        if key not in self.known:
            view = self.known[key] = _View(panel, colour_fraction(frame.pixels, panel.box))
            if view.readable:
                prepared = prepare(frame.pixels, panel.box, self.spec)
                self.waiting.append((view, prepared, frame))
        return self.known[key]

    def predict(self, predictor: Predicting) -> None:
        """Have the model read what waits."""
        answers = predictor.predict([prepared for _, prepared, _ in self.waiting])
        for (view, _, frame), nodes in zip(self.waiting, answers, strict=True):
            spacing = _spacing(view.panel.calibration)
            view.seen = [
                Seen(n, measure(n.mask, n.row, n.column, frame.grey, spacing), frame.number)
                for n in sorted(nodes, key=lambda n: (n.column, n.row))
            ]
        self.waiting.clear()


def _digest(pixels: NDArray[np.uint8], panel: Panel) -> bytes:
    """Hash all pixels that decide on what is found in a panel: its own, and a margin's."""
    x0, y0, x1, y1 = panel.box
    top, left = max(y0 - MARGIN_REACH_PX, 0), max(x0 - MARGIN_REACH_PX, 0)
    part = pixels[top : y1 + MARGIN_REACH_PX, left : x1 + MARGIN_REACH_PX]
    return hashlib.sha256(np.ascontiguousarray(part).data).digest()


def read_frames(
    image: Image,
    indices: Sequence[int],
    panels: Sequence[Panel],
    predictor: Predicting,
    spec: Spec,
    progress: Callable[[], None],
) -> Reading:
    """Read the frames at `indices` (from 0) of an image, panel by panel; see `Reading`."""
    reading = Reading()
    views = _Views(panels, spec)
    shown: list[list[_View]] = []  # by analysed frame, by panel
    for index in indices:
        progress()
        found = _look(image, index, views)
        if isinstance(found, Reason):
            number = index + 1 if image.frame_count > 1 else None
            reading.exclusions.append(Exclusion(image.sop_instance_uid, number, found))
            continue
        reading.frames.append(index + 1)
        shown.append(found)
        if len(views.waiting) >= _BATCH:
            views.predict(predictor)
    if views.waiting:
        views.predict(predictor)
    every = [view for found in shown for view in found]
    reading.most_colour = max((view.colour for view in every if view.readable), default=0.0)
    reading.panels_left_out = not all(view.readable for view in every)
    reading.seen = [
        [
            [replace(seen, frame_number=number) for seen in found[panel].seen]
            for number, found in zip(reading.frames, shown, strict=True)
        ]
        for panel in range(len(panels))
    ]
    return reading


def _look(image: Image, index: int, views: _Views) -> list[_View] | Reason:
    """Return what the panels of a frame show, or why none of them can be read."""
    try:
        frame = _Frame(index + 1, image.frame(index))
    except FrameError as error:
        return Reason(error.reason)
    found = views.of(frame)
    return found if any(view.readable for view in found) else Reason.COLOUR_OVERLAY


def _spacing(calibration: Calibration | None) -> tuple[float, float] | None:
    return (calibration.row_mm, calibration.column_mm) if calibration else None
