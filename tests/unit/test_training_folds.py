"""Cross-validation by patient: the division, the runs, what is told of them, the ensemble."""

import csv
import dataclasses
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from model.bundle_file import Bundle, OperatingPoint
from model.errors import TrainingError
from model.runtime import Predictor
from model.training import checks, config, fold_bundle, fold_report, folds, index, single
from model.training.checkpoint import NAME
from model.training.config import Folds, Loss, Stage
from model.training.data import PICTURES
from model.training.evaluation import evaluate, patients
from model.training.fold_report import Outcome
from model.training.index import PARTS, Row
from model.training.loop import BEST
from model.training.results import ImageResult
from model.training.run import train
from tests.builders_net import bundle, dataset
from tests.builders_training import FAST

SETTINGS = dataclasses.replace(  # enough for networks that find the disks and mix up some classes
    FAST,
    stages=(Stage(epochs=12, batch=4, learning_rate=5e-3),),
    folds=Folds(count=3, ensemble=True),
)
BRIEF = dataclasses.replace(SETTINGS, stages=(Stage(epochs=1),))
KINDS = {"p": 1, "n": 0, "u": None}  # a patient's name starts with its kind


def _rows(**counts: int) -> list[Row]:
    """Make rows of patients p0, p1, ... (positive), n0, ... and u0, ..., two for each."""
    names = [f"{kind}{number}" for kind, count in counts.items() for number in range(count)]
    return [
        Row(Path(name), None, None, KINDS[name[0]], name, None, line=line)
        for line, name in enumerate([name for name in names for _ in range(2)], 2)
    ]


def _with(rows: list[Row], values: list[str]) -> list[Row]:
    return [dataclasses.replace(row, fold=value) for row, value in zip(rows, values, strict=True)]


def _patients(rows) -> set[str]:
    return {row.patient for row in rows}


def _kinds(rows) -> Counter:
    return Counter(name[0] for name in _patients(rows))


# the division


@pytest.mark.parametrize("counts", [{"p": 13, "n": 29, "u": 8}, {"p": 5, "n": 6}, {"n": 2, "p": 9}])
def test_each_patient_is_tested_once_in_each_repeat(counts) -> None:
    rows = _rows(**counts)
    made = folds.numbered(folds.divide(rows, Folds(count=5, repeats=3), seed=0), 5)
    assert [(fold.number, fold.repeat) for fold in made][4:6] == [(5, 1), (6, 2)]
    for repeat in (1, 2, 3):
        mine = [fold.split for fold in made if fold.repeat == repeat]
        tested = Counter(name for split in mine for name in _patients(split.test))
        assert tested == Counter(_patients(rows))


def test_no_patient_is_in_two_parts_and_none_is_lost() -> None:
    rows = _rows(p=13, n=29, u=8)
    for split in folds.divide(rows, Folds(count=5, repeats=2), seed=0):
        parts = [_patients(getattr(split, name)) for name in PARTS]
        assert sum(len(part) for part in parts) == 50
        assert set.union(*parts) == _patients(rows)
        assert sum(len(getattr(split, name)) for name in PARTS) == len(rows)


def test_kinds_of_patients_are_spread_evenly() -> None:
    rows = _rows(p=13, n=29, u=8)
    splits = folds.divide(rows, Folds(count=5), seed=0)
    for kind, count in (("p", 13), ("n", 29), ("u", 8)):
        held = [_kinds(split.test)[kind] for split in splits]
        assert sum(held) == count
        assert max(held) - min(held) <= 1
    assert {len(_patients(split.test)) for split in splits} == {10}
    for split in splits:  # an eighth of the other 40
        assert _kinds(split.validation) == {"p": 1, "n": 3, "u": 1}


def test_two_patients_of_a_kind_give_one_to_validation_and_one_alone_trains() -> None:
    for split in folds.divide(_rows(p=3, n=40), Folds(count=3), seed=0):
        assert _kinds(split.validation)["p"] == 1
        assert _kinds(split.train)["p"] == 1
    for split in folds.divide(_rows(p=2, n=40), Folds(count=2), seed=0):
        assert (_kinds(split.validation)["p"], _kinds(split.train)["p"]) == (0, 1)


