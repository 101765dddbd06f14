"""The whole way to look at: samples, a node, Orthanc as the PACS and OHIF as the viewer.

``make show``, or ``python -m tests.show``. Everything runs on this machine, on loopback, in a
temporary folder, until Ctrl-C; the addresses to open in a browser are printed.
"""

import argparse
import contextlib
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import demo
from daemon.console.accounts import hash_password
from daemon.errors import UnavailableError
from daemon.ports import listen
from dicom_io.scu import Outcome
from tests.node import Node, destination
from tests.peers import Orthanc, system_tool
from tests.viewer_tools import prepared

SAMPLES = Path(__file__).parents[1] / "sample_dicoms"
_WORDS = """
OHIF     {viewer}/
         double-click a study with SEG among its modalities; there double-click SEG at the left,
         and answer Yes
console  http://127.0.0.1:{http}/    name demo, password {password}
Orthanc  {pacs}/app/explorer.html

         its Find takes a PatientID, PHANTOM-02 for example
push an image of your own to both, as a modality does: the node adds results, and no images
         storescu -xs -aec ORTHANC 127.0.0.1 {archive} FILE
         storescu -xs -aec AXNODE 127.0.0.1 {dicom} FILE
         (-xs, -xy, -xv or -xr: in which its pixels are compressed; the samples are in already)
The model is a demonstration: no contour and no score says anything about a patient.
Ctrl-C ends it all and deletes what was stored.
"""


@contextlib.contextmanager
def ohif(pacs: Orthanc, port: int) -> Iterator[str]:
    """Serve OHIF on an archive's DICOMweb; yields its address."""
    folder = prepared()
    words = [system_tool("node"), "show.mjs", folder / "ohif", folder / "app-config.js"]
    process = subprocess.Popen(
        [*words, pacs.url, str(port)],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise UnavailableError("the viewer's server did not start; see above")
        yield address
    finally:
        process.communicate(timeout=20)


def push(node: Node) -> None:
    """Push every sample and wait until each has ended."""
    studies = demo.samples(SAMPLES)
    for number, study in enumerate(studies, 1):
        print(f"pushing study {number} of {len(studies)}", flush=True)
        refused = [one for one in node.push(study.files) if one.outcome is not Outcome.STORED]
        if refused:
            raise UnavailableError(f"the node did not take {study.name}: {refused[0].detail}")
    print("analysing and sending", flush=True)
    node.settle([study.study_uid for study in studies])


def show(port: int, http: int, dicom: int, stop: threading.Event) -> None:
    """Run it all until `stop` is set; the ports are those of OHIF, the console and the node."""
    for each in (port, http, dicom):
        try:
            listen("127.0.0.1", each).close()
        except OSError as error:
            raise UnavailableError(
                f"port {each} cannot be had ({error.strerror}): name others, for example "
                'make show ARGS="--port 3001 --http 8081 --dicom 11113"'
            ) from error
    password = secrets.token_urlsafe(9)
    users = [{"name": "demo", "role": "admin", "password_hash": hash_password(password)}]
    with contextlib.ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="axnode-show-")))
        pacs = ends.enter_context(Orthanc(dicomweb=True))
        viewer = ends.enter_context(ohif(pacs, port))
        node = Node(
            folder,
            [destination("orthanc", "ORTHANC", pacs.dicom_port)],
            users=users,
            node={"port": dicom},
            http={"port": http},
        )
        ends.enter_context(node)
        for study in demo.samples(SAMPLES):
            for file in study.files:
                pacs.upload(file.read_bytes())
        push(node)
        print(
            _WORDS.format(
                viewer=viewer,
                http=http,
                password=password,
                pacs=pacs.url,
                archive=pacs.dicom_port,
                dicom=dicom,
            ),
            flush=True,
        )
        stop.wait()
        print("ending")


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make show", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=3000, help="of OHIF (default: %(default)s)")
    parser.add_argument("--http", type=int, default=8080, help="of the console (%(default)s)")
    parser.add_argument("--dicom", type=int, default=11112, help="of the node (%(default)s)")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        show(arguments.port, arguments.http, arguments.dicom, stop)
    except pytest.skip.Exception as missing:
        print(f"show: {missing.msg}", file=sys.stderr)
        return 4
    except UnavailableError as error:
        print(f"show: {error}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
