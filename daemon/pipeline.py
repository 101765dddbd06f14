"""From the files of a study to what the model saw in them. Knows both `dicom_io` and `model`.

Runs in the analysing process (and in ``axnode analyze``): decodes, finds the tissue, predicts,
measures, and follows nodes through cines. It neither reads nor writes rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon import identity
from daemon.analysis import Analysis
from daemon.frame_reader import Predicting, Reading, Seen, read_frames
from daemon.panels import find_panels
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
    images: list[ImageRead] = []
    nodes: list[NodeFinding] = []
    exclusions: list[Exclusion] = []
    # one frame decides where the tissue is, and is then read
    opened, unreadable = _open(inputs, progress, recent or RecentFrames(MAX_FRAME_BYTES))
    exclusions += unreadable
    for image, known in opened:
        progress()
        try:
            read, found, left_out = _read_image(
                image, known.laterality, predictor, recipe, progress, len(nodes)
            )
        except FrameError as error:
            exclusions.append(Exclusion(image.sop_instance_uid, None, Reason(error.reason)))
            continue
        exclusions += left_out
        if read is not None:
            images.append(read)
            nodes += found
    return Analysis(tuple(images), tuple(nodes), tuple(exclusions))


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


def _read_image(
    image: Image,
    laterality: str | None,
    predictor: Predicting,
    recipe: Recipe,
    progress: Callable[[], None],
    numbered: int,
) -> tuple[ImageRead | None, list[NodeFinding], list[Exclusion]]:
    indices = evenly(image.frame_count, recipe.cine_frames)
    panels = find_panels(image, indices[len(indices) // 2])
    if isinstance(panels, Reason):
        return None, [], [Exclusion(image.sop_instance_uid, None, panels)]
    reading = read_frames(image, indices, panels, predictor, recipe.spec, progress)
    if not reading.frames:
        # one exclusion for the image says as much as one a frame
        reason = reading.exclusions[0].reason
        return None, [], [Exclusion(image.sop_instance_uid, None, reason)]
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