def test_the_division_follows_from_seed_and_repeat_alone() -> None:
    rows, asked = _rows(p=8, n=12), Folds(count=4, repeats=2)
    made = folds.divide(rows, asked, seed=1)
    again = folds.divide(rows[::-1], asked, seed=1)
    for one, other in zip(made, again, strict=True):
        assert [_patients(getattr(one, p)) for p in PARTS] == [
            _patients(getattr(other, p)) for p in PARTS
        ]
    assert [_patients(s.test) for s in made[:4]] != [_patients(s.test) for s in made[4:]]
    other_seed = folds.divide(rows, asked, seed=2)
    assert [_patients(s.test) for s in made[:4]] != [_patients(s.test) for s in other_seed[:4]]


def test_a_column_fixes_the_folds() -> None:
    rows = _rows(p=4, n=4)
    rows = _with(rows, [str(int(row.patient[1]) // 2 + 1) for row in rows])
    first, second = folds.divide(rows, Folds(count=2), seed=0)
    assert _patients(first.test) == {"p0", "p1", "n0", "n1"}
    assert _patients(second.test) == {"p2", "p3", "n2", "n3"}


@pytest.mark.parametrize(
    ("values", "asked", "says"),
    [
        (["1", "", "2", "2"], Folds(2), "csv:3: fold is blank"),
        (["1", "1", "2", "3"], Folds(2), "csv:5: fold must be a whole number from 1 to 2"),
        (["0", "1", "2", "2"], Folds(2), "csv:2: fold must be a whole number from 1"),
        (["1", "1", "a", "2"], Folds(2), "csv:4: fold must be a whole number"),
        (["1", "1", "-2", "2"], Folds(2), "csv:4: fold must be a whole number"),
        (["1", "2", "2", "2"], Folds(2), "csv:3: this patient is in fold 2 here and in fold 1 in"),
        (["1", "1", "1", "1"], Folds(2), "no patient is in fold 2"),
        (["1", "1", "2", "2"], Folds(2, repeats=2), "folds.repeats = 1"),
    ],
)
def test_a_wrong_column_is_refused_with_its_line(values, asked, says) -> None:
    with pytest.raises(TrainingError, match=says):
        folds.divide(_with(_rows(p=1, n=1), values), asked, seed=0)


def test_a_split_column_is_refused() -> None:
    rows = [dataclasses.replace(row, part="train") for row in _rows(p=4, n=4)]
    with pytest.raises(TrainingError, match="csv:2: a split column and folds exclude each other"):
        folds.divide(rows, Folds(2), seed=0)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(TrainingError, match="3 patients make no 4 folds"):
        folds.divide(_rows(p=1, n=2), Folds(4), seed=0)


def test_the_column_is_read_and_means_nothing_without_folds(tmp_path) -> None:
    lines = [f"{number}.png,,0,p{number},{fold}" for number, fold in enumerate(("x", " 2 ", ""))]
    (tmp_path / "index.csv").write_text("\n".join(["image,mask,label,patient,fold", *lines]))
    rows = index.read_index(tmp_path)
    assert [row.fold for row in rows] == ["x", "2", ""]
    index.split_by_patient(rows, seed=0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[folds]\ncount = 1", "count must be at least 2"),
        ("[folds]\ncount = -3", "count must be at least 2"),
        ("[folds]\ncount = 3\nrepeats = 0", "repeats must be at least 1"),
        ("[folds]\nensemble = true", "need a count"),
        ("[folds]\nrepeats = 2", "need a count"),
    ],
)
def test_settings_that_are_no_division_are_refused(tmp_path, text, says) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(TrainingError, match=says):
        config.load(tmp_path / "c.toml")


# what is checked


def _checked(data: Path, asked: Folds, said: list[str]):
    return checks.checked_splits(
        data, data / "out", lambda rows: folds.divide(rows, asked, 0), say=said.append
    )


def _numbered(data: Path, column: str, values: list[object]) -> Path:
    """Give the index of a dataset one more column, or other values in one."""
    path = data / "index.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, value in zip(rows, values, strict=True):
        row[column] = str(value)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return data


def test_a_part_of_one_class_is_told_with_its_fold(tmp_path) -> None:
    data = dataset(tmp_path / "d", patients=12)
    _numbered(data, "label", [1, 1, 1, *[0] * 9])
    said: list[str] = []
    _checked(data, Folds(count=4), said)
    told = [line for line in said if "label 0 only" in line]
    assert "warning: the test part of fold 4 holds label 0 only: add patients of label 1" in told
    with pytest.raises(TrainingError, match="the train part of fold 1 holds label 0 only"):
        _checked(_numbered(data, "label", [1, *[0] * 11]), Folds(count=4), said)


def test_an_empty_validation_part_is_refused(tmp_path) -> None:
    data = dataset(tmp_path / "d", patients=2)
    with pytest.raises(TrainingError, match=r"part of fold 1 is empty.*folds\.count"):
        _checked(data, Folds(count=2), [])


@pytest.mark.parametrize(("patient", "leaks"), [("p9", True), ("p0", False)])
def test_a_duplicate_in_another_fold_is_told(tmp_path, patient, leaks) -> None:
    data = dataset(tmp_path / "d", patients=10)
    for number in range(10):
        kind = 0 if number == 9 else number  # the last is a copy of the first
        rng = np.random.default_rng(kind)
        coarse = Image.fromarray(rng.integers(0, 255, (10, 12), np.uint8).astype(np.uint8))
        picture = coarse.resize((96, 80), Image.Resampling.BICUBIC).convert("RGB")
        picture.save(data / "images" / f"{number}-0.png")
    _numbered(data, "label", [0, 1] * 4 + [1, 0])
    _numbered(data, "patient", [*[f"p{number}" for number in range(9)], patient])
    said: list[str] = []
    _checked(data, Folds(count=3), said)
    assert any("two parts of the split" in line for line in said) == leaks


# the numbers


def test_the_interval_over_folds_by_hand() -> None:
    """t(0.975, 3) = 3.182446; the values' standard deviation is 0.1."""
    values = [0.5, 0.6, 0.6, 0.7]
    deviation = math.sqrt(0.02 / 3)
    said = fold_report.mean_over(values, share=1 / 3)
    half = 3.182446 * deviation
    assert (said["n"], said["mean"]) == (4, pytest.approx(0.6))
    assert said["ci95"] == pytest.approx((0.6 - half / 2, 0.6 + half / 2), abs=1e-6)
    wider = half * math.sqrt(1 / 4 + 1 / 3)
    assert said["ci95_corrected"] == pytest.approx((0.6 - wider, 0.6 + wider), abs=1e-6)


def test_an_interval_stays_a_share_and_needs_two_folds() -> None:
    assert fold_report.mean_over([0.9, 1.0], share=0.25)["ci95"][1] == 1.0
    assert fold_report.mean_over([0.9], share=0.25)["ci95"] is None
    assert fold_report.mean_over([], share=0.25)["mean"] is None


def _result(patient: str, label: int, score: float) -> ImageResult:
    """Make an image without a mask, scored by hand."""
    return ImageResult(patient, label, score, None, None, None, 1, 0.0)


def test_pooled_points_judge_each_patient_by_the_threshold_of_its_fold(tmp_path) -> None:
    """One half would give another count in every cell."""
    made = folds.numbered(folds.divide(_rows(p=4, n=4), Folds(2), seed=0), 2)
    scored = [
        (_result("p0", 1, 0.3), _result("n0", 0, 0.1)),
        (_result("p1", 1, 0.7), _result("n1", 0, 0.6)),
    ]
    outcomes = [
        Outcome(fold, bundle(tmp_path / fold.folder, operating_points=points), results)
        for fold, results, points in zip(
            made,
            scored,
            [(OperatingPoint("a", 0.2), OperatingPoint("b", 0.5)), (OperatingPoint("a", 0.8),)],
            strict=True,
        )
    ]
    (pooled,) = fold_report.document(outcomes, SETTINGS)["pooled"]
    assert set(pooled["operating_points"]) == {"a"}  # what all folds have
    said = pooled["operating_points"]["a"]
    assert said["thresholds"] == [0.2, 0.8]
    assert [said[count] for count in ("tp", "fn", "fp", "tn")] == [1, 1, 0, 2]


# the runs


class Stop(Exception):
    """Ends a run within this process."""


class Ear:
    """Remembers what a run says, and ends it at a line."""

    def __init__(self, last: str = "") -> None:
        self.lines: list[str] = []
        self._last = last

    def __call__(self, line: str) -> None:
        """Hear a line."""
        self.lines.append(line)
        if self._last and self._last in line:
            raise Stop

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return dataset(tmp_path_factory.mktemp("data") / "d", patients=18)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data) -> tuple[Path, Bundle | None, Ear]:
    """Train three folds and their ensemble."""
    out, ear = tmp_path_factory.mktemp("run"), Ear()
    return out, train(data, out, SETTINGS, say=ear), ear


def test_each_fold_is_a_complete_run(run) -> None:
    out, _, ear = run
    seeds = []
    for number in (1, 2, 3):
        folder = out / f"fold-{number}"
        made = Bundle.load(folder / "bundle")
        assert (folder / "log.csv").read_text().count("\n") == 13
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["test"]["n_patients"] == 6
        assert made.card.training["fold"] == number
        assert made.digest in (folder / "model-card.md").read_text()
        assert "p0" not in (folder / "bundle" / "bundle.toml").read_text()
        seeds.append(made.card.training["seed"])
        assert f"fold {number}/3: 6 test patients: Dice " in ear
    assert seeds == [0, 1, 2]
    assert len(list((out / "cache").glob("*-images.npy"))) == 1


def test_a_fold_is_the_run_that_a_split_column_gives(tmp_path, run, data) -> None:
    """Bit for bit: the same images, labels and seed, however the images were prepared."""
    shutil.copytree(data, tmp_path / "d")
    parts = _document(run[0])["folds"][1]["patients"]
    part = {name: part for part, names in parts.items() for name in names}
    _numbered(tmp_path / "d", "split", [part[f"p{number}"] for number in range(18)])
    alone = dataclasses.replace(SETTINGS, seed=1, folds=Folds())
    ear = Ear("choosing")
    with pytest.raises(Stop):
        train(tmp_path / "d", tmp_path / "o", alone, say=ear)
    for name in (NAME, BEST):
        one, other = (load_file(out / name) for out in (run[0] / "fold-2", tmp_path / "o"))
        assert all(one[key].tobytes() == other[key].tobytes() for key in one)


def test_the_document_names_each_fold_s_patients_and_figures(run) -> None:
    out, _, _ = run
    document = _document(out)
    tested = [name for fold in document["folds"] for name in fold["patients"]["test"]]
    assert sorted(tested) == sorted(f"p{number}" for number in range(18))
    for fold in document["folds"]:
        parts = [set(fold["patients"][name]) for name in PARTS]
        assert len(set.union(*parts)) == sum(len(part) for part in parts) == 18
        metrics = json.loads((out / fold["folder"] / "metrics.json").read_text())["test"]
        assert fold["test"]["dice_mean"] == metrics["segmentation"]["dice_mean"]
        assert fold["test"]["auroc"] == metrics["classification"]["auroc"]["value"]
        assert fold["bundle"] == Bundle.load(out / fold["folder"] / "bundle").digest
    figures = [fold["test"]["dice_mean"] for fold in document["folds"]]
    over = document["over_folds"]["dice_mean"]
    assert over["values"] == figures
    assert over["mean"] == pytest.approx(np.mean(figures), abs=1e-4)
    assert set(document["over_folds"]) == {
        "dice_mean", "dice_median", "iou_mean", "auroc", "auroc_with_node", "detection",
        "left_empty",
    }  # fmt: skip


@pytest.fixture(scope="module")
def unseen(run, data) -> list[Outcome]:
    """Read each image anew by the bundle that never saw its patient."""
    rows, found = index.read_index(data), []
    for fold in folds.numbered(folds.divide(rows, SETTINGS.folds, SETTINGS.seed), 3):
        bundle = Bundle.load(run[0] / fold.folder / "bundle")
        results = evaluate(Predictor(bundle, "cpu"), fold.split.test)
        found.append(Outcome(fold, bundle, tuple(results)))
    return found


def test_pooled_is_every_patient_by_a_bundle_that_never_saw_it(run, unseen) -> None:
    (pooled,) = _document(run[0])["pooled"]
    assert (pooled["repeat"], pooled["n_patients"], pooled["n_images"]) == (1, 18, 18)
    results = [result for outcome in unseen for result in outcome.test]
    dice = np.mean([result.dice for result in results])
    assert dice > 0.3  # these networks find something
    assert pooled["segmentation"]["dice_mean"] == pytest.approx(dice, abs=1e-4)
    scores = {label: [p.score for p in patients(results) if p.label == label] for label in (0, 1)}
    pairs = [(a > b) + (a == b) / 2 for a in scores[1] for b in scores[0]]
    area = pooled["classification"]["auroc"]
    assert area["value"] == pytest.approx(np.mean(pairs), abs=1e-4)
    assert area["ci95"][0] <= area["value"] <= area["ci95"][1]


# stopping and going on


def test_a_run_that_was_stopped_goes_on_exactly(tmp_path, run, data) -> None:
    """Stopped within the second fold: the first is kept as it is, the second ends bit for bit."""
    with pytest.raises(Stop):
        train(data, tmp_path, SETTINGS, say=Ear("fold 2/3: epoch 1/12"))
    kept = (tmp_path / "fold-1" / BEST).stat().st_mtime_ns
    ear = Ear("fold 2/3: choosing")
    with pytest.raises(Stop):
        train(data, tmp_path, SETTINGS, resume=True, say=ear)
    assert "fold 1/3: finished already" in ear
    assert "fold 1/3: epoch" not in ear
    assert "fold 2/3: epoch 1/12" not in ear
    assert (tmp_path / "fold-1" / BEST).stat().st_mtime_ns == kept
    for folder in ("fold-1", "fold-2"):
        for name in (NAME, BEST):
            one, other = (load_file(out / folder / name) for out in (run[0], tmp_path))
            assert all(one[key].tobytes() == other[key].tobytes() for key in one)


def test_a_finished_run_trains_nothing_again_and_can_get_its_ensemble_later(
    tmp_path, run, data
) -> None:
    out, made, _ = run
    shutil.copytree(out, tmp_path / "o", ignore=shutil.ignore_patterns("cache"))
    shutil.rmtree(tmp_path / "o" / "bundle")
    ear, alone = Ear(), dataclasses.replace(SETTINGS, folds=Folds(count=3))
    assert train(data, tmp_path / "o", alone, resume=True, say=ear) is None
    assert not (tmp_path / "o" / "bundle").exists()
    again = train(data, tmp_path / "o", SETTINGS, resume=True, say=ear)
    assert again.digest == made.digest
    assert _document(tmp_path / "o") == _document(out)
    assert "epoch" not in ear
    assert not (tmp_path / "o" / "cache").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 1}, "other patients, with other settings"),
        ({"focus": 0.1}, "other patients, with other settings"),
        ({"folds": Folds(count=4)}, "other patients, with other settings"),
        ({"folds": Folds()}, "a run with folds"),
    ],
)
def test_a_run_does_not_go_on_as_another(run, data, tmp_path, changes, says) -> None:
    shutil.copytree(run[0], tmp_path / "o")
    with pytest.raises(TrainingError, match=says):
        train(
            data, tmp_path / "o", dataclasses.replace(SETTINGS, **changes), resume=True, say=Ear()
        )


