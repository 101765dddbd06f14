"""Presentation states: nodes drawn as graphics on their own images (PS3.3 A.33.1, A.33.2).

For viewers that show presentation states and no SEG. The pixels stay those of the source, so
nothing is lossy and nothing is burned in.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_io import context, header
from dicom_io.context import Source, Stamp, common_side, describe, series_description
from dicom_io.errors import ObjectError
from dicom_io.findings import Calibration, NodeFinding, StudyFindings
from dicom_io.presentation_graphics import annotations, layer
from dicom_io.presentation_look import Look, look_of, write_look
from dicom_io.results import BuiltObject, UidMaker, finish
from dicom_io.seg_frames import reference

SERIES_NUMBER = 9201


@dataclass(frozen=True)
class _Drawn:
    """One node, its image, and how that image is shown."""

    node: NodeFinding
    source: Source
    look: Look

    @property
    def group(self) -> Hashable:
        """What all images of one presentation state share (PS3.4 N.1.1)."""
        return self.source.series_instance_uid, self.source.sop_class_uid, self.look


def presentation_states(
    findings: StudyFindings, sources: Sequence[Source], uid: UidMaker, now: datetime
) -> list[BuiltObject]:
    """Return the contours and captions of all nodes, all objects in one series.

    There is one object per source series, SOP class and way of showing the pixels; all nodes are
    drawn, or there is none. A graphic would mislead on an image of a single-frame class that has
    several frames, for it cannot name its frame and would lie on all of them; and on one that is
    shown through a lookup table, which would look other than without the graphic.

    Parameters
    ----------
    sources
        The study's images, in its order. The first one lends the patient and study elements.
    uid
        As for `results.build`. Roles asked for: `pr`, and `pr_series` with ordinal 0.
    now
        The moment of building; one without a zone is the node's local time.

    Raises
    ------
    ObjectError
        A node's image is not among the sources, or an object does not validate.
    """
    drawn = _drawable(findings.nodes, sources)
    if not drawn or len(drawn) < len(findings.nodes):
        return []
    when = context.stamp(now, sources[0])
    groups: dict[Hashable, list[_Drawn]] = {}
    for item in drawn:
        groups.setdefault(item.group, []).append(item)
    built = []
    for ordinal, group in enumerate(groups.values()):
        ds = _state(findings, group, uid, when, ordinal)
        ds.Laterality = common_side(findings.nodes)
        built.append(finish("pr", ordinal, ds, sources[0], findings, sources))
    return built


def _drawable(nodes: Iterable[NodeFinding], sources: Sequence[Source]) -> list[_Drawn]:
    by_uid = {source.sop_instance_uid: source for source in sources}
    drawn = []
    for node in nodes:
        source = by_uid.get(node.views[0].sop_instance_uid)
        if source is None:
            raise ObjectError(f"the image of {node.label} is not among the sources given")
        look = look_of(source.ds)
        if look and (source.names_frames or not source.is_cine):
            drawn.append(_Drawn(node, source, look))
    return drawn


def _state(
    findings: StudyFindings, drawn: Sequence[_Drawn], uid: UidMaker, when: Stamp, ordinal: int
) -> Dataset:
    look = drawn[0].look
    described = {
        "SOPClassUID": look.sop_class_uid,
        "SOPInstanceUID": uid("pr", ordinal),
        "StudyInstanceUID": findings.study_instance_uid,
        "SeriesInstanceUID": uid("pr_series", 0),
    }
    ds = Dataset()
    describe(ds, findings, described, when, SERIES_NUMBER)
    ds.InstanceNumber = ordinal + 1
    ds.Modality = "PR"
    ds.SeriesDescription = series_description(findings, "lymph nodes contours")
    _identification(ds, findings, when)
    used = list({item.source.sop_instance_uid: item.source for item in drawn}.values())
    ds.ReferencedSeriesSequence = [_referenced_series(used)]
    ds.DisplayedAreaSelectionSequence = _areas(findings, used)
    _graphics(ds, drawn, "DEMONSTRATION" if findings.algorithm.demonstration else "")
    write_look(ds, look)
    return ds


def _identification(ds: Dataset, findings: StudyFindings, when: Stamp) -> None:
    """Presentation State Identification (PS3.3 C.11.10)."""
    ds.ContentLabel = "LYMPH_NODES"
    ds.ContentDescription = "Lymph nodes segmented by a model"
    if findings.algorithm.demonstration:
        ds.ContentDescription = "DEMONSTRATION. Not for clinical use."
    ds.PresentationCreationDate = when.date
    ds.PresentationCreationTime = when.time
    ds.ContentCreatorName = ""


def _referenced_series(used: Iterable[Source]) -> Dataset:
    """Return the images shown (PS3.3 C.11.11), whole: without graphics too they look the same."""
    ds = Dataset()
    images = list(used)
    ds.SeriesInstanceUID = images[0].series_instance_uid
    ds.ReferencedImageSequence = [reference(source) for source in images]
    return ds


def _areas(findings: StudyFindings, used: Iterable[Source]) -> list[Dataset]:
    """Return the Displayed Area (PS3.3 C.10.4) of each size of image and shape of pixel."""
    known = {image.sop_instance_uid: image.calibration for image in findings.images}
    areas: dict[Hashable, Dataset] = {}
    for source in used:
        calibration, ratio = known.get(source.sop_instance_uid), _aspect_ratio(source.ds)
        key = (source.columns, source.rows, calibration, ratio)
        if key not in areas:
            areas[key] = _area(source, calibration, ratio)
        areas[key].ReferencedImageSequence.append(reference(source))
    return list(areas.values())


def _area(source: Source, calibration: Calibration | None, ratio: tuple[int, int]) -> Dataset:
    """Return the whole image, its pixels as wide and high as they are known to be."""
    ds = Dataset()
    ds.ReferencedImageSequence = []
    ds.DisplayedAreaTopLeftHandCorner = [1, 1]  # here pixels are counted, from 1
    ds.DisplayedAreaBottomRightHandCorner = [source.columns, source.rows]
    ds.PresentationSizeMode = "SCALE TO FIT"
    if calibration:
        spacing = (calibration.row_mm, calibration.column_mm)
        ds.PresentationPixelSpacing = [f"{value:.8g}" for value in spacing]
    else:
        ds.PresentationPixelAspectRatio = list(ratio)
    return ds


def _aspect_ratio(image: Dataset) -> tuple[int, int]:
    """Return what the image says of the shape of its pixels; square where it says nothing."""
    parts = header.text(image, "PixelAspectRatio").split("\\")
    numbers = [int(part) for part in parts if part.isdecimal()]
    whole = len(parts) == len(numbers) == 2 and all(numbers)
    return (numbers[0], numbers[1]) if whole else (1, 1)


def _graphics(ds: Dataset, drawn: Sequence[_Drawn], note: str) -> None:
    ds.GraphicLayerSequence = [layer(item.node, n) for n, item in enumerate(drawn, 1)]
    ds.GraphicAnnotationSequence = [
        item for part in drawn for item in annotations(part.node, part.source, note)
    ]
