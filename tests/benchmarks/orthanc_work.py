"""The way from a study to its results as a plugin of Orthanc: what AxNode is compared with.

Orthanc's own Python runs this, through `orthanc_plugin.py`. It holds the same model, warm, in
Orthanc's process; when a study is stable it analyses the study's files and sends SEG and report on
to the modality ``pacs``.
"""

import json
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import orthanc
from pydicom.uid import generate_uid

from daemon.analyser import Analyser
from daemon.build import build_objects
from daemon.config_results import Results
from daemon.reading import reader
from model.bundle_file import SHIPPED

ANALYSER = Analyser.load(SHIPPED, "cpu")
READER = reader(
    ANALYSER.bundle, aggregation=None, operating_point=None, ae_title="ORTHANC", node_id="bench"
)
RESULTS = Results(secondary_capture="off")
DONE: set[str] = set()  # results make their study stable once more


def on_change(kind: int, level: int, resource: str) -> None:
    """Analyse a stable study; its own thread may not call Orthanc, so another one does."""
    if kind == orthanc.ChangeType.STABLE_STUDY:
        threading.Thread(target=work, args=(resource,)).start()


def work(study: str) -> None:
    """Read the study's images, and send what is found."""
    if study in DONE:
        return
    DONE.add(study)
    instances = json.loads(orthanc.RestApiGet(f"/studies/{study}/instances"))
    uid = json.loads(orthanc.RestApiGet(f"/studies/{study}"))["MainDicomTags"]["StudyInstanceUID"]
    with tempfile.TemporaryDirectory() as folder:
        inputs = []
        for item in instances:
            path = Path(folder) / item["ID"]
            path.write_bytes(orthanc.GetDicomForInstance(item["ID"]))
            inputs.append((item["MainDicomTags"]["SOPInstanceUID"], path))
        analysis = ANALYSER.read(inputs, cine_frames=300, tracking_root=f"bench/{uid}")
        built = build_objects(
            READER.findings(uid, 1, analysis),
            [path for _, path in inputs],
            (),
            RESULTS,
            lambda role, ordinal: generate_uid(),
            datetime.now(UTC).astimezone(),
        )
        kept = [json.loads(orthanc.RestApiPost("/instances", item.data))["ID"] for item in built]
    orthanc.RestApiPost("/modalities/pacs/store", json.dumps(kept))


def register() -> None:
    """Begin to listen."""
    orthanc.RegisterOnChangeCallback(on_change)
