"""Studies for viewers: synthetic samples whose nodes are known pixel for pixel, and their results.

The nodes are the generator's, not a model's: where they must appear is known exactly.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

import sample_dicoms
from daemon.overlay import Outline, draw
from dicom_io import context, regions, results
from dicom_io.capture import capture
from dicom_io.findings import Calibration, ImageRead, Measurements, NodeFinding, NodeView
from dicom_io.frames import Image
from dicom_io.presentation import presentation_states
from model.measure import Shape, measure
from tests.builders_objects import NOW, findings, node, uid

SAMPLES = Path(sample_dicoms.__file__).parent
_TRUTH = {
    instance["file"]: instance["truth"]
    for study in json.loads((SAMPLES / "manifest.json").read_text())["studies"]
    for instance in study["instances"]
}

Planes = Mapping[int, NDArray[np.uint8]]  # 1-based frame: (rows, columns), the nodes' numbers


@dataclass(frozen=True)
class SceneSpec:
    """Which samples make up a study, and how its results are written."""

    files: tuple[str, ...]  # of one study of the samples
    frames: tuple[int, ...] = (1,)  # 1-based frames of the first file that get its nodes
    calibrated: bool = True
    geometry: str = "viewer"
    size: tuple[int, int] | None = None  # rows and columns, cut off right and below; None: whole
    contours: bool = False  # a presentation state, too


@dataclass(frozen=True)
class Scene:
    """A study as an archive holds it, and what is true of it."""

    study_uid: str
    paths: list[Path]  # the source images
    objects: list[results.BuiltObject]  # SEG, SR and the picture of the first node's key frame
    planes: Planes  # of the first image
    nodes: tuple[NodeFinding, ...]
    picture: NDArray[np.uint8]  # (H, W, 3) RGB, what the Secondary Capture holds

    @property
    def measured_frame(self) -> int:
        """The 1-based frame on which node 1 was measured; the report's contour lies there."""
        return self.nodes[0].views[self.nodes[0].key_view].frame_number

    def files(self) -> list[bytes]:
        """Return everything that the archive is given."""
        return [path.read_bytes() for path in self.paths] + [b.data for b in self.objects]

    def source(self, number: int = 0) -> NDArray[np.float64]:
        """Return the grey of all frames of a source image, (N, rows, columns)."""
        return np.stack([frame.mean(axis=2) for frame in _frames(self.paths[number])])


def scene(folder: Path, name: str, spec: SceneSpec) -> Scene:
    """Write a study of its own UIDs below `folder` and build its results."""
    paths = [_copy(SAMPLES / file, folder / file, name, spec) for file in spec.files]
    sets = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    planes = {frame: _cut(_truth(spec.files[0], frame), spec) for frame in spec.frames}
    spacing = _spacing(sets[0])
    nodes = tuple(
        _node(number, sets[0], planes, _frames(paths[0]), spacing) for number in _numbers(planes)
    )
    found = findings(sets, nodes, calibrated=spacing is not None)
    found = replace(found, images=tuple(_image(ds) for ds in sets))
    settings = results.ResultSettings(seg_geometry=spec.geometry)

    def maker(role: str, ordinal: int) -> str:
        return uid(f"{name}/{role}", ordinal)

    picture = _picture(paths[0], nodes)
    frame = nodes[0].views[0].frame_number
    objects = results.build(found, paths, settings, maker, NOW)
    objects.append(capture(found, paths[0], frame, picture, maker, 0, NOW))
    if spec.contours:
        sources = [context.read_source(path) for path in paths]
        objects += presentation_states(found, sources, maker, NOW)
    return Scene(found.study_instance_uid, paths, objects, planes, nodes, picture)


def _copy(path: Path, to: Path, name: str, spec: SceneSpec) -> Path:
    ds = pydicom.dcmread(path)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, keyword, uid(f"{name}/{ds[keyword].value}", 0))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if not spec.calibrated:
        ds.pop("SequenceOfUltrasoundRegions", None)
    if spec.size:
        _shrink(ds, _frames(path), spec)
    to.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(to, enforce_file_format=True)
    return to


def _shrink(ds: Dataset, frames: Sequence[NDArray[np.uint8]], spec: SceneSpec) -> None:
    """Cut the frames and write them uncompressed, without regions: those would reach beyond."""
    pixels = np.stack([_cut(frame, spec) for frame in frames])
    ds.Rows, ds.Columns = pixels.shape[1:3]
    ds.PhotometricInterpretation = "RGB"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.pop("SequenceOfUltrasoundRegions", None)
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    ds["PixelData"].is_undefined_length = False


def _cut(array: NDArray[np.uint8], spec: SceneSpec) -> NDArray[np.uint8]:
    rows, columns = spec.size or array.shape[:2]
    return array[:rows, :columns]


def _truth(file: str, frame: int) -> NDArray[np.uint8]:
    return np.asarray(Picture.open(SAMPLES / _TRUTH[file][frame - 1]))


def _numbers(planes: Planes) -> Sequence[int]:
    return sorted({int(n) for plane in planes.values() for n in np.unique(plane)} - {0})


def _frames(path: Path) -> list[NDArray[np.uint8]]:
    image = Image.open(path)
    return [image.frame(index) for index in range(image.frame_count)]


def _image(ds: Dataset) -> ImageRead:
    frames = tuple(range(1, int(ds.get("NumberOfFrames", 1)) + 1))
    return ImageRead(str(ds.SOPInstanceUID), frames, _spacing(ds))


def _spacing(ds: Dataset) -> Calibration | None:
    declared = regions.regions(ds, int(ds.Rows), int(ds.Columns))
    return declared[0].calibration if declared else None


def _node(
    number: int,
    ds: Dataset,
    planes: Planes,
    frames: Sequence[NDArray[np.uint8]],
    spacing: Calibration | None,
) -> NodeFinding:
    millimetres = (spacing.row_mm, spacing.column_mm) if spacing else None
    shapes: list[Shape] = []
    views: list[NodeView] = []
    for frame, plane in planes.items():
        rows, columns = np.nonzero(plane == number)
        row, column = int(rows.min()), int(columns.min())
        mask = (plane == number)[row : rows.max() + 1, column : columns.max() + 1]
        grey = frames[frame - 1].mean(axis=2).astype(np.uint8)
        shapes.append(measure(mask, row, column, grey, millimetres))
        contour = shapes[-1].contour
        views.append(NodeView(str(ds.SOPInstanceUID), frame, row, column, mask, contour))
    side = str(ds.get("Laterality") or "") or None
    made = node(number, *views, calibrated=spacing is not None, side=side)
    return replace(made, measurements=_measurements(shapes[made.key_view]))


def _measurements(shape: Shape) -> Measurements:
    return Measurements(
        long_axis=shape.long_axis,
        short_axis=shape.short_axis,
        area=shape.area,
        circularity=shape.circularity,
        margin_sharpness=shape.margin_sharpness,
        calibrated=shape.calibrated,
    )


def _picture(path: Path, nodes: Sequence[NodeFinding]) -> NDArray[np.uint8]:
    frame = nodes[0].views[0].frame_number
    outlines = [Outline(n.views[0].contour, n.number, n.label) for n in nodes]
    return np.asarray(draw(_frames(path)[frame - 1], outlines, "Nodes as drawn by the generator."))
