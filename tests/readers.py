"""Result objects as independent readers see them: highdicom, DCMTK, dcmqi and PixelMed."""

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.codes import PRIVATE_SCHEME
from dicom_io.findings import NodeFinding, StudyFindings
from tests.matrix import Case, Place
from tests.peers import dcmtk, system_tool

Value = tuple[float, str]  # with its UCUM unit


@dataclass(frozen=True)
class Group:
    """What a reader needs to know of one measurement group."""

    name: str
    uid: str
    laterality: str | None  # "R", "L" or None
    values: Mapping[str, Value]  # by code value
    place: tuple[str, int | None] | None = None  # image and frame of the contour
    contour: tuple[tuple[float, float], ...] = ()  # columns and rows


_SIDES = {"24028007": "R", "7771000": "L"}


def groups(report: Dataset) -> tuple[list[Group], list[Group]]:
    """Return the groups of the nodes and of the sides, as highdicom finds them.

    It looks for groups among the imaging measurements only; those of the sides stand elsewhere.
    """
    content = report.content
    nodes = [_node(g) for g in content.get_planar_roi_measurement_groups()]
    assert content.get_image_measurement_groups() == []
    sections = content[0].ContentSequence.find(
        hd.sr.CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
    )
    kind = hd.sr.MeasurementsAndQualitativeEvaluations
    items = [item for section in sections for item in section.ContentSequence]
    return nodes, [_group(kind.from_sequence([item])) for item in items]


def _node(group: Any) -> Group:
    assert group.finding_type.value == "59441001"
    region = group.roi
    assert region.graphic_type.value == "POLYLINE"
    image = region.ContentSequence[0].ReferencedSOPSequence[0]
    place = (str(image.ReferencedSOPInstanceUID), image.get("ReferencedFrameNumber"))
    points = tuple((float(x), float(y)) for x, y in region.value)
    return _group(group, place, points)


def _group(
    group: Any,
    place: tuple[str, int | None] | None = None,
    contour: tuple[tuple[float, float], ...] = (),
) -> Group:
    (site,) = group.finding_sites
    side = _SIDES[site.laterality.value] if site.laterality else None
    values = {m.name.value: (float(m.value), m.unit.value) for m in group.get_measurements()}
    return Group(group.tracking_identifier, str(group.tracking_uid), side, values, place, contour)


def said(report: Dataset) -> tuple[list[Any], list[Any]]:
    """Return what highdicom reads in a report, for comparison with `expected`."""
    nodes, sides = groups(report)
    return (
        [(g.name, g.uid, g.laterality, g.place, g.values, g.contour) for g in nodes],
        [(g.laterality, g.values) for g in sides],
    )


def expected(found: StudyFindings, sets: Sequence[Dataset]) -> tuple[list[Any], list[Any]]:
    """Return what a report of the findings must say."""
    frames = {str(ds.SOPInstanceUID): int(ds.get("NumberOfFrames", 1)) for ds in sets}
    nodes = []
    for n in found.nodes:
        key = n.views[n.key_view]
        cine = frames[key.sop_instance_uid] > 1
        place = (key.sop_instance_uid, key.frame_number if cine else None)
        points = tuple((float(x), float(y)) for x, y in np.float32(key.contour))
        values = expected_values(n)
        nodes.append((n.label, n.tracking_uid, n.laterality, place, values, points))
    return nodes, expected_sides(found)


def expected_values(found: NodeFinding) -> dict[str, Value]:
    """Return the numbers that a node's group must hold, rounded as a report rounds them."""
    m = found.measurements
    length, area = ("mm", "mm2") if m.calibrated else ("{pixels}", "{pixels}")
    values = {
        "103339001": (m.long_axis, length),
        "103340004": (m.short_axis, length),
        "AXIS_RATIO": (m.long_axis / m.short_axis, "1"),
        "42798000": (m.area, area),
        "CIRCULARITY": (m.circularity, "1"),
        "MARGIN_SHARPNESS": (m.margin_sharpness, "{0:1}"),
        "SCORE": (found.score, "{0:1}"),
        "FRAMES_SEGM": (len(found.views), "{frames}"),
    }
    return {code: (round(number, 4), unit) for code, (number, unit) in values.items()}


def expected_sides(found: StudyFindings) -> list[tuple[str | None, dict[str, Value]]]:
    """Return side and numbers of each side's group."""
    sides = []
    for side in found.sides:
        values: dict[str, Value] = {"NODE_COUNT": (len(side.node_numbers), "{nodes}")}
        if side.score is not None:
            values["SCORE"] = (side.score, "{0:1}")
        sides.append((side.laterality, values))
    return sides


def read_by_highdicom(ds: Dataset) -> tuple[hd.seg.Segmentation, bool]:
    """Return a SEG as highdicom reads it, and whether it did so without help.

    Version 0.28 wants a PixelSpacing wherever there is a PixelMeasuresSequence, which an
    uncalibrated image cannot honestly have; without the sequence it reads the rest.
    """
    shared = ds.SharedFunctionalGroupsSequence[0]
    measures = shared.get("PixelMeasuresSequence")
    if measures and "PixelSpacing" not in measures[0]:
        with pytest.raises(AttributeError, match="Pixel Measures"):
            hd.seg.Segmentation.from_dataset(ds)
        del shared.PixelMeasuresSequence
        return hd.seg.Segmentation.from_dataset(ds), False
    return hd.seg.Segmentation.from_dataset(ds), True


