"""What is said of a dataset before it is trained on."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import TrainingError
from model.training import duplicates
from model.training.checks import checked_split
from model.training.index import Split
from tests.builders_net import dataset, ellipse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a dataset of 40 patients with nothing wrong in it."""
    data = dataset(tmp_path / "d", patients=40)
    for number, path in enumerate(sorted((data / "images").iterdir())):
        Image.fromarray(_speckle(number)).save(path)  # pictures that differ as real ones do
    return data


def _speckle(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (10, 12), np.uint8).astype(np.uint8))
    return np.asarray(coarse.resize((96, 80), Image.Resampling.BICUBIC).convert("RGB"))


def _change(folder: Path, line: int, **values: object) -> None:
    """Change fields of one line of the index; line 2 is the first row."""
    path = folder / "index.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[line - 2].update({key: str(value) for key, value in values.items()})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def _check(folder: Path, said: list[str] | None = None) -> Split:
    lines: list[str] = [] if said is None else said
    return checked_split(folder, folder / "out", seed=0, say=lines.append)


def _written(folder: Path) -> dict:
    return json.loads((folder / "out" / "checks.json").read_text())


def test_nothing_wrong(folder) -> None:
    said: list[str] = []
    split = _check(folder, said)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [32, 4, 4]
    assert said == []
    assert _written(folder) == {"n_images": 40, "errors": [], "warnings": []}


def test_worker_processes_find_the_same(folder) -> None:
    (folder / "images" / "3-0.png").unlink()
    with pytest.raises(TrainingError, match=r"csv:5: images/3-0\.png is missing"):
        checked_split(folder, folder / "out", seed=0, workers=1)


# errors


def test_all_errors_are_listed_and_the_first_is_said(folder) -> None:
    (folder / "images" / "0-0.png").unlink()
    (folder / "masks" / "1-0.png").unlink()
    (folder / "images" / "2-0.png").write_bytes(b"no picture")
    Image.new("L", (10, 8)).save(folder / "masks" / "3-0.png")
    _change(folder, 6, tissue_x0=200, tissue_x1=300)
    with pytest.raises(
        TrainingError, match=r"csv:2: images/0-0\.png is missing.*\(4 more in checks"
    ):
        _check(folder)
    found = [(f["check"], f["lines"]) for f in _written(folder)["errors"]]
    assert found == [
        ("missing_file", [2]),
        ("missing_file", [3]),
        ("unreadable_file", [4]),
        ("mask_size", [5]),
        ("tissue_box", [6]),
    ]
    assert "(10 x 8 and 96 x 80 pixels)" in _written(folder)["errors"][3]["message"]


def test_one_class_only(folder) -> None:
    for line in range(2, 42):
        _change(folder, line, label=0)
    with pytest.raises(
        TrainingError, match="the dataset holds label 0 only: add patients of label 1"
    ):
        _check(folder)  # fmt: skip


def test_one_class_in_a_part(folder) -> None:
    """Of the training part it is an error, of the others a warning."""
    for line in range(2, 42):
        _change(folder, line, split="train" if line < 30 else "validation")
    for line in range(30, 42):
        _change(folder, line, label=1)
    said: list[str] = []
    _check(folder, said)
    assert "warning: the validation part holds label 1 only: add patients of label 0" in said
    assert any("the test part is empty" in line for line in said)
    for line in range(2, 42):
        _change(folder, line, label=int(line < 30))
    with pytest.raises(TrainingError, match="the train part holds label 1 only"):
        _check(folder)


def test_too_few_patients(tmp_path) -> None:
    data = dataset(tmp_path / "d", patients=2)
    with pytest.raises(TrainingError, match="too few patients: the validation part is empty"):
        _check(data)


def test_a_patient_in_two_parts_is_refused_before_an_image_is_read(folder) -> None:
    for line in range(2, 42):
        _change(folder, line, split=("train", "validation", "test")[line % 3])
    _change(folder, 7, patient="p0")
    (folder / "images" / "0-0.png").unlink()
    with pytest.raises(
        TrainingError, match=r"csv:7: this patient is in validation here and in test"
    ):
        _check(folder)  # fmt: skip