def test_a_run_does_not_go_on_without_its_masks(run, data, tmp_path) -> None:
    """The rows are the same but for one mask, which is nobody's now."""
    shutil.copytree(data, tmp_path / "d")
    index_csv = tmp_path / "d" / "index.csv"
    lines = index_csv.read_text().splitlines()
    image, _, *rest = lines[1].split(",")
    index_csv.write_text("\n".join([lines[0], ",".join([image, "", *rest]), *lines[2:]]) + "\n")
    shutil.copytree(run[0], tmp_path / "o")
    with pytest.raises(TrainingError, match="other patients, with other settings"):
        train(tmp_path / "d", tmp_path / "o", SETTINGS, resume=True, say=Ear())


def test_a_fold_that_was_changed_is_refused(run, data, tmp_path) -> None:
    out = tmp_path / "o"
    shutil.copytree(run[0], out)
    shutil.rmtree(out / "fold-2" / "bundle")
    shutil.copytree(out / "fold-1" / "bundle", out / "fold-2" / "bundle")
    with pytest.raises(TrainingError, match="not the bundle that was measured"):
        train(data, out, SETTINGS, resume=True, say=Ear())
    (out / "fold-1" / "results.json").write_text("{}")
    with pytest.raises(TrainingError, match="cannot be read: remove"):
        train(data, out, SETTINGS, resume=True, say=Ear())


