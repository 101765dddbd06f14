"""Independent readers before every kind of result object: what they read is what was found."""

import io
import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest

from tests import matrix, mutants, readers
from tests.matrix import Case
from tests.validity import errors, evidence, inflated, listed_images, referenced_instances

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Every combination, built once."""
    folder = tmp_path_factory.mktemp("matrix")
    return [matrix.build(folder / str(n), c) for n, c in enumerate(matrix.combinations())]


def test_any_three_levels_come_together() -> None:
    """Sources and findings in full; each setting with every two of their levels."""
    together = list(matrix.combinations())
    levels = {**matrix.SOURCES, **matrix.SETTINGS}
    seen = {frozenset(three) for c in together for three in itertools.combinations(c.items(), 3)}
    wanted = {
        frozenset(zip(names, three, strict=True))
        for names in itertools.combinations(levels, 3)
        for three in itertools.product(*(levels[name] for name in names))
    }
    assert wanted == seen
    assert len(together) == 240


def test_dciodvfy_finds_no_error(cases: list[Case]) -> None:
    """It cannot unfold a deflated SEG, so that it gets DCMTK's copy of that."""
    paths = {path: case.name for case in cases for path in case.objects}
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(paths, pool.map(lambda p: errors(inflated(p)), paths), strict=True))
    assert {f"{paths[path]} {path.name}": said for path, said in found.items() if said} == {}


def test_no_node_no_seg_but_always_a_report(cases: list[Case]) -> None:
    """One SEG per series, size, and still or cine: two where the nodes of a mixed study are."""
    wanted = [len({n.views[0].sop_instance_uid for n in case.found.nodes}) for case in cases]
    shared = [case.levels["shape"] == "series" for case in cases]
    assert [len(case.segs) for case in cases] == [
        min(count, 1) if one else count for count, one in zip(wanted, shared, strict=True)
    ]


def test_every_reference_leads_somewhere(cases: list[Case]) -> None:
    """To a source, or from the report to a SEG of its version; the evidence lists them all."""
    for case in cases:
        images = {str(ds.SOPInstanceUID) for ds in case.sets}
        segs = [matrix.header(path) for path in case.segs]
        for seg in segs:
            assert set(referenced_instances(seg)) == set(listed_images(seg)) <= images, case.name
        report = matrix.header(case.sr)
        wanted = {
            (ds.SeriesInstanceUID, ds.SOPClassUID, ds.SOPInstanceUID) for ds in (*case.sets, *segs)
        }
        assert set(evidence(report)) == wanted, case.name
        assert set(referenced_instances(report)) == {instance for *_, instance in wanted}


def test_highdicom_reads_the_findings_from_every_report(cases: list[Case]) -> None:
    for case in cases:
        report = hd.sr.srread(io.BytesIO(case.sr.read_bytes()))
        assert readers.said(report) == readers.expected(case.found, case.sets), case.name


def test_highdicom_reads_the_masks_from_every_seg(cases: list[Case]) -> None:
    """By source image and frame; only without calibration does it need help."""
    unaided = set()
    for case in cases:
        for path in case.segs:
            ds = matrix.header(path)
            seg, alone = readers.read_by_highdicom(ds)
            unaided.add((case.levels["seg_geometry"], case.levels["calibrated"], alone))
            for number, planes in matrix.drawn(case, ds).items():
                for place in matrix.places(case, ds):
                    read = readers.mask_by_highdicom(seg, case, place, number)
                    assert (read == planes.get(place, False)).all(), f"{case.name} {place}"
    assert unaided == {
        (geometry, calibrated, geometry != "viewer" or calibrated)
        for geometry in ("viewer", "strict", "volume")
        for calibrated in (True, False)
    }


def test_dcmtk_reads_the_masks_from_every_seg(cases: list[Case], tmp_path: Path) -> None:
    """Frame by frame, as its own image library draws them."""
    for case in cases:
        for path in case.segs:
            ds = matrix.header(path)
            frames = readers.frames_by_dcmtk(path, tmp_path)
            wanted = matrix.stored(case, ds)
            assert np.array_equal(frames, wanted), f"{case.name} {path.name}"