def mask_by_highdicom(
    seg: hd.seg.Segmentation, case: Case, place: Place, number: int
) -> NDArray[np.bool_]:
    """Return the mask of one segment on one source frame; empty where none is stored."""
    uid, frame = place
    if case.frames(uid) > 1:
        planes = seg.get_pixels_by_source_frame(
            uid,
            [frame],
            segment_numbers=[number],
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )
    else:
        planes = seg.get_pixels_by_source_instance(
            [uid],
            segment_numbers=[number],
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )
    return np.asarray(planes[0, :, :, 0], dtype=bool)


def frames_by_dcmtk(path: Path, folder: Path) -> NDArray[np.bool_]:
    """Return the frames of a SEG as DCMTK's image library draws them."""
    prefix = folder / "frame"
    dcmtk("dcm2pnm", "+Fa", "+op", path, prefix)
    names = sorted(folder.glob("frame.*"), key=lambda p: int(p.suffixes[0][1:]))
    frames = np.array([_pgm(name.read_bytes()) for name in names])
    for name in names:
        name.unlink()
    return frames


def _pgm(data: bytes) -> NDArray[np.bool_]:
    magic, columns, rows, largest = data.split(maxsplit=4)[:4]
    assert (magic, largest) == (b"P5", b"255")
    pixels = np.frombuffer(data[-int(rows) * int(columns) :], np.uint8)
    return pixels.reshape(int(rows), int(columns)) > 127


def dcmqi_tool(name: str) -> str:
    """Path of a program of dcmqi, which its package brings as a binary."""
    dcmqi = pytest.importorskip("dcmqi", reason="dcmqi is not installed (the test extra has it)")
    return str(next(Path(dcmqi.__file__).parent.rglob(f"bin/{name}")))


def report_by_dcmqi(path: Path, folder: Path) -> list[tuple[Any, ...]]:
    """Return name, tracking UID, side and numbers of each node's group, by tid1500reader."""
    out = folder / "report.json"
    command = [dcmqi_tool("tid1500reader"), "--inputDICOM", path, "--outputMetadata", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [
        (
            group["TrackingIdentifier"],
            group["TrackingUniqueIdentifier"],
            group.get("Laterality", {}).get("CodeMeaning"),
            {
                item["quantity"]["CodeValue"]: (float(item["value"]), item["units"]["CodeValue"])
                for item in group["measurementItems"]
            },
        )
        for group in json.loads(out.read_text())["Measurements"]
    ]


def expected_by_dcmqi(found: StudyFindings) -> list[tuple[Any, ...]]:
    """Return what tid1500reader must find in a report."""
    words = {"R": "Right", "L": "Left", None: None}
    return [(n.label, n.tracking_uid, words[n.laterality], expected_values(n)) for n in found.nodes]


def segments_by_dcmqi(path: Path) -> dict[int, NDArray[np.bool_]]:
    """Return, by segment number, the (planes, rows, columns) that segimage2itkimage makes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [dcmqi_tool("segimage2itkimage"), "--inputDICOM", path, "-t", "nrrd"]
        done = subprocess.run(
            [*command, "--outputDirectory", folder, "-p", "s"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {int(file.stem.split("-")[1]): _nrrd(file) for file in folder.glob("*.nrrd")}


def _nrrd(path: Path) -> NDArray[np.bool_]:
    head, data = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in head.decode("ascii").splitlines() if ": " in line)
    pixels = gzip.decompress(data) if fields["encoding"] == "gzip" else data
    kind = {"unsigned char": np.uint8, "short": np.int16, "unsigned short": np.uint16}
    sizes = [int(size) for size in reversed(fields["sizes"].split())]
    return np.frombuffer(pixels, kind[fields["type"]]).reshape(sizes) > 0


def text_by_dcmtk(paths: Iterable[Path]) -> subprocess.CompletedProcess[str]:
    """Return what dsrdump says of many reports."""
    return dcmtk("dsrdump", "+Pf", "+Pl", *paths, check=False)


def structure(report: Dataset) -> frozenset[tuple[str, ...]]:
    """Return the kinds of content items in a report, each with the kinds it lies in.

    Items of private concepts are left out: no template has a word on them.
    """
    return frozenset({(str(report.SOPClassUID),), *_kinds(report, ())})


def _kinds(ds: Dataset, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for item in ds.get("ContentSequence", ()):
        if item.ConceptNameCodeSequence[0].CodingSchemeDesignator == PRIVATE_SCHEME:
            continue
        codes = [item.ConceptNameCodeSequence, item.get("ConceptCodeSequence", ())]
        for measured in item.get("MeasuredValueSequence", ()):
            codes.append(measured.MeasurementUnitsCodeSequence)
        values = [str(code.CodeValue) for sequence in codes for code in sequence]
        kind = (*above, " ".join([item.RelationshipType, item.ValueType, *values]))
        yield kind
        yield from _kinds(item, kind)


_VALIDATOR = Path(__file__).with_name("pixelmed.py")


def judged_by_pixelmed(paths: Sequence[Path]) -> dict[Path, list[str]]:
    """Return what DicomSRValidator says of each report, from two virtual machines for all."""
    system_tool("DicomSRValidator")
    pytest.importorskip("jpype", reason="jpype1 is not installed (the test extra has it)")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(_judged, (paths[::2], paths[1::2]))
    said = first | second
    return {path: said[str(path)].splitlines() for path in paths}


def _judged(paths: Sequence[Path]) -> dict[str, str]:
    command = [sys.executable, str(_VALIDATOR), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))