def test_a_folder_with_folds_is_not_overwritten(run, data) -> None:
    with pytest.raises(TrainingError, match="holds a run already"):
        train(data, run[0], SETTINGS, say=Ear())


def test_a_run_without_folds_does_not_get_some(tmp_path, data) -> None:
    (tmp_path / NAME).write_bytes(b"")
    with pytest.raises(TrainingError, match="a run without folds"):
        train(data, tmp_path, SETTINGS, resume=True, say=Ear())


def test_several_processes_are_refused(tmp_path, data, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="without torchrun"):
        train(data, tmp_path, SETTINGS, say=Ear())


def test_images_are_read_once_for_the_checks_and_once_to_be_prepared(tmp_path, data) -> None:
    read: list[str] = []

    def image(path, frame):
        read.append(path.name)
        return PICTURES.image(path, frame)

    readers = dataclasses.replace(PICTURES, image=image)
    with pytest.raises(Stop):
        train(data, tmp_path, BRIEF, readers=readers, say=Ear("fold 1/3: epoch 1/1"))
    assert set(Counter(read).values()) == {2}
    ear = Ear("fold 2/3: choosing")
    with pytest.raises(Stop):
        train(data, tmp_path, BRIEF, readers=readers, resume=True, say=ear)
    # checked again, since files may have changed; neither fold prepares an image anew
    first = folds.divide(index.read_index(data), SETTINGS.folds, SETTINGS.seed)[0]
    measured = len(first.test) + 3 * len(first.validation)  # rules, thresholds, metrics
    assert len(read) == 3 * 18 + measured


