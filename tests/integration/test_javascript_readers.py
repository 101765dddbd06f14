"""dcmjs and cornerstone's adapters, in the versions inside OHIF 3.13, read our SEG in Node."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io import results
from dicom_io.findings import NodeFinding
from tests.builders_objects import NOW, SourceSpec, findings, node, study, uid, view
from tests.viewer_tools import run_script

pytestmark = pytest.mark.integration

SHAPES = {
    "single": (SourceSpec(),),
    "series": (SourceSpec(), SourceSpec(number=2), SourceSpec(number=3)),
    "cine": (SourceSpec(frames=6),),
}
# Rows times columns is no multiple of eight: frames after the first begin within a byte
WITHIN_A_BYTE = (SourceSpec(frames=6, rows=25, columns=37),)
Place = tuple[str, int]  # SOP Instance UID and 1-based frame


@dataclass(frozen=True)
class Case:
    """A SEG, its images, and the mask of each segment on each frame that has any."""

    seg: Path
    images: list[Path]
    masks: dict[tuple[Place, int], NDArray[np.bool_]]


def make(
    folder: Path,
    specs: Sequence[SourceSpec],
    count: int = 2,
    geometry: str = "viewer",
    *,
    overlapping: bool = False,
) -> Case:
    """Build a SEG with one node, or two: the second on the last image and, in a cine, frame 4."""
    sets, paths = study(folder / "in", *specs)
    nodes = [nodes_on(sets[0], 1, (2, 3, 5), row=3)]
    if count > 1:
        nodes.append(nodes_on(sets[-1], 2, (3, 4), row=6 if overlapping else 14))
    settings = results.ResultSettings(sr=False, seg_geometry=geometry)
    (built,) = results.build(findings(sets, nodes), paths, settings, uid, NOW)
    seg = folder / "seg.dcm"
    seg.write_bytes(built.data)
    return Case(seg, paths, known_masks(sets, nodes))


def nodes_on(ds: Dataset, number: int, frames: Sequence[int], row: int) -> NodeFinding:
    used = frames if "NumberOfFrames" in ds else (1,)
    return node(number, *(view(ds, frame, row=row, size=8 + frame) for frame in used))


def known_masks(
    sets: Sequence[Dataset], nodes: Sequence[NodeFinding]
) -> dict[tuple[Place, int], NDArray[np.bool_]]:
    size = (int(sets[0].Rows), int(sets[0].Columns))
    masks = {}
    for found in nodes:
        for seen in found.views:
            plane = np.zeros(size, dtype=bool)
            height, width = seen.mask.shape
            plane[seen.row : seen.row + height, seen.column : seen.column + width] = seen.mask
            masks[(seen.sop_instance_uid, seen.frame_number), found.number] = plane
    return masks


def plane(text: str, like: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(like.shape)


def assert_dcmjs_reads(case: Case) -> None:
    read = run_script("seg_dcmjs.mjs", case.seg)
    found = {((f["image"], f["frame"]), f["segment"]): f["plane"] for f in read["frames"]}
    assert len(found) == len(read["frames"])
    assert set(case.masks) == set(found)
    for key, mask in case.masks.items():
        assert (plane(found[key], mask) == mask).all()


def adapters(case: Case) -> tuple[list[dict[Place, NDArray[np.uint8]]], bool]:
    """Return the adapters' label maps, layer by layer, and whether they saw an overlap."""
    read = run_script("seg_adapters.mjs", case.seg, *case.images)
    like = next(iter(case.masks.values()))
    layers = [
        {(item["image"], item["frame"]): plane(item["plane"], like) for item in layer}
        for layer in read["layers"]
    ]
    return layers, read["overlapping"]


def label_map(case: Case, place: Place) -> NDArray[np.uint8]:
    """Return what one label map of a frame must hold; zero where there is no node."""
    labels = np.zeros(next(iter(case.masks.values())).shape, np.uint8)
    for (where, number), mask in case.masks.items():
        if where == place:
            labels[mask] = number
    return labels


@pytest.mark.parametrize("geometry", ["viewer", "strict", "volume"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_dcmjs_reads_every_mask(tmp_path: Path, shape: str, count: int, geometry: str) -> None:
    assert_dcmjs_reads(make(tmp_path, SHAPES[shape], count, geometry))


def test_dcmjs_reads_overlapping_masks(tmp_path: Path) -> None:
    assert_dcmjs_reads(make(tmp_path, SHAPES["cine"], overlapping=True))


def test_dcmjs_reads_frames_that_begin_within_a_byte(tmp_path: Path) -> None:
    assert_dcmjs_reads(make(tmp_path, WITHIN_A_BYTE))


@pytest.mark.parametrize("geometry", ["viewer", "volume"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_adapters_make_the_same_label_map(
    tmp_path: Path, shape: str, count: int, geometry: str
) -> None:
    """Of every frame of every image, the ones without a node among them."""
    case = make(tmp_path, SHAPES[shape], count, geometry)
    (layer,), overlapping = adapters(case)
    assert not overlapping
    assert {place for place, _ in case.masks} <= set(layer)
    for place, labels in layer.items():
        assert (labels == label_map(case, place)).all()


def test_adapters_keep_overlapping_nodes_apart(tmp_path: Path) -> None:
    """One layer a node, so that no pixel of either is lost."""
    case = make(tmp_path, SHAPES["cine"], overlapping=True)
    layers, overlapping = adapters(case)
    assert overlapping
    for (place, number), mask in case.masks.items():
        assert any(((layer[place] == number) == mask).all() for layer in layers)


def test_adapters_misplace_frames_that_begin_within_a_byte(tmp_path: Path) -> None:
    """What was seen, not what is wanted: 5.6.8 reads each frame from the next whole byte.

    Red here means that the adapters have learnt it: then docs/viewers.md is to be corrected.
    """
    case = make(tmp_path, WITHIN_A_BYTE, count=1)
    (layer,), _ = adapters(case)
    first, *later = sorted((place for place, _ in case.masks), key=lambda place: place[1])
    assert (layer[first] == label_map(case, first)).all()
    for place in later:
        assert layer[place].sum() == label_map(case, place).sum()
        assert (layer[place] != label_map(case, place)).any()
