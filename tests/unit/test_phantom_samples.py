"""The sample studies in the repository: what the manifest says is so, and the command made it."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

import sample_dicoms
from daemon.commands.phantom import write_samples
from dicom_io.facts import facts
from dicom_io.frames import Image, read_header
from dicom_io.regions import b_mode_boxes, regions
from model.tissue import colour_fraction

FOLDER = Path(sample_dicoms.__file__).parent
MANIFEST: dict[str, Any] = json.loads((FOLDER / "manifest.json").read_text())
INSTANCES = [(s, i) for s in MANIFEST["studies"] for i in s["instances"]]
ALL = pytest.mark.parametrize(("study", "instance"), INSTANCES, ids=lambda d: d.get("file", ""))


@cache
def _truth(name: str) -> np.ndarray:
    with PilImage.open(FOLDER / name) as image:
        return np.asarray(image)


@ALL
def test_the_file_is_the_one_of_the_manifest(
    study: dict[str, Any], instance: dict[str, Any]
) -> None:
    path = FOLDER / instance["file"]
    ds = read_header(path)
    image = Image.open(path)

    assert hashlib.sha256(path.read_bytes()).hexdigest() == instance["sha256"]
    assert ds.StudyInstanceUID == study["study_uid"]
    assert image.sop_instance_uid == instance["sop_instance_uid"]
    assert image.frame_count == instance["frames"]
    assert facts(ds).laterality == instance["laterality"]
    assert str(ds.PatientName).startswith("PHANTOM^AXILLA")


@ALL
def test_the_truth_fits_the_frames(study: dict[str, Any], instance: dict[str, Any]) -> None:
    del study
    image = Image.open(FOLDER / instance["file"])

    assert len(instance["truth"]) == instance["frames"] == len(instance["nodes"])
    for name, nodes in zip(instance["truth"], instance["nodes"], strict=True):
        assert _truth(name).shape == (image.rows, image.columns)
        assert set(np.unique(_truth(name))) == set(range(nodes + 1))


@ALL
def test_calibration_and_reason_are_as_the_node_reads_them(
    study: dict[str, Any], instance: dict[str, Any]
) -> None:
    del study
    path = FOLDER / instance["file"]
    image = Image.open(path)
    declared = regions(read_header(path), image.rows, image.columns)
    tissue = b_mode_boxes(declared)

    assert bool(tissue) == (instance["calibrated"] and instance["kind"] != "spectral")
    if tissue and tissue[0].calibration is not None:
        assert tissue[0].calibration.column_mm == pytest.approx(instance["mm_per_px"])
    covered = max((colour_fraction(image.frame(0), r.box) for r in tissue), default=0.0)
    expected = {"colour_overlay": covered > 0.3, "no_b_mode": bool(declared) and not tissue}
    assert expected.get(instance["excluded"], covered < 0.2)


def test_the_samples_cover_what_they_are_for() -> None:
    outcomes = [study["outcome"] for study in MANIFEST["studies"]]
    encodings = {instance["encoding"] for _, instance in INSTANCES}

    assert outcomes.count("not_evaluable") == 1
    assert encodings == {"explicit", "rle", "jpeg", "jpeg2000", "palette", "monochrome"}
    assert max(instance["frames"] for _, instance in INSTANCES) > 1
    assert any(study["lateralities"] == ["L", "R"] for study in MANIFEST["studies"])
    assert {instance["label"] for _, instance in INSTANCES} == {0, 1, None}
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.*")) < 8e6


@pytest.mark.timeout(300)
def test_the_command_writes_them_again(tmp_path: Path) -> None:
    """Up to one grey value here and there, which another processor may round otherwise."""
    write_samples(tmp_path, MANIFEST["seed"])
    again = json.loads((tmp_path / "manifest.json").read_text())

    for old, new in zip(MANIFEST["studies"], again["studies"], strict=True):
        assert new["study_uid"] == old["study_uid"]
        for one, other in zip(old["instances"], new["instances"], strict=True):
            assert _without_hash(other) == _without_hash(one)
            frames = [Image.open(f / one["file"]).frame(0) for f in (FOLDER, tmp_path)]
            apart = np.abs(frames[0].astype(int) - frames[1].astype(int))
            assert apart.mean() < 0.1
            for name in one["truth"]:
                with PilImage.open(tmp_path / name) as image:
                    assert (np.asarray(image) != _truth(name)).mean() < 1e-4


def _without_hash(instance: dict[str, Any]) -> dict[str, Any]:
    """Return the entry without what rounding changes."""
    return {k: v for k, v in instance.items() if k != "sha256"} | {
        "mm_per_px": pytest.approx(instance["mm_per_px"])
    }