# the ensemble


def test_the_ensemble_holds_all_networks_and_says_what_was_not_measured(run) -> None:
    out, made, _ = run
    assert made.digest == Bundle.load(out / "bundle").digest
    assert made.digest in (out / "model-card.md").read_text()
    singles = [Bundle.load(out / f"fold-{number}" / "bundle") for number in (1, 2, 3)]
    assert [w.sha256 for w in made.weights] == [b.weights[0].sha256 for b in singles]
    card = made.card
    assert "ensemble itself was not measured" in card.limits[-1]
    assert "ensemble itself was not measured" in card.metrics["note"]
    assert card.metrics["out_of_fold"]["n_patients"] == 18
    assert card.training["networks"] == 3
    assert "never saw" in card.training["temperature_and_operating_points"]
    for name in ("min_fraction", "min_peak"):
        chosen = sorted(getattr(bundle.card.nodes, name) for bundle in singles)
        assert getattr(card.nodes, name) == chosen[1]
    assert "p0" not in (out / "bundle" / "bundle.toml").read_text()
    Predictor(made, "cpu").self_test()


def test_the_ensemble_s_points_are_those_of_patients_that_no_network_knew(run, unseen) -> None:
    """By scores at temperature 1, each from the network of its fold."""
    made, found = run[1], []
    for outcome in unseen:
        card = dataclasses.replace(outcome.bundle.card, temperature=1.0)
        raw = dataclasses.replace(outcome.bundle, card=card)
        found += patients(evaluate(Predictor(raw, "cpu"), outcome.fold.split.test))
    raw = single.logits(np.array([patient.score for patient in found]))
    segmented = np.array([patient.segmented for patient in found])
    labels = np.array([patient.label for patient in found], np.int8)
    wanted = single.calibrate(raw, segmented, labels, SETTINGS.points)
    assert segmented.sum() > 9
    assert wanted["temperature"] != 1
    assert made.card.temperature == pytest.approx(wanted["temperature"], abs=1e-3)
    for point, other in zip(made.card.operating_points, wanted["operating_points"], strict=True):
        assert point.name == other.name
        assert point.threshold == pytest.approx(other.threshold, abs=1e-4)
        assert (point.sensitivity, point.prevalence) == (other.sensitivity, 0.5)


