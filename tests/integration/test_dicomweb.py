"""An archive reached by DICOMweb: Orthanc's plugin, and answers that it does not give."""

import hashlib
import http.server
import json
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import sample_dicoms
from dicom_io.archive import Archive
from dicom_io.dicomweb import echo
from dicom_io.dicomweb_query import Query
from dicom_io.dicomweb_store import store
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome
from tests.node import Node, axnode
from tests.peers import Orthanc, free_port

pytestmark = pytest.mark.integration
SAMPLES = Path(sample_dicoms.__file__).parent
STILLS = sorted(SAMPLES.glob("1-benign-stills-*.dcm"))


@pytest.fixture(scope="module")
def pacs() -> Iterator[Orthanc]:
    with Orthanc(dicomweb=True) as running:
        yield running


def archive(pacs: Orthanc) -> Archive:
    return Archive("web", f"{pacs.url}/dicom-web")


def test_files_arrive_byte_for_byte(pacs: Orthanc) -> None:
    there, seen = archive(pacs), []
    echo(there)
    results = store(there, STILLS, seen.append)
    assert [result.outcome for result in results] == [Outcome.STORED] * len(STILLS)
    assert seen == results
    kept = {
        hashlib.sha256(pacs.get_bytes(f"/instances/{i}/file")).hexdigest()
        for i in pacs.get("/instances")
    }
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in STILLS} <= kept


def test_what_is_no_dicom_is_refused_for_good(pacs: Orthanc, tmp_path: Path) -> None:
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(b"not DICOM at all")
    (result,) = store(archive(pacs), [odd])
    assert result.outcome is Outcome.PERMANENT
    assert result.detail
    (missing,) = store(archive(pacs), [tmp_path / "none.dcm"])
    assert missing.outcome is Outcome.TRANSIENT


