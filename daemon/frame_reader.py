"""Frames of images through the model: decode, leave out what is too colourful, predict.

A panel that shows what it showed on an earlier frame of its image, to the pixel, is not predicted
again: a frozen cine has one picture, whatever a clock beside it says. What is new waits until it
fills a batch, of one image or of several.
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


class Predicting(Protocol):
    """What the pipeline asks of `model.runtime.Predictor`."""

    @property
    def together(self) -> int:
        """How many frames are best predicted together."""

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


@dataclass(frozen=True)
class Reading:
    """What was seen on one image."""

    frames: list[int]  # 1-based, analysed
    seen: list[list[list[Seen]]]  # by panel, by analysed frame
    exclusions: list[Exclusion]
    most_colour: float  # greatest share of a panel that was filled
    panels_left_out: bool  # a panel of a dual view was too colourful, the other was read


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
class _Waiting:
    """A view that waits for the model."""

    view: _View
    prepared: Prepared
    frame: _Frame  # on which it was seen first


@dataclass
class _Shown:
    """What an image shows, frame by frame."""

    image: Image
    panels: Sequence[Panel]
    known: dict[tuple[int, bytes], _View] = field(default_factory=dict)  # by panel and digest
    frames: list[int] = field(default_factory=list)  # 1-based
    views: list[list[_View]] = field(default_factory=list)  # by those frames, by panel
    exclusions: list[Exclusion] = field(default_factory=list)

    def reading(self) -> Reading:
        """Return it in order; called once nothing waits any more."""
        every = [view for views in self.views for view in views]
        return Reading(
            frames=self.frames,
            seen=[
                [
                    [replace(seen, frame_number=number) for seen in views[panel].seen]
                    for number, views in zip(self.frames, self.views, strict=True)
                ]
                for panel in range(len(self.panels))
            ],
            exclusions=self.exclusions,
            most_colour=max((view.colour for view in every if view.readable), default=0.0),
            panels_left_out=not all(view.readable for view in every),
        )


class FrameReader:
    """Reads images frame by frame, in batches that may reach from one image into the next.

    Parameters
    ----------
    spec
        How the bundle wants its input.
    progress
        Called for every frame.
    """

    def __init__(
        self, predictor: Predicting, spec: Spec, progress: Callable[[], None] = lambda: None
    ) -> None:
        self._predictor = predictor
        self.spec = spec
        self._progress = progress
        self._waiting: list[_Waiting] = []

    def read(
        self, image: Image, indices: Sequence[int], panels: Sequence[Panel]
    ) -> Callable[[], Reading]:
        """Look at the frames at `indices` (from 0), panel by panel.

        Returns
        -------
        Callable
            Gives the `Reading` once `finish` was called.
        """
        shown = _Shown(image, panels)
        for index in indices:
            self._progress()
            found = self._look(shown, index)
            if isinstance(found, Reason):
                number = index + 1 if image.frame_count > 1 else None
                shown.exclusions.append(Exclusion(image.sop_instance_uid, number, found))
                continue
            shown.frames.append(index + 1)
            shown.views.append(found)
            if len(self._waiting) >= self._predictor.together:
                self.finish()
        return shown.reading

    def finish(self) -> None:
        """Have the model read what waits."""
        if not self._waiting:
            return
        answers = self._predictor.predict([waiting.prepared for waiting in self._waiting])
        for waiting, nodes in zip(self._waiting, answers, strict=True):
            view, frame = waiting.view, waiting.frame
            spacing = _spacing(view.panel.calibration)
            view.seen = [
                Seen(n, measure(n.mask, n.row, n.column, frame.grey, spacing), frame.number)
                for n in sorted(nodes, key=lambda n: (n.column, n.row))
            ]
        self._waiting.clear()

    def _look(self, shown: _Shown, index: int) -> list[_View] | Reason:
        """Return what the panels of a frame show, or why none of them can be read."""
        try:
            frame = _Frame(index + 1, shown.image.frame(index))
        except FrameError as error:
            return Reason(error.reason)
        found = [self._view(shown, number, frame) for number in range(len(shown.panels))]
        return found if any(view.readable for view in found) else Reason.COLOUR_OVERLAY

    def _view(self, shown: _Shown, number: int, frame: _Frame) -> _View:
        """Return what a panel shows on a frame; what is new and readable waits."""
        panel = shown.panels[number]
        key = number, _digest(frame.pixels, panel)
        if key not in shown.known:
            view = shown.known[key] = _View(panel, colour_fraction(frame.pixels, panel.box))
            if view.readable:
                prepared = prepare(frame.pixels, panel.box, self.spec)
                self._waiting.append(_Waiting(view, prepared, frame))
        return shown.known[key]


def _digest(pixels: NDArray[np.uint8], panel: Panel) -> bytes:
    """Hash all pixels that decide on what is found in a panel: its own, and a margin's."""
    x0, y0, x1, y1 = panel.box
    top, left = max(y0 - MARGIN_REACH_PX, 0), max(x0 - MARGIN_REACH_PX, 0)
    part = pixels[top : y1 + MARGIN_REACH_PX, left : x1 + MARGIN_REACH_PX]
    return hashlib.sha256(np.ascontiguousarray(part).data).digest()


def _spacing(calibration: Calibration | None) -> tuple[float, float] | None:
    return (calibration.row_mm, calibration.column_mm) if calibration else None
