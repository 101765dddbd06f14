"""Other projects' writers on the inputs of `compare_writers`, run by their own interpreter.

    VENV/bin/python tests/benchmarks/peer_writers.py (monai | router) CASE OUT

CASE holds `images/*.dcm`, `answer.json` and `masks.npz`; what is written and what was raised goes
to OUT/said.json. Nothing of AxNode is imported: it is not in that environment.
"""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import generate_uid

Answer = dict[str, Any]


def main(which: str, case: Path, out: Path) -> None:
    """Write what the peer can, and say what happened."""
    answer = json.loads((case / "answer.json").read_text())
    said = {"monai": monai, "router": router}[which](case, answer, out)
    (out / "said.json").write_text(json.dumps(said))


def attempt(write: Callable[[Path], object], folder: Path) -> Answer:
    """Call a writer; return the files it left and the exception it raised."""
    folder.mkdir(parents=True, exist_ok=True)
    raised = ""
    try:
        write(folder)
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is the result
        raised = f"{type(error).__name__}: {error}"
    return {"files": [str(path) for path in sorted(folder.glob("*.dcm"))], "raised": raised}


def labels(case: Path, answer: Answer, order: list[Any]) -> np.ndarray:
    """Return the label map that MONAI's writer takes: (frames, rows, columns), node n as n."""
    planes = []
    with np.load(case / "masks.npz") as masks:
        for ds in order:
            for number in range(1, int(ds.get("NumberOfFrames", 1)) + 1):
                plane = np.zeros((ds.Rows, ds.Columns), dtype=np.uint8)
                for mask in answer["masks"]:
                    if (mask["image"], mask["frame"]) == (str(ds.SOPInstanceUID), number):
                        plane[masks[mask["array"]]] = mask["node"]
                planes.append(plane)
    return np.stack(planes)


def monai(case: Path, answer: Answer, out: Path) -> Answer:
    """Load, select and write as the SDK's own example applications do."""
    from monai.deploy.core import Fragment
    from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
    from monai.deploy.operators.dicom_seg_writer_operator import (
        DICOMSegmentationWriterOperator,
        SegmentDescription,
    )
    from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
    from monai.deploy.operators.dicom_text_sr_writer_operator import DICOMTextSRWriterOperator
    from monai.deploy.operators.dicom_utils import ModelInfo
    from pydicom.sr.codedict import codes

    app, model = Fragment(), ModelInfo("AxNode comparison", "nodes", "1", str(generate_uid()))
    loader = DICOMDataLoaderOperator(app, name="loader")
    selector = DICOMSeriesSelectorOperator(app, name="selector")
    chosen = selector.filter(None, loader.load_data_to_studies(case / "images"))
    series = chosen[0].selected_series[0].series
    order = [instance.get_native_sop_instance() for instance in series.get_sop_instances()]
    # where nothing was found a model still has its one class to describe
    nodes = answer["nodes"] or [{"label": "Lymph node", "tracking_uid": None}]
    described = [
        SegmentDescription(
            segment_label=node["label"],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.LymphNode,
            algorithm_name="nodes",
            algorithm_version="1",
            tracking_id=node["label"],
            tracking_uid=node["tracking_uid"],
        )
        for node in nodes
    ]

    def segmentation(folder: Path) -> None:
        writer = DICOMSegmentationWriterOperator(
            app,
            segment_descriptions=described,
            output_folder=folder,
            model_info=model,
            name="seg",
        )
        writer.process_images(labels(case, answer, order), chosen, folder)

    def report(folder: Path) -> None:
        writer = DICOMTextSRWriterOperator(app, output_folder=folder, model_info=model, name="sr")
        writer.write(answer["text"], series, folder)

    return {
        "versions": _versions("monai-deploy-app-sdk", "monai", "holoscan-cu13", "highdicom"),
        "seg": attempt(segmentation, out / "seg"),
        "report": attempt(report, out / "report"),
    }


def router(case: Path, answer: Answer, out: Path) -> Answer:
    """Ask dicom-ai-router's pipeline first, then its writers directly."""
    from airouter.results import build_key_image, build_sr

    images = [pydicom.dcmread(path) for path in sorted((case / "images").glob("*.dcm"))]
    found: Answer = {
        "model": "nodes",
        "model_version": "1",
        "result": answer["text"],
        "summary_lines": [["Finding", answer["text"]]],
        "key_sop_instance_uid": answer["key"],
        "overlays": answer["circles"],
        "display_window": [128, 256],
    }
    key = next((ds for ds in images if ds.SOPInstanceUID == answer["key"]), images[0])

    def report(folder: Path) -> None:
        ds = build_sr(images[0], images, found, answer["key"])
        ds.save_as(folder / "sr.dcm", enforce_file_format=True)

    def picture(folder: Path) -> None:
        ds = build_key_image(key, found, bool(answer["key"]))
        ds.save_as(folder / "key.dcm", enforce_file_format=True)

    return {
        "versions": _versions("dicom-ai-router", "pydicom", "python-gdcm"),
        "pipeline": _pipeline(images, out / "work"),
        "report": attempt(report, out / "report"),
        "picture": attempt(picture, out / "picture"),
    }


def _pipeline(images: list[Any], work: Path) -> str:
    """Return the state in which the pipeline leaves the study, with a rule that lets it in."""
    from airouter.audit import Audit
    from airouter.config import Config, EndpointCfg, PacsCfg, Rule
    from airouter.pipeline import inbox_folder, process_study
    from airouter.store import Store

    study = str(images[0].StudyInstanceUID)
    config = Config(
        ae_title="AIROUTER",
        port=0,
        study_quiet_seconds=1,
        workers=1,
        workdir=work,
        pacs=PacsCfg("PACS", "127.0.0.1", 1, retries=1),
        endpoints={"nodes": EndpointCfg("http://127.0.0.1:1/infer", timeout_s=1, retries=1)},
        rules=[Rule("ultrasound", "nodes", {"Modality": "^US$"})],
        deid_salt="a salt of more than sixteen characters",
    )
    inbox_folder(config, study).mkdir(parents=True)
    config.results_dir.mkdir()
    for number, ds in enumerate(images):
        ds.save_as(inbox_folder(config, study) / f"{number}.dcm", enforce_file_format=True)
    store = Store(config.db_path)
    store.instance_received(study, "US1")
    state = process_study(study, config, store, Audit(config.audit_path))
    dropped = [
        json.loads(line)
        for line in config.audit_path.read_text().splitlines()
        if '"select_images"' in line
    ]
    return f"{state}; dropped: {dropped[-1].get('dropped')}" if dropped else str(state)


def _versions(*names: str) -> dict[str, str]:
    return {name: version(name) for name in names}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