@contextmanager
def answering(status: int, body: object = None) -> Iterator[Archive]:
    """Serve one answer to everything; what was asked with stands in `headers`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            left = int(self.headers.get("Content-Length", "0"))
            while left and (piece := self.rfile.read(min(left, 65_536))):
                left -= len(piece)
            data = json.dumps(body).encode() if body is not None else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Location", "/elsewhere")  # of redirections
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Archive("web", f"http://127.0.0.1:{server.server_port}/dicom-web", token="hush")  # noqa: S106
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


STORED = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]}}


def failed(reason: int) -> object:
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, STORED, Outcome.STORED),
        (200, [STORED], Outcome.STORED),
        (202, STORED, Outcome.STORED),
        (200, {}, Outcome.TRANSIENT),  # a page of maintenance says nothing of the object
        (200, "<html>", Outcome.TRANSIENT),
        (202, None, Outcome.TRANSIENT),
        (200, {"00081198": None}, Outcome.TRANSIENT),
        (202, {"00081198": {"Value": ["odd", 7]}}, Outcome.TRANSIENT),
        (202, {"00081198": {"Value": [{"00081197": {"Value": ["43264"]}}]}}, Outcome.PERMANENT),
        (500, None, Outcome.TRANSIENT),  # it may be the object
        (202, failed(0x0122), Outcome.UNSUPPORTED),
        (200, failed(0xA700), Outcome.TRANSIENT),
        (409, failed(0xC000), Outcome.PERMANENT),
        (409, failed(0x0111), Outcome.WARNING),
        (415, None, Outcome.UNSUPPORTED),
        (400, None, Outcome.PERMANENT),
    ],
)
def test_answers_mean_what_the_standard_says(status: int, body: object, outcome: Outcome) -> None:
    with answering(status, body) as there:
        (result,) = store(there, STILLS[:1])
    assert result.outcome is outcome


def test_a_large_object_is_not_held_in_memory(tmp_path: Path) -> None:
    large, ticks = tmp_path / "large.dcm", []
    with large.open("wb") as file:
        file.truncate(64 << 20)
    with answering(200, STORED) as there:
        store(there, STILLS[:1])  # what is imported and made once
        tracemalloc.start()
        (result,) = store(there, [large], on_tick=lambda: ticks.append(1))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert result.outcome is Outcome.STORED
    assert peak < 8 << 20
    assert len(ticks) > 10  # whoever waits for it is not stuck


def test_a_file_that_cannot_be_read_is_not_the_archive_s_fault() -> None:
    """It can be opened, and its bytes cannot be had."""
    with answering(200, STORED) as there:
        results = store(there, [Path("/proc/self/mem"), STILLS[0]])
    assert [each.outcome for each in results] == [Outcome.TRANSIENT, Outcome.STORED]
    assert results[0].detail == "the file cannot be read (Input/output error)"


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_what_an_admin_or_time_puts_right_is_tried_again(status: int) -> None:
    with answering(status) as there, pytest.raises(PeerError) as caught:
        store(there, STILLS[:1])
    assert caught.value.transient
    assert str(status) in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nothing_is_sent_elsewhere(status: int) -> None:
    with answering(status) as there:
        for ask in (
            lambda: echo(there),
            lambda: store(there, STILLS[:1]),  # which would be asked without the object
            lambda: list(Query(there).studies({})),
        ):
            with pytest.raises(PeerError, match="elsewhere"):
                ask()


def test_an_archive_that_is_not_there_is_said_in_words() -> None:
    there = Archive("web", f"http://127.0.0.1:{free_port()}/dicom-web", "anna", "hush")
    for ask in (lambda: echo(there), lambda: store(there, STILLS[:1])):
        with pytest.raises(PeerError, match="cannot be reached") as caught:
            ask()
        assert "hush" not in str(caught.value)


def test_results_go_to_a_destination_by_stow(pacs: Orthanc, tmp_path: Path) -> None:
    web = {"name": "web", "dicomweb": f"{pacs.url}/dicom-web/"}
    with Node(tmp_path, [web]) as node:
        node.push(STILLS)
        node.settle([study_uid()])
        built = {path.read_bytes() for path in (node.state_dir / "objects").glob("??/*.dcm")}
        assert len(built) == 2
        assert built <= {pacs.download(instance) for instance in pacs.instances()}
        whole = axnode("check", "--config", str(node.config_file))
    assert "a query (QIDO-RS) answered by http://127.0.0.1" in whole.stdout


def study_uid() -> str:
    from dicom_io.frames import read_header

    return str(read_header(STILLS[0]).StudyInstanceUID)


def test_an_archive_s_studies_are_brought_once_and_those_that_failed_again(
    pacs: Orthanc, tmp_path: Path
) -> None:
    store(archive(pacs), [*STILLS, SAMPLES / "7-normal-1.dcm"])
    web = {"name": "web", "dicomweb": f"{pacs.url}/dicom-web"}
    journal = tmp_path / "journal"
    with Node(tmp_path, [web]) as node:
        words = ["--config", str(node.config_file), "--from", "web", "--journal", str(journal)]
        first = axnode("backfill", *words, "--query", "PatientID=PHANTOM-01")
        assert (first.returncode, first.stderr) == (0, "")
        assert f"{study_uid()}  sent\n1 studies, 0 failed" in first.stdout
        node.settle([study_uid()])
        found = node.studies()[study_uid()]
        assert (found["instances"], found["version"]) == (len(STILLS), 1)
        everything = axnode("backfill", *words)
        assert study_uid() not in everything.stdout
        assert "1 studies, 0 failed" in everything.stdout
        node.settle(node.studies())
        assert "0 studies" in axnode("backfill", *words).stdout
    stopped = axnode("backfill", *words[:-1], str(tmp_path / "another"))
    assert stopped.returncode == 0  # the node has them all: nothing is to be pushed
    wrong = axnode("backfill", "--config", words[1], "--from", "nobody", "--journal", words[-1])
    assert (wrong.returncode, "no such destination" in wrong.stderr) == (3, True)


def test_studies_are_found_and_fetched(pacs: Orthanc) -> None:
    there = archive(pacs)
    store(there, STILLS)
    query = Query(there, page=1)
    found = list(query.studies({"PatientID": "PHANTOM-01"}))
    assert [each.study_uid for each in found] == [study_uid()]
    assert list(query.studies({"PatientID": "NOBODY"})) == []
    assert len(list(query.studies({}))) >= 1
    (series, *_) = query.series(study_uid(), "US")
    fetched = {str(each.SOPInstanceUID) for each in query.instances(study_uid(), series)}
    assert fetched