def test_dcmqi_reads_the_masks_of_a_volume(cases: list[Case]) -> None:
    """As 3D Slicer does, through ITK; it needs the geometry that only `volume` invents."""
    read = 0
    for case in cases:
        for path in case.segs if case.levels["seg_geometry"] == "volume" else ():
            ds = matrix.header(path)
            volumes = readers.segments_by_dcmqi(path)
            assert volumes.keys() == {int(item.SegmentNumber) for item in ds.SegmentSequence}
            for number, planes in matrix.volumes(case, ds).items():
                assert np.array_equal(volumes[number], planes), f"{case.name} {number}"
                read += 1
    assert read > 0


def test_dcmqi_reads_the_findings_from_every_report(cases: list[Case], tmp_path: Path) -> None:
    for case in cases:
        read = readers.report_by_dcmqi(case.sr, tmp_path)
        assert read == readers.expected_by_dcmqi(case.found), case.name


# The build of DCMTK has no rules for UTF-8, and says so of every file
_NOT_OF_THE_REPORT = "The VR checker does not support this Specific Character Set: ISO_IR 192"


def test_dcmtk_reads_every_report(cases: list[Case]) -> None:
    """Its own parser of content trees says no word against one, and says the findings."""
    done = readers.text_by_dcmtk(case.sr for case in cases)
    assert done.returncode == 0
    complaints = [line for line in done.stderr.splitlines() if _NOT_OF_THE_REPORT not in line]
    assert complaints == []
    texts = re.split(r"^dsrdump \(\d+/\d+\): .*$", done.stdout, flags=re.MULTILINE)[1:]
    for case, text in zip(cases, texts, strict=True):
        for n in case.found.nodes:
            assert f'="{n.tracking_uid}">' in text, case.name
            unit = "mm" if n.measurements.calibrated else "{pixels}"
            assert f'NUM:(,,"Long axis")="12.5" ({unit},UCUM,' in text, case.name
        assert text.count("SCOORD") == len(case.found.nodes), case.name


# What PixelMed's validator says of our reports, and why it may
_MAY_BE_SAID = {
    r"Warning: .*99AXNODE.*: Content Item not in template$": (
        "what this product says beyond the templates, which are extensible"
    ),
    r"Warning: .*\(C0034375,UMLS,[^/]*/.*: Content Item not in template$": (
        "what is said of a side: TID 1500 has single evaluations here, and is extensible"
    ),
    r"Warning: .*\((122405|121106|121140|111330),DCM,[^/]*: Content Item not in template$": (
        "no rows in its tables of extensible templates: Algorithm Manufacturer, a comment and an "
        "evaluation in a group, Number of Frames, for TID 1602 has nothing for ultrasound"
    ),
}


def test_pixelmed_finds_no_error(cases: list[Case], tmp_path: Path) -> None:
    """One report of every structure; the validator takes seconds and looks at no number.

    The group of a node is held against TID 1410 in a report without sides.
    """
    paths = {readers.structure(matrix.header(case.sr)): case.sr for case in cases}
    rich, none = matrix.rich(tmp_path / "rich"), matrix.not_evaluable(tmp_path / "none")
    alone = matrix.one_node_alone(tmp_path / "alone")
    broken = mutants.write(rich.sr, matrix.OUTSIDE_ITS_GROUP)
    verdicts = readers.judged_by_pixelmed([*paths.values(), rich.sr, none.sr, alone.sr, broken])
    said = set()
    (noticed,) = (line for line in verdicts.pop(broken) if line.startswith("Error"))
    assert noticed.endswith("not found in context group 29")  # the modalities
    for path, lines in verdicts.items():
        assert lines[-1] == "IOD validation complete", path
        assert "Root Template Validation Complete" in lines
        judged = [line for line in lines if line.startswith(("Error", "Warning"))]
        reasons = {line: [p for p in _MAY_BE_SAID if re.match(p, line)] for line in judged}
        assert [line for line, patterns in reasons.items() if not patterns] == [], path
        said |= {p for patterns in reasons.values() for p in patterns}
    assert said == _MAY_BE_SAID.keys()
    assert not any("Template 1410" in line for line in verdicts[alone.sr])
