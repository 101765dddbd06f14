"""Every kind of source with every kind of finding and setting, built once for many judges."""

import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io import results
from dicom_io.capture import capture
from dicom_io.findings import (
    Evaluation,
    Exclusion,
    NodeFinding,
    Reason,
    SideFinding,
    StudyFindings,
)
from tests.builders_objects import NOW, SourceSpec, findings, node, study, uid, view
from tests.validity import listed_images

# 805 pixels, so that frames begin and end within a byte
_STILL = SourceSpec(rows=23, columns=35)
_CINE = replace(_STILL, frames=5)
SHAPES: Mapping[str, tuple[SourceSpec, ...]] = {
    "single": (_STILL,),
    "series": (_STILL, replace(_STILL, number=2), replace(_STILL, number=3)),
    "cine": (_CINE,),
    "cine of one frame": (replace(_STILL, multiframe_class=True),),
    "mixed": (_STILL, replace(_CINE, number=2), replace(_STILL, series=2, rows=30)),
}

# What a source and its findings can be: the matrix has all 240 combinations
SOURCES: Mapping[str, Sequence[object]] = {
    "shape": tuple(SHAPES),
    "photometric": ("RGB", "YBR_FULL", "PALETTE COLOR", "MONOCHROME2"),
    "calibrated": (True, False),
    "frame_of_reference": (False, True),
    "nodes": (0, 1, 2),
}
# What a setting can be, and a bundle: 48 combinations, taken in turn
SETTINGS: Mapping[str, Sequence[object]] = {
    "seg_geometry": ("viewer", "strict", "volume"),
    "sr_class": ("comprehensive", "comprehensive_3d"),
    "seg_empty_frames": (False, True),
    "seg_compression": ("none", "deflated"),
    "demonstration": (False, True),  # a bundle that may not evaluate anything
}

# The mutant of a report that only a validator of templates notices: another modality
OUTSIDE_ITS_GROUP = "ConceptCodeSequence[US] replaced"

Levels = Mapping[str, object]


@dataclass(frozen=True)
class Case:
    """One combination with its objects, as files."""

    levels: Levels
    sets: tuple[Dataset, ...]  # the sources
    paths: tuple[Path, ...]  # their files
    found: StudyFindings
    segs: tuple[Path, ...]
    sr: Path
    captures: tuple[Path, ...]

    @property
    def name(self) -> str:
        """What the combination is, for messages."""
        return " ".join(f"{name}={level}" for name, level in self.levels.items())

    def frames(self, sop_instance_uid: str) -> int:
        """Return how many frames a source has."""
        (ds,) = (ds for ds in self.sets if ds.SOPInstanceUID == sop_instance_uid)
        return int(ds.get("NumberOfFrames", 1))

    @property
    def objects(self) -> tuple[Path, ...]:
        """Every object's file."""
        return (*self.segs, self.sr, *self.captures)