# warnings


def test_an_empty_mask_of_a_positive_image(folder) -> None:
    for number in (1, 2):  # p2 is negative: an image without a node
        Image.new("L", (96, 80)).save(folder / "masks" / f"{number}-0.png")
    _check(folder)
    (warning,) = _written(folder)["warnings"]
    assert (warning["check"], warning["lines"]) == ("empty_mask", [3])
    assert "leave mask blank" in warning["message"]


def test_a_mask_outside_of_the_tissue(folder) -> None:
    mask = ellipse((80, 96), (70, 40), (20, 20))
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / "0-0.png")
    _change(folder, 2, tissue_x1=72)
    _check(folder)
    (warning,) = _written(folder)["warnings"]
    assert (warning["check"], warning["lines"]) == ("mask_outside_tissue", [2])


def test_a_patient_with_both_labels(folder) -> None:
    _change(folder, 2, label=1)
    _change(folder, 3, label=0, patient="p0")
    _change(folder, 4, label="", patient="p0")
    said: list[str] = []
    _check(folder, said)
    assert said == [
        "warning: index.csv:2, 3, 4: rows of one patient have both labels, and any 1 makes the"
        " patient positive: correct the label, or the patient"
    ]
    assert [found["check"] for found in _written(folder)["warnings"]] == ["patient_labels"]


def test_labels_matter_where_the_class_is_trained(folder) -> None:
    for line in range(2, 42):
        _change(folder, line, label="")
    with pytest.raises(TrainingError, match=r"holds no label: .* or set loss.classification = 0"):
        _check(folder)
    said: list[str] = []
    checked_split(folder, folder / "out", seed=0, classified=False, say=said.append)
    assert said == []


# near-duplicates


def _copy(folder: Path, *, quality: int = 60, mirrored: bool = False) -> None:
    """Put image 0 in the place of image 1: another label, saved again, with a caliper on it."""
    frame = np.asarray(Image.open(folder / "images" / "0-0.png")).copy()
    frame[30:32, 20:50] = 255
    frame = frame[:, ::-1] if mirrored else frame
    path = folder / "images" / "1-0.jpg"
    Image.fromarray(np.ascontiguousarray(frame)).save(path, quality=quality)
    _change(folder, 3, image="images/1-0.jpg")


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_same_picture_under_two_labels(folder, mirrored) -> None:
    _copy(folder, mirrored=mirrored)
    said: list[str] = []
    _check(folder, said)
    (line,) = [line for line in said if "two labels" in line]
    assert re.search(r"1 pair of images .* \(index.csv:2 and 3\)", line)
    assert _written(folder)["warnings"][0]["lines"] == [2, 3]


def test_the_same_picture_in_two_parts(folder) -> None:
    """It is a leak, whatever its label; inside one part it is none."""
    _copy(folder)
    _change(folder, 3, label=0)
    for part, wanted in (("validation", ["duplicate_across_parts"]), ("train", [])):
        for line in range(2, 42):
            _change(folder, line, split=("train", "train", "test", "validation")[(line // 2) % 4])
        _change(folder, 2, split="train")
        _change(folder, 3, split=part)
        _check(folder)
        assert [w["check"] for w in _written(folder)["warnings"]] == wanted


def test_pictures_of_the_same_kind_are_no_duplicates() -> None:
    """Bright above and dark below is what they have in common; that says nothing."""
    fade = np.linspace(1, 0.2, 80)[:, None]
    greys = [(fade * (150 + 0.3 * _speckle(n)[..., 0])).astype(np.uint8) for n in range(60)]
    thumbnails = np.stack([duplicates.thumbnail(grey) for grey in greys])
    names = np.arange(60)
    assert list(duplicates.pairs(thumbnails, (names,), duplicates.THRESHOLD)) == []
    raw = np.stack([grey.ravel() - grey.mean() for grey in greys])
    raw /= np.linalg.norm(raw, axis=1)[:, None]
    assert (raw @ raw.T).min() > duplicates.THRESHOLD


def test_an_even_picture_is_like_nothing() -> None:
    assert not duplicates.thumbnail(np.full((80, 96), 70, np.uint8)).any()
