"""The service against real peers: late instances, outages, crashes, restarts."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

import sample_dicoms
from dicom_io import scu
from dicom_io.errors import PeerError
from tests.certificates import US1, a_site
from tests.node import Node, axnode, destination
from tests.peers import Orthanc, dcmtk, free_port
from tests.validity import read

pytestmark = pytest.mark.integration

ROOT = Path(sample_dicoms.__file__).parent
STILLS = [ROOT / f"5-both-sides-{number}.dcm" for number in (1, 2, 3)]
CINE = ROOT / "2-suspicious-cine-1.dcm"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


def study_of(path: Path) -> str:
    return str(read(path).StudyInstanceUID)


def eventually(condition: Callable[[], bool], timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def test_late_instance_makes_a_second_version_that_names_the_first(tmp_path: Path) -> None:
    study = study_of(STILLS[0])
    with (
        Orthanc() as pacs,
        Node(tmp_path, destinations=[destination("pacs", pacs.ae_title, pacs.dicom_port)]) as node,
    ):
        node.push(STILLS[:2])
        assert node.settle([study], ["delivered"])[study]["version"] == 1
        node.push(STILLS[:1])  # a duplicate changes nothing
        node.push(STILLS[2:])
        assert eventually(lambda: node.studies()[study]["version"] == 2)
        node.settle([study], ["delivered"])
        probes = {path: node.get(path).text for path in ("livez", "readyz", "metrics")}
        (tmp_path / "out").mkdir()
        headers = [read(path) for path in pacs.download_all(tmp_path / "out")]
    assert [probes["livez"], probes["readyz"]] == ["ok\n", "ok\n"]
    assert 'axnode_studies{state="delivered"} 1' in probes["metrics"]
    assert study not in probes["metrics"]
    assert "PHANTOM" not in probes["metrics"]
    reports = [ds for ds in headers if ds.SOPClassUID == COMPREHENSIVE_SR]
    first, second = sorted(reports, key=lambda ds: "PredecessorDocumentsSequence" in ds)
    predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    named = predecessor.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert first.SOPInstanceUID == named
    tracked = [
        {segment.TrackingUID for segment in ds.SegmentSequence}
        for ds in headers
        if ds.Modality == "SEG"
    ]
    assert any(a < b or a & b for a in tracked for b in tracked if a is not b)


def test_a_study_goes_its_whole_way_over_tls(tmp_path: Path) -> None:
    study = study_of(STILLS[0])
    site = a_site(tmp_path / "site")
    files = {"certificate": site.node.certificate, "key": site.node.key, "ca": site.ca}
    with (
        Orthanc(config=site.orthanc(site.us2)) as pacs,
        Node(
            tmp_path,
            destinations=[destination("pacs", pacs.ae_title, pacs.dicom_port) | {"tls": True}],
            sources=[{"ae_title": "US1", "certificate_name": US1}],
            tls={name: str(path) for name, path in files.items()},
        ) as node,
    ):
        port = node.remote("US1")
        for client in (None, site.client(site.us2)):  # unencrypted, and as somebody else
            with pytest.raises(PeerError):
                scu.store(replace(port, tls=client), STILLS[:1])
        scu.store(replace(port, tls=site.client()), STILLS[:2])
        node.settle([study], ["delivered"])
        assert len(pacs.instances()) > 1
        assert 'axnode_certificate_expiry_seconds{setting="ca"}' in node.get("metrics").text


def test_dead_pacs_holds_up_nobody_and_gets_its_results_when_it_is_back(tmp_path: Path) -> None:
    """One of two destinations is down; the node is killed meanwhile; nothing is lost or doubled."""
    study = study_of(STILLS[0])
    with Orthanc() as good, Orthanc(ae_title="LATE") as late:
        late.stop()
        with Node(
            tmp_path,
            destinations=[
                destination("good", good.ae_title, good.dicom_port),
                destination("late", late.ae_title, late.dicom_port),
            ],
        ) as node:
            node.push(STILLS)
            node.settle([study], ["delivering"])
            assert eventually(lambda: len(good.instances()) == 3)  # a SEG a series, and the report
            assert "late" in axnode("status", "--config", str(node.config_file)).stdout
            node.kill()
            late.start()
            node.start(ready=False)
            node.settle([study], ["delivered"], timeout_s=120)
            assert sorted(good.instances()) == sorted(late.instances())
            assert len(late.instances()) == 3


def test_killed_analysing_process_is_replaced_and_the_study_finished(tmp_path: Path) -> None:
    study = study_of(CINE)
    with Node(tmp_path) as node:
        (child,) = children(node.pid)
        os.kill(child, signal.SIGKILL)
        node.push([CINE])
        state = node.settle([study], ["delivered"])[study]
        assert [child] != children(node.pid)
    assert "no destination is configured" in state["reason"]


def test_killed_node_resumes_what_it_acknowledged(tmp_path: Path) -> None:
    """Kill -9 right after the last C-STORE response."""
    study = study_of(STILLS[0])
    with Node(tmp_path) as node:
        assert [result.status for result in node.push(STILLS)] == [0, 0, 0]
        node.kill()
        node.start(ready=False)
        state = node.settle([study], ["delivered"])[study]
    assert state["instances"] == 3


def test_status_names_refused_peers_and_contexts(tmp_path: Path) -> None:
    """An admin sees why a modality fails: unknown AE, and a class that is not accepted."""
    ct = tmp_path / "ct.dcm"
    ds = pydicom.dcmread(STILLS[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.save_as(ct, enforce_file_format=True)
    with Node(tmp_path / "node", sources=[{"ae_title": "US1"}]) as node:
        peer = ("127.0.0.1", node.port)
        assert dcmtk("echoscu", "-aec", "AXNODE", "-aet", "WHO", *peer, check=False).returncode
        dcmtk("dcmsend", "-aec", "AXNODE", "-aet", "US1", *peer, ct, check=False)
        text = axnode("status", "--config", str(node.config_file)).stdout
    assert "WHO is not among the [[sources]]" in text
    assert "CT Image Storage" in text


def test_taken_port_is_one_line(tmp_path: Path) -> None:
    with Node(tmp_path / "first") as node:
        other = Node(tmp_path / "second", node={"port": node.port})
        done = axnode("serve", "--config", str(other.config_file))
    assert done.returncode == 4
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert str(node.port) in lines[0]


def test_check_says_what_to_do_about_an_unreachable_pacs(tmp_path: Path) -> None:
    node = Node(tmp_path, destinations=[destination("pacs", "PACS", free_port())])
    done = axnode("check", "--config", str(node.config_file))
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1
    assert "pacs" in failed[0]
    assert "is it running?" in failed[0]
