"""Cohorts on disk and the command that writes them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon import cli
from daemon.commands.readers import read_region
from dicom_io.frames import Image as DicomImage
from model.errors import ModelError
from model.training import phantom


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_cohort_is_a_dataset_with_truth(tmp_path: Path) -> None:
    summary = phantom.write_cohort(tmp_path, 3, 5, "paper", images=2, normals=0.34)
    rows = _rows(tmp_path)

    assert (summary.images, summary.patients) == (8, 4)
    assert summary.bound_grey == phantom.bayes_auroc("paper")
    assert list(rows[0])[:4] == ["image", "mask", "label", "patient"]
    for row in rows:
        with Image.open(tmp_path / row["image"]) as image, Image.open(tmp_path / row["mask"]) as m:
            assert image.size == m.size
            assert set(np.unique(np.asarray(m))) <= {0, 255}
            assert np.asarray(m).any() == (row["nodes"] != "0")
    assert [row["label"] for row in rows if row["nodes"] == "0"] == ["", ""]
    assert {row["cmd"] for row in rows if row["nodes"] != "0"} <= {"clear", "unclear"}


def test_a_larger_cohort_starts_with_the_smaller_one(tmp_path: Path) -> None:
    for name, patients in (("small", 1), ("large", 2)):
        phantom.write_cohort(tmp_path / name, patients, 5)

    assert _rows(tmp_path / "small")[0] == _rows(tmp_path / "large")[0]
    small, large = (tmp_path / name / "images/p00000-0.png" for name in ("small", "large"))
    assert small.read_bytes() == large.read_bytes()


@pytest.mark.parametrize("wrong", [{"preset": "easy"}, {"style": "oak"}])
def test_unknown_names_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, str]
) -> None:
    with pytest.raises(ModelError, match="choose one of"):
        phantom.write_cohort(tmp_path / "out", 1, 5, **wrong)

    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["phantom", "--out", str(tmp_path), "--patients", "2", "--seed", "9"])

    assert code == 0
    assert "best achievable AUROC (paper): 0.614 from the grey image" in capsys.readouterr().out
    assert len(_rows(tmp_path)) == 2


def test_the_command_writes_a_cohort_as_dicom(tmp_path: Path) -> None:
    words = ["phantom", "--out", str(tmp_path), "--patients", "1", "--seed", "9", "--dicom"]

    assert cli.main(words) == 0
    row = _rows(tmp_path)[0]
    picture = phantom.generate(9, 0, "paper")
    assert row["image"] == "images/p00000-0.dcm"
    assert np.array_equal(picture.frame, DicomImage.open(tmp_path / row["image"]).frame(0))


def test_the_command_draws_into_the_declared_region_of_dicom(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tissue, out = tmp_path / "tissue", tmp_path / "grafts"
    words = ["--dicom", "--style", "birch", "--patients", "3", "--normals", "1"]
    assert cli.main(["phantom", "--out", str(tissue), *words]) == 0
    assert cli.main(["phantom", "--tissue", str(tissue), "--out", str(out), "--images", "2"]) == 0
    rows = _rows(out)
    assert f"{len(rows)} images in {out}" in capsys.readouterr().out

    boxes = {row["patient"]: read_region(tissue / row["image"], None) for row in _rows(tissue)}
    for row in rows:
        x0, y0, x1, y1 = (int(row[f"tissue_{edge}"]) for edge in ("x0", "y0", "x1", "y1"))
        assert (x0, y0, x1, y1) == boxes[row["patient"]]
        with Image.open(out / row["mask"]) as mask:
            drawn = np.asarray(mask) > 0
        assert drawn.any()
        drawn[y0:y1, x0:x1] = False
        assert not drawn.any()


def test_an_unwritable_folder_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    words = ["phantom", "--out", str(tmp_path / "file" / "x"), "--patients", "1"]

    assert cli.main(words) in (3, 4)
    error = capsys.readouterr().err
    assert "cannot be written" in error
    assert error.count("\n") == 1