def test_repeats_are_pooled_apart_and_count_a_patient_once(tmp_path, run, unseen) -> None:
    """A second repeat that is the first again changes nothing but the number of networks."""
    again = [
        dataclasses.replace(outcome, fold=dataclasses.replace(outcome.fold, number=n, repeat=2))
        for n, outcome in enumerate(unseen, 4)
    ]
    document = fold_report.document([*unseen, *again], SETTINGS)
    first, second = document["pooled"]
    assert (first["repeat"], second["repeat"]) == (1, 2)
    assert {**first, "repeat": 2} == second
    assert (first["n_images"], document["over_folds"]["dice_mean"]["n"]) == (18, 6)
    task = single.Task(tmp_path, SETTINGS, PICTURES, Ear())
    twice = fold_bundle.write(task, [*unseen, *again], document["pooled"])
    assert len(twice.weights) == 6
    assert twice.card.operating_points == run[1].card.operating_points
    assert set(twice.card.metrics) == {"note", "out_of_fold_1", "out_of_fold_2"}


def test_an_ensemble_of_unlabelled_patients_keeps_one_half(tmp_path) -> None:
    data = _numbered(dataset(tmp_path / "d", patients=12), "label", [""] * 12)
    changes = {"folds": Folds(count=2, ensemble=True), "loss": Loss(classification=0.0)}
    brief = dataclasses.replace(BRIEF, **changes)
    made = train(data, tmp_path / "o", brief, say=Ear())
    assert [(p.name, p.threshold) for p in made.card.operating_points] == [("max_accuracy", 0.5)]
    assert _document(tmp_path / "o")["over_folds"]["auroc"]["n"] == 0


def _document(out: Path) -> dict:
    return json.loads((out / "folds.json").read_text())
