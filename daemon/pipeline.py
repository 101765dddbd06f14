"""From the files of a study to what the model saw in them. Knows both `dicom_io` and `model`.

Runs in the analysing process (and in ``axnode analyze``): decodes, finds the tissue, predicts,
measures, and follows nodes through cines. It neither reads nor writes rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from daemon import identity
from daemon.analysis import Analysis
from daemon.frame_reader import FrameReader, Predicting, Reading, Seen
from daemon.panels import Panel, find_panels
from dicom_io.errors import FrameError
from dicom_io.facts import InstanceFacts, facts
from dicom_io.findings import (
    Exclusion,
    ImageRead,
    Measurements,
    NodeFinding,
    NodeView,
    Reason,
)
from dicom_io.frames import MAX_FRAME_BYTES, Image
from dicom_io.recent import RecentFrames
from model.preprocess import Spec
from model.tracking import link

_NOTED_COLOUR = 0.005  # of the tissue; below it the filled overlay is not worth a word


@dataclass(frozen=True)
class Recipe:
    """The settings that change what is read."""

    spec: Spec  # how the bundle wants its input
    cine_frames: int  # frames of one cine that are analysed, evenly spread
    tracking_root: str  # what tracking UIDs rest on: node id and study


def analyse(
    inputs: Sequence[tuple[str, Path]],
    predictor: Predicting,
    recipe: Recipe,
    progress: Callable[[], None] = lambda: None,
    recent: RecentFrames | None = None,
) -> Analysis:
    """Read every image of a study.

    Parameters
    ----------
    inputs
        SOP Instance UID and Part 10 file of each instance of one study, in any order.
    progress
        Called after every batch: the sign of life of a long cine.
    recent
        Where decoded frames are kept for those who look at them again.

    Returns
    -------
    Analysis
        Nodes are numbered by series, instance and place. An image that cannot be read is an
        exclusion with its reason, never an exception.
    """
    reader = FrameReader(predictor, recipe.spec, progress)
    analysis = look(inputs, reader, recipe, progress, recent)
    reader.finish()
    return analysis()


def look(
    inputs: Sequence[tuple[str, Path]],
    reader: FrameReader,
    recipe: Recipe,
    progress: Callable[[], None] = lambda: None,
    recent: RecentFrames | None = None,
) -> Callable[[], Analysis]:
    """Give every image of a study to the model, whose reader several studies may share.

    Returns
    -------
    Callable
        Gives the analysis (see `analyse`) once the reader's `finish` was called.
    """
    opened, exclusions = _open(inputs, progress, recent or RecentFrames(MAX_FRAME_BYTES))
    looked = [_look(image, known, reader, recipe, progress) for image, known in opened]
    return partial(_gathered, looked, exclusions, recipe)


def _gathered(
    looked: "Sequence[_Looked | Exclusion]", unreadable: Sequence[Exclusion], recipe: Recipe
) -> Analysis:
    exclusions = list(unreadable)
    images: list[ImageRead] = []
    nodes: list[NodeFinding] = []
    for item in looked:
        if isinstance(item, Exclusion):
            exclusions.append(item)
            continue
        reading = item.reading()
        if not reading.frames:
            # one exclusion for the image says as much as one a frame
            reason = reading.exclusions[0].reason
            exclusions.append(Exclusion(item.image.sop_instance_uid, None, reason))
            continue
        exclusions += reading.exclusions
        images.append(_image_read(item, reading))
        nodes += _nodes(item, reading, recipe, len(nodes))
    return Analysis(tuple(images), tuple(nodes), tuple(exclusions))


@dataclass(frozen=True)
class _Looked:
    """An image whose frames were given to the model."""

    image: Image
    laterality: str | None
    panels: Sequence[Panel]
    reading: Callable[[], Reading]  # what was seen, once the model has read all


def _open(
    inputs: Sequence[tuple[str, Path]], progress: Callable[[], None], recent: RecentFrames
) -> tuple[list[tuple[Image, InstanceFacts]], list[Exclusion]]:
    opened: list[tuple[Image, InstanceFacts]] = []
    unreadable: list[Exclusion] = []
    for uid, path in inputs:
        progress()
        try:
            image = Image.open(path, recent)
            opened.append((image, facts(image.header)))
        except FrameError as error:
            unreadable.append(Exclusion(uid, None, Reason(error.reason)))
    return sorted(opened, key=_order), unreadable


def _order(item: tuple[Image, InstanceFacts]) -> tuple[int, str, int, str]:
    image, known = item
    return (
        known.series_number or 0,
        known.series_instance_uid,
        known.instance_number or 0,
        image.sop_instance_uid,
    )


def _look(
    image: Image,
    known: InstanceFacts,
    reader: FrameReader,
    recipe: Recipe,
    progress: Callable[[], None],
) -> _Looked | Exclusion:
    progress()
    indices = evenly(image.frame_count, recipe.cine_frames)
    try:
        # one frame decides where the tissue is, and is then read
        panels = find_panels(image, indices[len(indices) // 2])
    except FrameError as error:
        panels = Reason(error.reason)
    if isinstance(panels, Reason):
        return Exclusion(image.sop_instance_uid, None, panels)
    return _Looked(image, known.laterality, panels, reader.read(image, indices, panels))


def _image_read(looked: _Looked, reading: Reading) -> ImageRead:
    spacings = {panel.calibration for panel in looked.panels}
    return ImageRead(
        sop_instance_uid=looked.image.sop_instance_uid,
        frame_numbers=tuple(reading.frames),
        # one spacing for the whole image or none: a SEG has one for all its pixels
        calibration=looked.panels[0].calibration if len(spacings) == 1 else None,
        notes=_notes(looked.image, reading),
        laterality=looked.laterality,
        regions=len(looked.panels),
    )


def _nodes(looked: _Looked, reading: Reading, recipe: Recipe, numbered: int) -> list[NodeFinding]:
    """Return the nodes of an image; `numbered` of the study's have their number already."""
    tracks = [
        [per_frame[position][index] for position, index in track]
        for per_frame in reading.seen
        for track in link(per_frame)
    ]
    return [
        _finding(looked.image, views, numbered + ordinal, ordinal, looked.laterality, recipe)
        for ordinal, views in enumerate(tracks, 1)
    ]


def evenly(count: int, most: int) -> list[int]:
    """Return at most `most` indices below `count`, evenly spread, first and last included."""
    if count <= most:
        return list(range(count))
    return sorted({round(i) for i in np.linspace(0, count - 1, most)})


def _notes(image: Image, reading: Reading) -> tuple[str, ...]:
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
    views: Sequence[Seen],
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
