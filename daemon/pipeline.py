"""From the files of a study to what the model saw in them. Knows both `dicom_io` and `model`.

Runs in the analysing process (and in ``axnode analyze``): decodes, finds the tissue, predicts,
measures, and follows nodes through cines. It neither reads nor writes rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daemon import identity
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
from dicom_io.regions import b_mode_boxes, regions
from dicom_io.regions import calibration as pixel_spacing
from model.measure import Shape, measure
from model.preprocess import Prepared, Spec, prepare
from model.runtime import PredictedNode
from model.tissue import colour_fraction, grey_without_overlay, tissue_boxes, trim
from model.tracking import link

Box = tuple[int, int, int, int]
_COLOUR_LIMIT = 0.25  # of the tissue; above it the grey image is not what the model was trained on
_NOTED_COLOUR = 0.005  # of the tissue; below it the filled overlay is not worth a word
_MIN_SIDE_PX = 64  # a smaller tissue region holds no readable node
_BATCH = 8  # regions predicted together


class Predicting(Protocol):
    """What the pipeline asks of `model.runtime.Predictor`."""

    def predict(self, batch: Sequence[Prepared]) -> list[list[PredictedNode]]:
        """Return the nodes of each prepared frame."""


@dataclass(frozen=True)
class Recipe:
    """The settings that change what is read."""

    spec: Spec  # how the bundle wants its input
    cine_frames: int  # frames of one cine that are analysed, evenly spread
    tracking_root: str  # what tracking UIDs rest on: node id and study


@dataclass(frozen=True)
class Analysis:
    """What was read in a study, before it is put into words."""

    images: tuple[ImageRead, ...]
    nodes: tuple[NodeFinding, ...]
    exclusions: tuple[Exclusion, ...]


@dataclass(frozen=True)
class _Panel:
    """One tissue region of an image."""

    box: Box
    calibration: Calibration | None


@dataclass(frozen=True)
class _Seen:
    """One node on one frame."""

    node: PredictedNode
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
    opened, unreadable = _open(inputs)
    exclusions += unreadable
    for image in opened:
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


def _open(inputs: Sequence[tuple[str, Path]]) -> tuple[list[Image], list[Exclusion]]:
    opened: list[Image] = []
    unreadable: list[Exclusion] = []
    for uid, path in inputs:
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
    panels = _panels(image, indices)
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
        calibration=panels[0].calibration,
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


def _panels(image: Image, indices: Sequence[int]) -> list[_Panel] | Reason:
    declared = regions(image.header, image.rows, image.columns)
    wanted = b_mode_boxes(declared)
    if declared and not wanted:
        return Reason.NO_B_MODE
    frame = image.frame(indices[len(indices) // 2])  # one frame decides for the whole cine
    if wanted and not any(region.clamped for region in wanted):
        panels = [_Panel(trim(frame, region.box), region.calibration) for region in wanted]
    else:
        spacing = pixel_spacing(image.header)
        panels = [_Panel(box, spacing) for box in tissue_boxes(frame)]
        if not panels:
            return Reason.NO_B_MODE
    return [panel for panel in panels if _large_enough(panel.box)] or Reason.TOO_SMALL


def _large_enough(box: Box) -> bool:
    return min(box[2] - box[0], box[3] - box[1]) >= _MIN_SIDE_PX


def _read_frames(
    image: Image,
    indices: Sequence[int],
    panels: Sequence[_Panel],
    predictor: Predicting,
    recipe: Recipe,
    progress: Callable[[], None],
) -> _Reading:
    reading = _Reading(seen=[[] for _ in panels])
    waiting: list[tuple[int, int, Prepared, NDArray[np.uint8]]] = []  # frame, panel, input, grey

    def flush() -> None:
        answers = predictor.predict([prepared for _, _, prepared, _ in waiting])
        for (index, panel, _, grey), nodes in zip(waiting, answers, strict=True):
            spacing = _spacing(panels[panel].calibration)
            reading.seen[panel].append(
                [
                    _Seen(n, measure(n.mask, n.row, n.column, grey, spacing), index + 1)
                    for n in sorted(nodes, key=lambda n: (n.column, n.row))
                ]
            )
        waiting.clear()

    for index, frame in zip(indices, image.frames(indices), strict=True):
        progress()
        share = max(colour_fraction(frame, panel.box) for panel in panels)
        if share > _COLOUR_LIMIT:
            number = index + 1 if image.frame_count > 1 else None
            reading.exclusions.append(
                Exclusion(image.sop_instance_uid, number, Reason.COLOUR_OVERLAY)
            )
            continue
        reading.most_colour = max(reading.most_colour, share)
        reading.frames.append(index + 1)
        grey = grey_without_overlay(frame)
        for number, panel in enumerate(panels):
            waiting.append((index, number, prepare(frame, panel.box, recipe.spec), grey))
        if len(waiting) >= _BATCH:
            flush()
    if waiting:
        flush()
    return reading


def _spacing(calibration: Calibration | None) -> tuple[float, float] | None:
    return (calibration.row_mm, calibration.column_mm) if calibration else None


def _notes(image: Image, reading: _Reading) -> tuple[str, ...]:
    notes = []
    if len(reading.frames) < image.frame_count:
        notes.append(f"{len(reading.frames)} of {image.frame_count} frames were read")
    if reading.most_colour > _NOTED_COLOUR:
        notes.append(f"colour overlay removed from up to {reading.most_colour:.0%} of the tissue")
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
