"""``make show``: from a clone to an overlay in OHIF, as somebody would who has only the README."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.peers import free_port, wait_until
from tests.viewer_tools import prepared

pytestmark = pytest.mark.integration


def test_the_samples_and_their_results_are_in_the_viewer_s_archive(tmp_path: Path) -> None:
    prepared()
    ports = [str(free_port()) for _ in range(3)]
    options = dict(zip(("--port", "--http", "--dicom"), ports, strict=True))
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.show", *(w for pair in options.items() for w in pair)],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: "Ctrl-C" in log.read_text() or process.poll() is not None, 240)
            found = re.search(r"OHIF +(http://\S+)/", log.read_text())
            assert found is not None, log.read_text()
            with httpx.Client(base_url=found[1], trust_env=False) as client:
                assert "<title>" in client.get("/").text
                series = client.get("/dicom-web/series?Modality=SEG").json()
            studies = {each["0020000D"]["Value"][0] for each in series}
            assert len(studies) == 5  # of seven: one shows no node, one cannot be evaluated
        finally:  # it ends what it has started
            process.send_signal(signal.SIGINT)
            ended = process.wait(60)
    assert ended == 0
