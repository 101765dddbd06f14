"""From the files of a study to what the model saw in them. Knows both `dicom_io` and `model`.

Runs in the analysing process (and in ``axnode analyze``): decodes, finds the tissue, predicts,
measures, and follows nodes through cines. It neither reads nor writes rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from daemon import identity
from daemon.analysis import Analysis
from daemon.panels import Panel, find_panels
from dicom_io.errors import FrameError
from dicom_io.facts import facts
from dicom_io.findings import (
    Calibration,
    Exclusion,
    ImageRead,
    Measurements,
    NodeFinding,
    NodeView,
    Reason,
)
from dicom_io.frames import Image
from model.measure import Shape, measure
from model.preprocess import Prepared, Spec, prepare
from model.tissue import colour_fraction, grey_without_overlay
from model.tracking import link

if TYPE_CHECKING:  # torch comes with it, and not every reader of this module runs a model
    from model.runtime import PredictedNode

_COLOUR_LIMIT = 0.25  # of the tissue; above it the grey image is not what the model was trained on
_NOTED_COLOUR = 0.005  # of the tissue; below it the filled overlay is not worth a word
_BATCH = 8  # regions predicted together


class Predicting(Protocol):
    """What the pipeline asks of `model.runtime.Predictor`."""

    def predict(self, batch: Sequence[Prepared]) -> list[list["PredictedNode"]]:
        """Return the nodes of each prepared frame."""


@dataclass(frozen=True)
class Recipe:
    """The settings that change what is read."""

    spec: Spec  # how the bundle wants its input
    cine_frames: int  # frames of one cine that are analysed, evenly spread
    tracking_root: str  # what tracking UIDs rest on: node id and study


@dataclass(frozen=True)
class _Seen:
    """One node on one frame."""

    node: "PredictedNode"
    shape: Shape
    frame_number: int

    @property
    def row(self) -> int:
        return self.node.row

    @property
    def column(self) -> int:
        return self.node.column

    @property
    def mask(self) -> NDArray[np.bool_]:
        return self.node.mask


@dataclass
class _Reading:
    """What is gathered while one image is read."""

    frames: list[int] = field(default_factory=list)  # 1-based, analysed
    seen: list[list[list[_Seen]]] = field(default_factory=list)  # by panel, by analysed frame
    exclusions: list[Exclusion] = field(default_factory=list)
    most_colour: float = 0.0  # greatest share of a panel that was filled
    panels_left_out: bool = False  # a panel of a dual view was too colourful, the other was read


def analyse(
    inputs: Sequence[tuple[str, Path]],
    predictor: Predicting,
    recipe: Recipe,
    progress: Callable[[], None] = lambda: None,
) -> Analysis:
    """Read every image of a study.

    Parameters
    ----------
    inputs
        SOP Instance UID and Part 10 file of each instance of one study, in any order.
    progress
        Called after every batch: the sign of life of a long cine.

    Returns
    -------
    Analysis
        Nodes are numbered by series, instance and place. An image that cannot be read is an
        exclusion with its reason, never an exception.
    """
    images: list[ImageRead] = []
    nodes: list[NodeFinding] = []
    exclusions: list[Exclusion] = []
    opened, unreadable = _open(inputs, progress)
    exclusions += unreadable
    for image in opened:
        progress()
        try:
            read, found, left_out = _read_image(image, predictor, recipe, progress, len(nodes))
        except FrameError as error:
            exclusions.append(Exclusion(image.sop_instance_uid, None, Reason(error.reason)))
            continue
        exclusions += left_out
        if read is not None:
            images.append(read)
            nodes += found
    return Analysis(tuple(images), tuple(nodes), tuple(exclusions))


def _open(
    inputs: Sequence[tuple[str, Path]], progress: Callable[[], None]
) -> tuple[list[Image], list[Exclusion]]:
    opened: list[Image] = []
    unreadable: list[Exclusion] = []
    for uid, path in inputs:
        progress()
        try:
            opened.append(Image.open(path))
        except FrameError as error:
            unreadable.append(Exclusion(uid, None, Reason(error.reason)))
    return sorted(opened, key=_order), unreadable


def _order(image: Image) -> tuple[int, str, int, str]:
    known = facts(image.header)
    return (
        known.series_number or 0,
        known.series_instance_uid,
        known.instance_number or 0,
        image.sop_instance_uid,
    )


def _read_image(
    image: Image,
    predictor: Predicting,
    recipe: Recipe,
    progress: Callable[[], None],
    numbered: int,
) -> tuple[ImageRead | None, list[NodeFinding], list[Exclusion]]:
    indices = evenly(image.frame_count, recipe.cine_frames)
    panels = find_panels(image, indices[len(indices) // 2])
    if isinstance(panels, Reason):
        return None, [], [Exclusion(image.sop_instance_uid, None, panels)]
    reading = _read_frames(image, indices, panels, predictor, recipe, progress)
    if not reading.frames:
        # one exclusion for the image says as much as one a frame
        reason = reading.exclusions[0].reason
        return None, [], [Exclusion(image.sop_instance_uid, None, reason)]
    laterality = facts(image.header).laterality
    read = ImageRead(
        sop_instance_uid=image.sop_instance_uid,
        frame_numbers=tuple(reading.frames),
        # one spacing for the whole image or none: a SEG has one for all its pixels
        calibration=panels[0].calibration if len({p.calibration for p in panels}) == 1 else None,
        notes=_notes(image, reading),
        laterality=laterality,
        regions=len(panels),
    )
    found: list[NodeFinding] = []
    for per_frame in reading.seen:
        for track in link(per_frame):
            views = [per_frame[position][index] for position, index in track]
            ordinal = len(found) + 1
            found.append(_finding(image, views, numbered + ordinal, ordinal, laterality, recipe))
    return read, found, reading.exclusions


def evenly(count: int, most: int) -> list[int]:
    """Return at most `most` indices below `count`, evenly spread, first and last included."""
    if count <= most:
        return list(range(count))
    return sorted({round(i) for i in np.linspace(0, count - 1, most)})


@dataclass(frozen=True)
class _Waiting:
    """One panel of one frame on its way through the model."""

    position: int  # among the analysed frames
    panel: int
    frame_number: int
    prepared: Prepared
    grey: NDArray[np.uint8]  # the whole frame, overlay filled


def _read_frames(
    image: Image,
    indices: Sequence[int],
    panels: Sequence[Panel],
    predictor: Predicting,
    recipe: Recipe,
    progress: Callable[[], None],
) -> _Reading:
    reading = _Reading(seen=[[] for _ in panels])
    waiting: list[_Waiting] = []
    for index in indices:
        progress()
        reason = _take(image, index, panels, recipe, reading, waiting)
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
    recipe: Recipe,
    reading: _Reading,
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
        prepared = prepare(frame, panels[number].box, recipe.spec)
        waiting.append(_Waiting(len(reading.frames), number, index + 1, prepared, grey))
    reading.frames.append(index + 1)
    return None


def _predict(
    waiting: list[_Waiting], panels: Sequence[Panel], predictor: Predicting, reading: _Reading
) -> None:
    answers = predictor.predict([item.prepared for item in waiting])
    for item, nodes in zip(waiting, answers, strict=True):
        spacing = _spacing(panels[item.panel].calibration)
        reading.seen[item.panel][item.position] = [
            _Seen(n, measure(n.mask, n.row, n.column, item.grey, spacing), item.frame_number)
            for n in sorted(nodes, key=lambda n: (n.column, n.row))
        ]
    waiting.clear()


def _spacing(calibration: Calibration | None) -> tuple[float, float] | None:
    return (calibration.row_mm, calibration.column_mm) if calibration else None


def _notes(image: Image, reading: _Reading) -> tuple[str, ...]:
    notes = []
    if len(reading.frames) < image.frame_count:
        notes.append(f"{len(reading.frames)} of {image.frame_count} frames were read")
    if reading.most_colour > _NOTED_COLOUR:
        notes.append(f"colour overlay removed from up to {reading.most_colour:.0%} of the tissue")
    if reading.panels_left_out:
        notes.append("a panel covered by Doppler colour was left out")
    return tuple(notes)


def _finding(
    image: Image,
    views: Sequence[_Seen],
    number: int,
    ordinal: int,
    laterality: str | None,
    recipe: Recipe,
) -> NodeFinding:
    key = max(range(len(views)), key=lambda i: views[i].node.area_px)
    shape = views[key].shape
    return NodeFinding(
        number=number,
        tracking_uid=identity.uid(recipe.tracking_root, "node", image.sop_instance_uid, ordinal),
        laterality=laterality,
        score=max(view.node.score for view in views),
        key_view=key,
        views=tuple(
            NodeView(
                sop_instance_uid=image.sop_instance_uid,
                frame_number=view.frame_number,
                row=view.row,
                column=view.column,
                mask=view.mask,
                contour=view.shape.contour,
            )
            for view in views
        ),
        measurements=Measurements(
            long_axis=shape.long_axis,
            short_axis=shape.short_axis,
            area=shape.area,
            circularity=shape.circularity,
            margin_sharpness=shape.margin_sharpness,
            calibrated=shape.calibrated,
        ),
    )
