"""The three rules that come before every feature."""

import time
from pathlib import Path

import pytest

import sample_dicoms
from tests.node import Node, axnode, destination, toml
from tests.peers import Orthanc, free_port
from tests.validity import read

pytestmark = pytest.mark.acceptance


def test_node_never_feeds_itself(tmp_path: Path) -> None:
    """A PACS that forwards everything back gets success, and the study stays at version 1."""
    path = Path(sample_dicoms.__file__).parent / "1-benign-stills-1.dcm"
    study = str(read(path).StudyInstanceUID)
    port = free_port()
    with (
        Orthanc(modalities={"node": ("AXNODE", "127.0.0.1", port)}, forward_to="node") as pacs,
        Node(
            tmp_path,
            destinations=[destination("pacs", pacs.ae_title, pacs.dicom_port)],
            node={"port": port},
        ) as node,
    ):
        node.push([path])
        node.settle([study], ["delivered"])
        assert _eventually(lambda: "own_object" in node.log), pacs.log[-2000:]
        time.sleep(2)  # longer than the quiet period: what came back would be assembled by now
        state = node.studies()[study]
    assert state["state"] == "delivered"
    assert (state["version"], state["instances"]) == (1, 1)


def _eventually(condition, timeout_s: float = 30) -> bool:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(condition())


def test_heart_is_ignored_and_nothing_is_sent(us_dicom: Path, tmp_path: Path) -> None:
    path = us_dicom / "philips_epiq_jpegll_mono.dcm"  # adult echo
    study = str(read(path).StudyInstanceUID)
    with (
        Orthanc() as pacs,
        Node(tmp_path, destinations=[destination("pacs", pacs.ae_title, pacs.dicom_port)]) as node,
    ):
        node.push([path])
        state = node.settle([study])[study]
        assert pacs.instances() == []
    assert state["state"] == "ignored"
    assert "neither axilla nor breast" in state["reason"]
    assert state["version"] == 0


def test_demonstration_bundle_does_not_leave_the_machine(tmp_path: Path) -> None:
    """A destination elsewhere: refuses to start, and says how to allow it."""
    config = tmp_path / "axnode.toml"
    tables = {
        "node": {"port": free_port(), "state_dir": str(tmp_path / "state")},
        "http": {"port": free_port()},
        "destinations": [{"name": "pacs", "ae_title": "PACS", "host": "192.0.2.1", "port": 104}],
    }
    config.write_text(toml(tables))
    done = axnode("serve", "--config", str(config))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "allow_demonstration = true" in done.stderr
    config.write_text(toml({**tables, "model": {"allow_demonstration": True}}))
    checked = axnode("check", "--config", str(config)).stdout
    assert "allow_demonstration" not in checked
