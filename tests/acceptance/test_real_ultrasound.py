"""Real ultrasound files of ten vendors through the whole loop: DCMTK pushes, Orthanc receives."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import generate_uid

from dicom_io.findings import Reason
from tests.acceptance.us_dicom_expected import EXPECTED
from tests.node import Node, destination
from tests.peers import Orthanc, dcmtk
from tests.validity import errors, read, referenced_instances

pytestmark = pytest.mark.acceptance

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"

# storescu's switch to propose a transfer syntax first. DCMTK 3.6.7 does not know JPEG XL and
# cannot read that file: our own SCU sends it, and the file whose data set has no SOPInstanceUID.
SWITCHES = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.5": "-xr",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
}
JPEG_XL = "1.2.840.10008.1.2.4.111"


@dataclass(frozen=True)
class Loop:
    """What one run left behind."""

    studies: dict[str, dict[str, object]]  # by file name
    study_uids: dict[str, str]
    source_uids: dict[str, str]
    results: dict[str, list[Path]]  # result objects in Orthanc, by file name of the source
    summaries: dict[str, dict[str, Any]]  # what the node noted of its latest analysis


def renew_uids(source: Path, target: Path) -> tuple[str, str]:
    """Copy a file under fresh UIDs, its pixels and transfer syntax as they are.

    A data set that has no SOPInstanceUID gets none: only the file's meta group names the instance.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(source)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
        instance = generate_uid()
        if "SOPInstanceUID" in ds:
            ds.SOPInstanceUID = instance
        ds.file_meta.MediaStorageSOPInstanceUID = instance
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.save_as(target, enforce_file_format=True)
    return str(ds.StudyInstanceUID), str(instance)


@pytest.fixture(scope="module")
def loop(us_dicom: Path, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """Push every file as a study of its own, from a source that pushes axillae only."""
    folder = tmp_path_factory.mktemp("loop")
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    uids = {name: renew_uids(us_dicom / name, folder / "in" / name) for name in EXPECTED}
    with (
        Orthanc() as pacs,
        Node(
            folder / "node",
            destinations=[destination("pacs", pacs.ae_title, pacs.dicom_port)],
            sources=[{"ae_title": "US1", "assume_axilla": True}],
        ) as node,
    ):
        for name in EXPECTED:
            path = folder / "in" / name
            ds = read(path)
            syntax = str(ds.file_meta.TransferSyntaxUID)
            if syntax == JPEG_XL or "SOPInstanceUID" not in ds:
                node.push([path], "US1")
            else:
                peer = ("-aet", "US1", "-aec", "AXNODE", "127.0.0.1", node.port)
                dcmtk("storescu", "-R", SWITCHES[syntax], *peer, path)
        states = node.settle(study for study, _ in uids.values())
        summaries, syntaxes = node.summaries(), node.transfer_syntaxes()
        files = pacs.download_all(folder / "out")
    by_study = {study: name for name, (study, _) in uids.items()}
    results: dict[str, list[Path]] = {name: [] for name in EXPECTED}
    for path in files:
        results[by_study[read(path).StudyInstanceUID]].append(path)
    for name, (_, uid) in uids.items():
        own = read(folder / "in" / name).file_meta.TransferSyntaxUID
        assert own == syntaxes[uid], f"{name} was not received in its own transfer syntax"
    return Loop(
        studies={by_study[uid]: state for uid, state in states.items()},
        study_uids={name: study for name, (study, _) in uids.items()},
        source_uids={name: uid for name, (_, uid) in uids.items()},
        results=results,
        summaries={by_study[uid]: summary for uid, summary in summaries.items()},
    )


def test_every_listed_file_exists_and_none_is_forgotten(us_dicom: Path) -> None:
    assert set(EXPECTED) == {path.name for path in us_dicom.glob("*.dcm")}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_study_ends_as_expected(loop: Loop, name: str) -> None:
    expected = EXPECTED[name]
    study = loop.studies[name]
    state = {"analysed": "delivered"}.get(expected.outcome, expected.outcome)
    assert state == study["state"], study["reason"]
    if expected.reason:
        assert Reason(expected.reason).words in str(study["reason"])
    assert study["version"] == 1


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_results_are_valid_and_refer_to_what_exists(loop: Loop, name: str) -> None:
    """Dciodvfy has no error; same study; every reference is a source or a result of it."""
    results = loop.results[name]
    assert sum(read(p).SOPClassUID == COMPREHENSIVE_SR for p in results) == 1
    known = {loop.source_uids[name]} | {str(read(path).SOPInstanceUID) for path in results}
    for path in results:
        ds = read(path)
        assert errors(path) == []
        assert loop.study_uids[name] == ds.StudyInstanceUID
        references = set(referenced_instances(ds))
        assert loop.source_uids[name] in references
        assert references <= known
        assert ds.SeriesDescription.startswith("DEMONSTRATION")


def test_every_file_that_pydicom_decodes_was_decoded(loop: Loop) -> None:
    undecoded = {"undecodable", "unsupported_transfer_syntax", "no_image", "too_large"}
    for name, expected in EXPECTED.items():
        reasons = {e["reason"] for e in loop.summaries[name]["exclusions"]}
        assert bool(reasons & undecoded) != expected.decodes, name


def test_nodes_were_outlined_somewhere_and_without_a_node_there_is_no_seg(loop: Loop) -> None:
    outlined = {name for name, summary in loop.summaries.items() if summary["nodes"]}
    assert outlined
    for name, results in loop.results.items():
        classes = {read(path).SOPClassUID for path in results}
        assert (SEGMENTATION in classes) == (name in outlined), name


def test_the_file_without_sop_instance_uid_was_pushed_without_one(us_dicom: Path) -> None:
    without = [name for name in EXPECTED if "SOPInstanceUID" not in read(us_dicom / name)]
    assert without == ["sonoque_phantom_anechoic_jpeg_rgb.dcm"]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_frames_and_calibration_are_as_expected(loop: Loop, name: str) -> None:
    expected = EXPECTED[name]
    summary = loop.summaries[name]
    read_frames = sum(image["frames"] for image in summary["images"])
    excluded = {(e["frame_number"], e["reason"]) for e in summary["exclusions"]}
    if expected.outcome == "analysed":
        assert expected.frames - len(expected.excluded_frames) == read_frames
        assert set(expected.excluded_frames) == excluded
        assert [expected.calibrated] == [i["calibrated"] for i in summary["images"]]
        assert [expected.tissue_boxes] == [i["regions"] for i in summary["images"]]
    else:
        assert read_frames == 0
        assert {(None, expected.reason)} == excluded


def test_demonstration_says_so_and_gives_no_qualitative_finding(loop: Loop) -> None:
    for results in loop.results.values():
        for path in results:
            assert b"Metastatic disease to axillary" not in path.read_bytes()
