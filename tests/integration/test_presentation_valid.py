"""Independent judges on presentation states: dciodvfy, dcentvfy and DCMTK."""

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as PilImage
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_io import context, results
from dicom_io.findings import StudyFindings
from dicom_io.frames import Image
from dicom_io.presentation import presentation_states
from tests.builders_objects import NOW, SourceSpec, findings, node, study, uid, view, write
from tests.peers import system_tool
from tests.validity import errors

pytestmark = pytest.mark.integration

DATA = Path(os.environ.get("AXNODE_TEST_DATA", "/nonexistent")) / "us_dicom"
REAL = sorted(DATA.glob("*.dcm")) if DATA.is_dir() else []

SHAPES = {
    "single": (SourceSpec(),),
    "series": (SourceSpec(), SourceSpec(number=2, rows=40), SourceSpec(number=3)),
    "cine": (SourceSpec(frames=4),),
    "mixed": (SourceSpec(), SourceSpec(number=2, frames=3), SourceSpec(series=2, rows=30)),
}


def say(*command: str | Path) -> tuple[int, str]:
    """Run a tool of dicom3tools or DCMTK; return its status and all that it said."""
    name, *arguments = command
    done = subprocess.run(
        [system_tool(str(name)), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def disagreements(*files: Path) -> list[str]:
    """Return what dcentvfy finds different between objects of one patient, study or series."""
    _, said = say("dcentvfy", *files)
    return [line for line in said.splitlines() if line.startswith("Error")]


def draw(found: StudyFindings, paths: list[Path], folder: Path) -> list[Path]:
    """Write the study's presentation states and return their files."""
    sources = [context.read_source(path) for path in paths]
    written = []
    for built in presentation_states(found, sources, uid, NOW):
        written.append(folder / f"pr{built.ordinal}.out")
        written[-1].write_bytes(built.data)
    return written


def on_every_image(sets: list[Dataset], *, calibrated: bool) -> StudyFindings:
    """Return a node on every image, and on every second frame of a cine."""
    nodes = []
    for number, ds in enumerate(sets, 1):
        frames = range(1, int(ds.get("NumberOfFrames", 1)) + 1, 2)
        views = [view(ds, frame, row=number) for frame in frames]
        side = "R" if number == 1 else None
        nodes.append(node(number, *views, calibrated=calibrated, side=side))
    return findings(sets, nodes, calibrated=calibrated, demonstration=calibrated)


@pytest.mark.parametrize("calibrated", [True, False], ids=["mm", "pixels"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "photometric", ["RGB", "YBR_FULL", "PALETTE COLOR", "MONOCHROME1", "MONOCHROME2"]
)
def test_no_error_in_any_combination(
    tmp_path: Path, photometric: str, shape: str, calibrated: bool
) -> None:
    """The modules by dciodvfy, values by the checker of DCMTK, the study around it by dcentvfy."""
    specs = [replace(s, photometric=photometric, calibrated=calibrated) for s in SHAPES[shape]]
    sets, paths = study(tmp_path, *specs)

    states = draw(on_every_image(sets, calibrated=calibrated), paths, tmp_path)

    assert len(states) == (3 if shape == "mixed" else 1)
    for state in states:
        assert errors(state) == []
        # of colour states it looks at nothing but the values' own form
        assert say("dcmpschk", state)[1].endswith("Test passed.\n")
    assert disagreements(*paths, *states) == []


def test_states_fit_the_study_and_its_other_results(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, *SHAPES["mixed"])
    found = on_every_image(sets, calibrated=True)
    files = draw(found, paths, tmp_path)
    for number, built in enumerate(results.build(found, paths, results.ResultSettings(), uid, NOW)):
        files.append(tmp_path / f"{number}.out")
        files[-1].write_bytes(built.data)
    assert disagreements(*paths, *files) == []


def _no_series(ds: Dataset) -> None:
    del ds.ReferencedSeriesSequence


def _no_area(ds: Dataset) -> None:
    del ds.DisplayedAreaSelectionSequence


def _no_shape(ds: Dataset) -> None:
    ds.DisplayedAreaSelectionSequence[0].PresentationSizeMode = "AS IT IS"


def _no_units(ds: Dataset) -> None:
    del ds.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicAnnotationUnits


def _no_words(ds: Dataset) -> None:
    del ds.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue


def _no_order(ds: Dataset) -> None:
    del ds.GraphicLayerSequence[0].GraphicLayerOrder


def _no_polarity(ds: Dataset) -> None:
    ds.PresentationLUTShape = "NEGATIVE"


def _other_patient(ds: Dataset) -> None:
    ds.PatientID = "AX-2"


def _by_dciodvfy(state: Path, source: Path) -> bool:
    return not errors(state)


def _by_dcmpschk(state: Path, source: Path) -> bool:
    return say("dcmpschk", state)[1].endswith("Test passed.\n")


def _by_dcentvfy(state: Path, source: Path) -> bool:
    return not disagreements(source, state)


@pytest.mark.parametrize(
    ("damage", "accepts"),
    [
        (_no_series, _by_dciodvfy),
        (_no_area, _by_dciodvfy),
        (_no_shape, _by_dciodvfy),
        (_no_units, _by_dciodvfy),
        (_no_words, _by_dciodvfy),
        (_no_order, _by_dciodvfy),
        (_no_series, _by_dcmpschk),
        (_no_area, _by_dcmpschk),
        (_no_polarity, _by_dcmpschk),
        (_other_patient, _by_dcentvfy),
    ],
)
def test_the_judges_notice(
    tmp_path: Path, damage: Callable[[Dataset], None], accepts: Callable[[Path, Path], bool]
) -> None:
    """Were they blind to such damage, their silence on ours would say nothing."""
    sets, paths = study(tmp_path, SourceSpec(photometric="MONOCHROME2", frames=2))
    (state,) = draw(on_every_image(sets, calibrated=True), paths, tmp_path)
    assert accepts(state, paths[0])
    ds = pydicom.dcmread(state)
    damage(ds)
    ds.save_as(state)
    assert not accepts(state, paths[0])


def ramp(folder: Path, photometric: str, window: tuple[float, float] | None) -> Path:
    """Write a cine of two frames with every grey value on it."""
    spec = SourceSpec(photometric=photometric, rows=32, columns=64, frames=2)
    (ds,), (path,) = study(folder, spec)
    ds.PixelData = (np.arange(2 * 32 * 64) % 256).astype(np.uint8).tobytes()
    ds["PixelData"].VR = "OB"
    if window:
        ds.WindowCenter, ds.WindowWidth = window
    return write(ds, path)


@pytest.mark.parametrize("window", [None, (90, 100)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dcmtk_shows_the_same_pixels_through_the_state(
    tmp_path: Path, photometric: str, window: tuple[float, float] | None
) -> None:
    """An image must not change its look because a contour is drawn on it."""
    path = ramp(tmp_path, photometric, window)
    found = on_every_image([pydicom.dcmread(path)], calibrated=True)
    (state,) = draw(found, [path], tmp_path)
    shown = tmp_path / "shown.pgm"
    say("dcmp2pgm", "-p", state, path, shown)
    expected = Image.open(path).frame(0)[:, :, 0].astype(int)
    assert np.abs(np.asarray(PilImage.open(shown)).astype(int) - expected).max() <= 1


def test_dcmtk_finds_the_graphics_on_their_frame(tmp_path: Path) -> None:
    """Caption and every point of the contour on frame 1, in DCMTK's own words."""
    sets, paths = study(tmp_path, SourceSpec(photometric="MONOCHROME2", frames=3))
    found = findings(sets, [node(1, view(sets[0], 1)), node(2, view(sets[0], 3, row=9))])
    (state,) = draw(found, paths, tmp_path)
    _, said = say("dcmp2pgm", "-v", "-p", state, paths[0], tmp_path / "shown.pgm")
    layers = said.split("Graphic Layer #")[1:]
    assert [layer.count("type=polyline filled=no units=pixel") for layer in layers] == [1, 0]
    assert 'text 1: "Node 1  12.5 x 6.2 mm"' in layers[0]
    (listed,) = re.findall(r"coordinates: (.*), \n", layers[0])
    points = [[float(v) for v in pair.split("\\")] for pair in listed.split(", ")]
    assert np.allclose(points, found.nodes[0].views[0].contour, atol=1e-4)


def header_of(path: Path, folder: Path) -> Path:
    """Write a copy of a real header without pixels; some have UIDs that are no UIDs."""
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    ds.remove_private_tags()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, keyword, uid(f"{path.stem}/{keyword}", 0))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if ds.file_meta.TransferSyntaxUID not in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(folder / path.name)
    return folder / path.name


@pytest.mark.skipif(not REAL, reason="AXNODE_TEST_DATA names no folder with us_dicom")
@pytest.mark.parametrize("path", REAL, ids=lambda p: p.stem)
def test_no_error_on_real_headers(tmp_path: Path, path: Path) -> None:
    path = header_of(path, tmp_path)
    source = context.read_source(path)
    ds = Dataset()
    ds.StudyInstanceUID, ds.SOPInstanceUID = source.study_instance_uid, source.sop_instance_uid
    ds.NumberOfFrames = source.frame_count
    place = node(1, view(ds, source.frame_count, row=source.rows // 3, size=40))
    states = draw(findings([ds], [place]), [path], tmp_path)
    assert len(states) == int(source.names_frames or not source.is_cine)
    for state in states:
        assert errors(state) == []
        assert say("dcmpschk", state)[1].endswith("Test passed.\n")
