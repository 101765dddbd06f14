"""The sample studies through the whole loop, against the generator's truth."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sample_dicoms
from dicom_io.seg_read import SegMask, masks
from tests.node import Node, destination
from tests.peers import Orthanc
from tests.validity import errors, read

pytestmark = pytest.mark.acceptance

ROOT = Path(sample_dicoms.__file__).parent
STUDIES: dict[str, dict[str, Any]] = {
    study["name"]: study for study in json.loads((ROOT / "manifest.json").read_text())["studies"]
}
EVALUATED = sorted(name for name, study in STUDIES.items() if study["outcome"] == "evaluated")
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Push the samples as a modality would; fetch from the PACS what came."""
    folder = tmp_path_factory.mktemp("samples")
    (folder / "out").mkdir()
    with (
        Orthanc() as pacs,
        Node(
            folder / "node", destinations=[destination("pacs", pacs.ae_title, pacs.dicom_port)]
        ) as node,
    ):
        for study in STUDIES.values():
            node.push([ROOT / instance["file"] for instance in study["instances"]])
        states = node.settle(study["study_uid"] for study in STUDIES.values())
        summaries = node.summaries()
        files = pacs.download_all(folder / "out")
    return {"states": states, "summaries": summaries, "files": files}


def truth(instance: dict[str, Any], frame: int) -> np.ndarray:
    """Return the union of the nodes on a frame (0-based), from the packed truth picture."""
    picture = np.asarray(Image.open(ROOT / instance["truth"][frame]))
    return picture > 0


def found(loop: dict[str, Any]) -> dict[tuple[str, int], list[SegMask]]:
    """Return the SEG frames that the PACS holds, by source instance and frame number."""
    by_frame: dict[tuple[str, int], list[SegMask]] = defaultdict(list)
    for path in loop["files"]:
        if read(path).SOPClassUID == SEGMENTATION:
            for mask in masks(path):
                by_frame[mask.sop_instance_uid, mask.frame_number].append(mask)
    return by_frame


@pytest.mark.parametrize("name", EVALUATED)
def test_node_count_is_exact_on_every_frame(loop: dict[str, Any], name: str) -> None:
    by_frame = found(loop)
    for instance in STUDIES[name]["instances"]:
        counted = [
            len(by_frame[instance["sop_instance_uid"], frame])
            for frame in range(1, instance["frames"] + 1)
        ]
        assert instance["nodes"] == counted, instance["file"]


@pytest.mark.parametrize("name", [n for n in EVALUATED if n != "normal"])
def test_dice_against_the_truth(loop: dict[str, Any], name: str) -> None:
    """Over all pixels of the study's frames, at least 0.85."""
    by_frame = found(loop)
    overlap = total = 0
    for instance in STUDIES[name]["instances"]:
        for frame in range(instance["frames"]):
            true = truth(instance, frame)
            seen = np.zeros_like(true)
            for mask in by_frame[instance["sop_instance_uid"], frame + 1]:
                seen |= mask.mask
            overlap += 2 * int((true & seen).sum())
            total += int(true.sum()) + int(seen.sum())
    assert overlap / total >= 0.85


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_sides_and_outcome_are_those_of_the_manifest(loop: dict[str, Any], name: str) -> None:
    study = STUDIES[name]
    state = loop["states"][study["study_uid"]]
    expected = "delivered" if study["outcome"] == "evaluated" else "not_evaluable"
    assert expected == state["state"], state["reason"]
    sides = [side["laterality"] for side in loop["summaries"][study["study_uid"]]["sides"]]
    if study["outcome"] == "evaluated":
        assert sorted(study["lateralities"]) == sorted(sides)


def test_every_result_is_valid(loop: dict[str, Any]) -> None:
    assert len(STUDIES) <= len(loop["files"])
    for path in loop["files"]:
        assert errors(path) == []
