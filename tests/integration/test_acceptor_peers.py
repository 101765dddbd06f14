"""The acceptor with five independent implementations of DICOM's other side."""

import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, build_role
from pynetdicom.presentation import build_context

from dicom_io.acceptor import Acceptor
from dicom_io.part10 import header, split
from dicom_io.syntaxes import UNCOMPRESSED_TRANSFER_SYNTAXES
from tests import builders_wire as wire
from tests.fakes_wire import MemorySink, RecordingHandler, accepting
from tests.peers import Orthanc, dcmtk, free_port, script, system_tool, wait_until

pytestmark = pytest.mark.integration

PEERS = Path(__file__).with_name("peers")
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def handler() -> RecordingHandler:
    return RecordingHandler()


@pytest.fixture
def node(handler: RecordingHandler) -> Iterator[Acceptor]:
    with accepting(handler) as acceptor:
        yield acceptor


def write(
    folder: Path,
    instance: str,
    syntax: str = wire.EXPLICIT,
    *,
    sop_class: str = wire.US_IMAGE,
    size: int = 240_000,
) -> Path:
    """Write a Part 10 file whose pixel data of `size` bytes need several PDUs of any length."""
    path = folder / f"{instance}.dcm"
    pixels = (bytes(range(251)) * (size // 251 + 1))[:size]
    data = wire.dataset(syntax, instance=instance, sop_class=sop_class, rows=60_000, pixels=pixels)
    path.write_bytes(header(sop_class, instance, syntax) + data)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """One image in each uncompressed syntax."""
    return [
        write(tmp_path, "1.2.1", wire.EXPLICIT),
        write(tmp_path, "1.2.2", wire.IMPLICIT),
        write(tmp_path, "1.2.3", wire.BIG),
    ]


def read(sink: MemorySink) -> pydicom.Dataset:
    request = sink.request
    head = header(request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax_uid)
    return pydicom.dcmread(io.BytesIO(head + sink.data))


def assert_same(path: Path, sink: MemorySink) -> None:
    """Check that the file's image arrived in the file's transfer syntax."""
    sent, came = pydicom.dcmread(path), read(sink)
    assert came.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert came.SOPInstanceUID == sent.SOPInstanceUID == sink.request.sop_instance_uid
    assert came.PixelData == sent.PixelData


# DCMTK


def test_echoscu_once_and_with_many_contexts(node: Acceptor, handler: RecordingHandler) -> None:
    dcmtk("echoscu", "-aet", "DCMTK", "-aec", "AXNODE", "127.0.0.1", node.port)
    dcmtk("echoscu", "-ppc", 120, "--repeat", 5, "127.0.0.1", node.port)

    assert [peer.calling_ae for peer in handler.peers] == ["DCMTK", "ECHOSCU"]
    assert handler.peers[0].implementation_version.startswith("OFFIS_DCMTK")
    assert handler.failures == []


@pytest.mark.parametrize("size", [4096, 16384, 131072])
def test_storescu_with_any_pdu_size(
    node: Acceptor, handler: RecordingHandler, files: list[Path], size: int
) -> None:
    for path, option in zip(files, ("-xe", "-xi", "-xb"), strict=True):
        sizes = ("--max-pdu", size, "--max-send-pdu", size)
        dcmtk("storescu", "-R", option, *sizes, "127.0.0.1", node.port, path)

    assert len(handler.stored) == 3
    for path, sink in zip(files, handler.stored, strict=True):
        assert_same(path, sink)
    assert handler.failures == []


def test_dcmsend_with_several_contexts_in_one_association(
    node: Acceptor, handler: RecordingHandler, files: list[Path]
) -> None:
    dcmtk("dcmsend", "-aec", "AXNODE", "127.0.0.1", node.port, *files)

    assert len(handler.peers) == 1
    assert sorted(s.request.sop_instance_uid for s in handler.stored) == ["1.2.1", "1.2.2", "1.2.3"]


def test_real_files_by_dcmsend_come_as_they_lie(node: Acceptor, handler: RecordingHandler) -> None:
    folder = os.environ.get("AXNODE_TEST_DATA")
    if not folder:
        pytest.skip("AXNODE_TEST_DATA is not set: no real ultrasound files")
    compressed = [
        path
        for path in sorted((Path(folder) / "us_dicom").glob("*.dcm"))
        if path.name.startswith(("nema", "philips_cx50", "sonosite", "acme_palette"))
        and split(path)[0].transfer_syntax_uid not in UNCOMPRESSED_TRANSFER_SYNTAXES
    ]
    dcmtk("dcmsend", "--decompress-never", "--no-halt", "127.0.0.1", node.port, *compressed)

    sent = {split(path)[0] for path in compressed}
    came = {
        (s.request.sop_class_uid, s.request.sop_instance_uid, s.request.transfer_syntax_uid)
        for s in handler.stored
    }
    assert {(m.sop_class_uid, m.sop_instance_uid, m.transfer_syntax_uid) for m in sent} == came
    assert len({uid for _, _, uid in came}) == 5


def test_a_refused_class_is_recorded_for_the_administrator(
    node: Acceptor, handler: RecordingHandler, tmp_path: Path
) -> None:
    path = write(tmp_path, "1.2.9", sop_class=CT_IMAGE)
    done = dcmtk("dcmsend", "127.0.0.1", node.port, path, check=False)

    assert "No acceptable Presentation Contexts" in done.stderr
    assert CT_IMAGE in [abstract for abstract, _, _ in handler.rejected]
    assert {reason for _, _, reason in handler.rejected} == {"SOP class not supported"}


def test_storescu_aborting_keeps_what_was_acknowledged(
    node: Acceptor, handler: RecordingHandler, files: list[Path]
) -> None:
    dcmtk("storescu", "--abort", "127.0.0.1", node.port, files[0], check=False)

    wait_until(lambda: len(handler.failures) == 1)
    assert "aborted" in handler.failures[0][1]
    assert len(handler.stored) == 1


def test_storescu_killed_in_mid_store_leaves_nothing(
    node: Acceptor, handler: RecordingHandler, tmp_path: Path
) -> None:
    path = write(tmp_path, "1.2.8", size=30_000_000)
    handler.gate.clear()
    command = [system_tool("storescu"), "-R", "127.0.0.1", str(node.port), str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sender:
        assert handler.writing.wait(20)
        sender.kill()
    handler.gate.set()

    wait_until(lambda: len(handler.failures) == 1)
    assert [sink.end for sink in handler.sinks] == ["discarded"]


# pynetdicom


@pytest.mark.parametrize("size", [4096, 16382, 0])
def test_pynetdicom_with_any_pdu_size(
    node: Acceptor, handler: RecordingHandler, files: list[Path], size: int
) -> None:
    ae = AE("PYNET")
    ae.maximum_pdu_size = size
    contexts = [build_context(wire.US_IMAGE, s) for s in (wire.EXPLICIT, wire.IMPLICIT, wire.BIG)]
    assoc = ae.associate(
        "127.0.0.1", node.port, contexts=[*contexts, build_context(wire.VERIFICATION)], max_pdu=size
    )
    assert assoc.is_established
    assert assoc.acceptor.maximum_length == 131072
    assert assoc.send_c_echo().Status == 0
    for path in files:
        assert assoc.send_c_store(path).Status == 0
    assoc.release()

    for path, sink in zip(files, handler.stored, strict=True):
        assert_same(path, sink)
    assert handler.failures == []


def test_pynetdicom_negotiates_roles_and_reports_commitment(
    node: Acceptor, handler: RecordingHandler
) -> None:
    roles = [
        build_role(wire.COMMITMENT, scu_role=False, scp_role=True),
        build_role(wire.US_IMAGE, scu_role=True, scp_role=True),
    ]
    assoc = AE("PACS").associate(
        "127.0.0.1",
        node.port,
        contexts=[
            build_context(wire.COMMITMENT, wire.IMPLICIT),
            build_context(wire.US_IMAGE, wire.EXPLICIT),
        ],
        ext_neg=roles,
    )
    assert assoc.is_established
    commitment, image = assoc.accepted_contexts
    assert (commitment.as_scu, commitment.as_scp) == (False, True)
    assert (image.as_scu, image.as_scp) == (True, False)
    report = pydicom.Dataset()
    report.TransactionUID = "1.2.3.4.5"
    status, _ = assoc.send_n_event_report(report, 1, wire.COMMITMENT, "1.2.840.10008.1.20.1.1")
    assoc.release()

    assert status.Status == 0
    assert [(kind, syntax) for kind, _, syntax in handler.reports] == [(1, wire.IMPLICIT)]
    assert b"1.2.3.4.5" in handler.reports[0][1]


def test_pynetdicom_aborting_between_stores(
    node: Acceptor, handler: RecordingHandler, files: list[Path]
) -> None:
    assoc = AE("PYNET").associate(
        "127.0.0.1", node.port, contexts=[build_context(wire.US_IMAGE, wire.EXPLICIT)]
    )
    assert assoc.send_c_store(files[0]).Status == 0
    assoc.abort()

    wait_until(lambda: len(handler.failures) == 1)
    assert len(handler.stored) == 1


# Orthanc


def test_orthanc_echoes_and_stores(
    node: Acceptor, handler: RecordingHandler, files: list[Path]
) -> None:
    with Orthanc(modalities={"node": ("AXNODE", "127.0.0.1", node.port)}) as pacs:
        for path in files[:2]:
            pacs.upload(path.read_bytes())
        pacs.echo("node")
        answer = pacs.send("node")

    assert answer["FailedInstancesCount"] == 0
    assert sorted(s.request.sop_instance_uid for s in handler.stored) == ["1.2.1", "1.2.2"]
    pixels = {pydicom.dcmread(path).PixelData for path in files[:2]}
    assert {read(sink).PixelData for sink in handler.stored} == pixels
    assert {peer.calling_ae for peer in handler.peers} == {"ORTHANC"}
    assert handler.failures == []


# dcmjs-dimse


@pytest.fixture(scope="session")
def dcmjs() -> Path:
    """Install the JavaScript peer once per machine and version, below the temporary folder."""
    npm = system_tool("npm")
    wanted = (PEERS / "package.json").read_text()
    version = json.loads(wanted)["dependencies"]["dcmjs-dimse"]
    folder = Path(tempfile.gettempdir()) / f"axnode-dcmjs-dimse-{version}-{os.getuid()}"
    if not (folder / "installed").exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(PEERS / "package.json", folder)
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"npm could not install dcmjs-dimse: {done.stderr.strip()[-200:]}")
        (folder / "installed").touch()
    shutil.copy(PEERS / "send.js", folder)
    return folder


def test_dcmjs_dimse_echoes_and_stores(
    dcmjs: Path, node: Acceptor, handler: RecordingHandler, files: list[Path]
) -> None:
    """It also asks for asynchronous operations and a confirmed user name."""
    done = subprocess.run(
        [system_tool("node"), "send.js", "127.0.0.1", str(node.port), "AXNODE", *files[:2]],
        cwd=dcmjs,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    result = json.loads(done.stdout)

    assert result["error"] is None
    assert result["statuses"] == [0, 0, 0]
    assert result["released"]
    assert sorted(s.request.sop_instance_uid for s in handler.stored) == ["1.2.1", "1.2.2"]
    assert {peer.calling_ae for peer in handler.peers} == {"DCMJS"}
    assert handler.failures == []


# dicom-rs


def test_dicom_rs_echoes(node: Acceptor, handler: RecordingHandler) -> None:
    address = f"127.0.0.1:{node.port}"
    subprocess.run(
        [*script("dicom-echo"), address, "-aec", "AXNODE", "-aet", "RUST"],
        capture_output=True,
        timeout=60,
        check=True,
    )

    assert [(p.calling_ae, p.called_ae) for p in handler.peers] == [("RUST", "AXNODE")]
    # this client hangs up after the answer instead of releasing; the node says so, and no more
    wait_until(lambda: len(handler.failures) == 1)
    assert "without a release" in handler.failures[0][1]


def test_dicom_rs_is_told_where_nobody_listens() -> None:
    """The peer's own failure path works, so its success above means something."""
    done = subprocess.run(
        [*script("dicom-echo"), f"127.0.0.1:{free_port()}"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