def combinations() -> Iterator[dict[str, object]]:
    """Yield all combinations of sources, each with one combination of settings.

    The settings are taken in turn with a step that shares no factor with their number; a test
    holds that any three levels come together.
    """
    settings = list(itertools.product(*SETTINGS.values()))
    for number, levels in enumerate(itertools.product(*SOURCES.values())):
        chosen = settings[(number * 13 + number // len(settings)) % len(settings)]
        yield dict(zip((*SOURCES, *SETTINGS), (*levels, *chosen), strict=True))


def build(folder: Path, levels: Levels) -> Case:
    """Build the sources and the objects of one combination below `folder`."""
    calibrated = bool(levels["calibrated"])
    specs = [
        replace(
            spec,
            photometric=str(levels["photometric"]),
            calibrated=calibrated,
            frame_of_reference=bool(levels["frame_of_reference"]),
        )
        for spec in SHAPES[str(levels["shape"])]
    ]
    sets, paths = study(folder, *specs)
    nodes = some_nodes(sets, levels["nodes"], calibrated=calibrated)
    found = findings(
        sets, nodes, calibrated=calibrated, demonstration=bool(levels["demonstration"])
    )
    settings = results.ResultSettings(
        seg_geometry=str(levels["seg_geometry"]),
        sr_class=str(levels["sr_class"]),
        seg_empty_frames=bool(levels["seg_empty_frames"]),
        seg_compression=str(levels["seg_compression"]),
    )
    return _written(folder, levels, sets, paths, found, settings)


def some_nodes(sets: Sequence[Dataset], count: object, *, calibrated: bool) -> list[NodeFinding]:
    """Return nodes on the first image, or on the first and the last.

    Of a cine, the first node lacks the first frame and the second one the last.
    """
    nodes = []
    for number, ds in list(enumerate((sets[0], sets[-1]), 1))[: int(str(count))]:
        frames = list(range(1, int(ds.get("NumberOfFrames", 1)) + 1))
        if len(frames) > 1:
            del frames[0 if number == 1 else -1]
        views = [view(ds, frame, row=3 * number, column=2 + frame) for frame in frames]
        side = "R" if number == 1 else None
        nodes.append(node(number, *views, calibrated=calibrated, side=side))
    return nodes


def _capture(
    found: StudyFindings, sets: Sequence[Dataset], paths: Sequence[Path], number: int
) -> results.BuiltObject:
    key = found.nodes[number].views[found.nodes[number].key_view]
    place = [ds.SOPInstanceUID for ds in sets].index(key.sop_instance_uid)
    picture = np.zeros((sets[place].Rows, sets[place].Columns, 3), dtype=np.uint8)
    return capture(found, paths[place], key.frame_number, picture, uid, number, NOW)


def rich(folder: Path) -> Case:
    """Build a cine with two nodes, in version 2, with everything that a report can say."""
    sets, paths = study(folder, _CINE)
    found = findings(sets, some_nodes(sets, 2, calibrated=True))
    found = replace(
        found,
        version=2,
        replaces=1,
        predecessors=(("1.2.840.10008.5.1.4.1.1.88.33", "1.2.3.4", "1.2.3"),),
        sides=(
            SideFinding("R", (1,), 0.61, Evaluation.INDETERMINATE),
            SideFinding(None, (2,), 0.6125, Evaluation.SUSPECTED),
        ),
        exclusions=(Exclusion(str(sets[0].SOPInstanceUID), 5, Reason.COLOUR_OVERLAY),),
        images=(
            replace(
                found.images[0],
                frame_numbers=(1, 2, 3, 4),
                notes=("colour overlay removed from 4 % of the tissue",),
                laterality="R",
            ),
        ),
    )
    return _written(folder, {}, sets, paths, found, results.ResultSettings())


def one_node_alone(folder: Path) -> Case:
    """Build the report of a node whose side was not evaluated."""
    sets, paths = study(folder, _STILL)
    found = replace(findings(sets, some_nodes(sets, 1, calibrated=True)), sides=())
    return _written(folder, {}, sets, paths, found, results.ResultSettings())


def not_evaluable(folder: Path) -> Case:
    """Build the report of a study of which nothing could be read."""
    sets, paths = study(folder, _CINE)
    why = Reason.UNSUPPORTED_SYNTAX
    found = replace(
        findings(sets),
        images=(),
        sides=(),
        exclusions=(Exclusion(str(sets[0].SOPInstanceUID), None, why),),
        not_evaluable=why,
    )
    return _written(folder, {}, sets, paths, found, results.ResultSettings())


def _written(
    folder: Path,
    levels: Levels,
    sets: Sequence[Dataset],
    paths: Sequence[Path],
    found: StudyFindings,
    settings: results.ResultSettings,
) -> Case:
    built = results.build(found, paths, settings, uid, NOW)
    built += [_capture(found, sets, paths, n) for n in range(len(found.nodes))]
    files: dict[str, list[Path]] = {"seg": [], "sr": [], "sc": []}
    for b in built:
        files[b.role].append(folder / f"{b.role}{b.ordinal}.out.dcm")
        files[b.role][-1].write_bytes(b.data)
    segs, (sr,), captures = (tuple(files[role]) for role in ("seg", "sr", "sc"))
    return Case(levels, tuple(sets), tuple(paths), found, segs, sr, captures)


Place = tuple[str, int]  # SOP Instance UID and frame


def drawn(case: Case, seg: Dataset) -> dict[int, dict[Place, NDArray[np.bool_]]]:
    """Return, by segment number, the masks that were found on the sources of a SEG."""
    numbers = {str(item.TrackingUID): int(item.SegmentNumber) for item in seg.SegmentSequence}
    masks: dict[int, dict[Place, NDArray[np.bool_]]] = {}
    for found in case.found.nodes:
        if found.tracking_uid not in numbers:
            continue
        planes = masks.setdefault(numbers[found.tracking_uid], {})
        for v in found.views:
            plane = np.zeros((seg.Rows, seg.Columns), dtype=bool)
            height, width = v.mask.shape
            plane[v.row : v.row + height, v.column : v.column + width] = v.mask
            planes[v.sop_instance_uid, v.frame_number] = plane
    return masks


def places(case: Case, seg: Dataset) -> list[Place]:
    """Return the source frames that a SEG is to show, in the order of the sources."""
    planes = drawn(case, seg)
    shown = {place for masks in planes.values() for place in masks}
    if case.levels.get("seg_empty_frames"):
        listed = set(listed_images(seg))
        shown |= {
            (image.sop_instance_uid, number)
            for image in case.found.images
            if image.sop_instance_uid in listed
            for number in image.frame_numbers
        }
    order = [str(ds.SOPInstanceUID) for ds in case.sets]
    return sorted(shown, key=lambda place: (order.index(place[0]), place[1]))


def volumes(case: Case, seg: Dataset) -> dict[int, NDArray[np.bool_]]:
    """Return, by segment number, the masks on all places that a SEG is to show."""
    empty = np.zeros((seg.Rows, seg.Columns), dtype=bool)
    return {
        number: np.array([planes.get(place, empty) for place in places(case, seg)])
        for number, planes in drawn(case, seg).items()
    }


def stored(case: Case, seg: Dataset) -> NDArray[np.bool_]:
    """Return the frames that a SEG is to store: by segment, empty ones only where asked for."""
    keep = bool(case.levels.get("seg_empty_frames"))
    planes = [p for volume in volumes(case, seg).values() for p in volume if keep or p.any()]
    return np.array(planes)


def header(path: Path) -> Dataset:
    """Read an object from memory, so that no file stays open."""
    return pydicom.dcmread(io.BytesIO(path.read_bytes()))
