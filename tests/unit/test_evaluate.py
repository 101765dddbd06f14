"""``axnode evaluate``: from bundle and dataset to metrics.json, report.html and figures."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from daemon.analyser import Analyser
from daemon.cli import main
from daemon.commands.evaluate import look
from daemon.commands.readers import readers
from daemon.panels import find_panels
from dicom_io.frames import Image
from model.bundle_file import OperatingPoint
from model.errors import TrainingError
from model.nodes import PredictedNode, Rules
from model.runtime import Predictor
from model.training import subgroups, true_mask
from model.training.assess import assess
from model.training.data import PICTURES
from model.training.evaluation import Look, evaluate
from model.training.index import Row, read_index
from model.training.results import ImageResult, patients
from model.training.summary import at, report
from tests import builders
from tests.builders import Picture
from tests.builders_net import bundle, dataset

EVERYTHING = Rules(threshold=0.0, min_fraction=0.0, min_peak=0.0)
POINTS = (
    OperatingPoint("max_accuracy", 0.5),
    OperatingPoint("rule_out", 0.2),
    OperatingPoint("rule_in", 0.8),
)


def result(patient: str, label: int | None, score: float | None, **more) -> ImageResult:
    found = 0 if score is None else 1
    return replace(ImageResult(patient, label, score, None, None, None, found, 0.1), **more)


class Drawn:
    """A model that finds the drawn mask, scored by the grey inside: bright disks are positive."""

    def __call__(self, predictor: Predictor, row: Row, frame: np.ndarray) -> Look:
        """Return the drawn mask as the only node."""
        mask = PICTURES.mask_of(row)
        score = float(frame[mask].mean() / 255)
        return Look([PredictedNode(0, 0, mask, score, int(mask.sum()), 1.0)], [None], (0.5, 0.5))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluate a perfect reader on 24 patients, apart by a column."""
    folder = tmp_path_factory.mktemp("evaluate")
    with_columns(dataset(folder / "data", patients=24))
    points = (OperatingPoint("max_accuracy", 0.4),)
    assess(
        bundle(folder / "bundle", operating_points=points).path,
        folder / "data",
        folder / "out",
        by=["style", "size<12"],
        look=Drawn(),
        say=lambda line: None,
    )
    return folder / "out"


def with_columns(folder: Path) -> None:
    """Add a column of words and one of numbers to an index."""
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "style", "size"])
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow({**row, "style": ["oak", "<elm>"][number // 12], "size": number})


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def run(folder: Path, *more: str) -> int:
    words = ("--bundle", "bundle", "--data", "data", "--out", "out")
    return main(["evaluate", *(w if w[0] == "-" else str(folder / w) for w in words), *more])


# the command


def test_the_command_leaves_metrics_a_report_and_figures(tmp_path: Path) -> None:
    bundle(tmp_path / "bundle", nodes=EVERYTHING)
    dataset(tmp_path / "data", patients=6)
    assert run(tmp_path) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["n_images"], metrics["n_patients"]) == (6, 6)
    assert 0 < metrics["segmentation"]["dice_mean"] < 1  # everything is node to these rules
    assert len(metrics["classification"]["auroc"]["ci95"]) == 2
    assert list(metrics["operating_points"]) == ["max_accuracy"]
    assert (tmp_path / "out" / "report.html").exists()


def test_the_numbers_of_a_perfect_reader(made: Path) -> None:
    metrics = json.loads((made / "metrics.json").read_text())
    overlap, scored = metrics["segmentation"], metrics["classification"]
    assert (overlap["dice_mean"], overlap["iou_median"], overlap["missed"]) == (1, 1, 0)
    assert overlap["hd95_mm"]["median"] == 0
    assert overlap["hd95_px"] == {"n": 0}
    assert (scored["auroc"]["value"], scored["auprc"]["value"]) == (1, 1)
    assert "the intervals are empty" in scored["auroc"]["caution"]
    assert (scored["n_labelled"], scored["n_positive"], scored["prevalence"]) == (24, 12, 0.5)
    assert scored["calibration"]["slope"] is None  # the classes do not overlap
    point = metrics["operating_points"]["max_accuracy"]
    assert [point[key] for key in ("tp", "fn", "fp", "tn")] == [12, 0, 0, 12]
    assert point["npv_ci95"] == [0.7575, 1.0]  # Wilson of 12 of 12
    assert metrics["bundle"]["demonstration"] is True


def test_subgroups_and_cohort_stand_in_the_metrics(made: Path) -> None:
    metrics = json.loads((made / "metrics.json").read_text())
    assert list(metrics["subgroups"]) == ["style", "size<12"]
    assert {v: g["n_images"] for v, g in metrics["subgroups"]["size<12"].items()} == {
        "<12": 12, ">=12": 12,
    }  # fmt: skip
    assert metrics["cohort"]["style"] == {
        "negative_positive": {"<elm>": [6, 6], "oak": [6, 6]},
        "test": "chi-square",
        "p": 1.0,
    }


class Assets(HTMLParser):
    """Everything that a page would fetch, and its open elements."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what it would fetch."""
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that is open."""
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_says_what_it_is(made: Path) -> None:
    text = (made / "report.html").read_text()
    page = Assets()
    page.feed(re.sub(r"<(path|rect|circle|polyline)[^>]*/>", "", text))
    assert page.open == []
    assert all(address.startswith("data:image/png;base64,") for address in page.fetched)
    assert "url(" not in text
    assert "DEMONSTRATION" in text
    assert "not a medical device" in text
    assert "&lt;elm&gt;" in text  # a value of the index is no markup
    assert "<elm>" not in text
    for title in ("ROC", "Precision and recall", "Reliability", "Decision curve", "Dice"):
        assert f"<title>{title}" in text
    for limit in ("Knows nothing.", "Subgroups are many and small"):
        assert limit in text


def test_figures_are_files_too(made: Path) -> None:
    names = {path.stem for path in (made / "figures").iterdir()}
    curves = {"roc", "precision-recall", "decision-curve", "reliability"}
    assert names == {"dice", "confusion-1", *curves}
    assert (made / "figures" / "roc.svg").read_text().startswith("<svg xmlns=")


def test_a_bundle_that_is_no_demonstration_has_no_banner(tmp_path: Path) -> None:
    bundle(tmp_path / "bundle", demonstration=False)
    dataset(tmp_path / "data", patients=2)
    assert run(tmp_path) == 0
    assert "DEMONSTRATION" not in (tmp_path / "out" / "report.html").read_text()


def test_the_worst_outlines_are_shown(tmp_path: Path) -> None:
    """By line of the index, not by the file's name, in which a person's may stand."""
    bundle(tmp_path / "bundle", nodes=EVERYTHING)
    dataset(tmp_path / "data", patients=2)
    assert run(tmp_path) == 0
    text = (tmp_path / "out" / "report.html").read_text()
    assert len(re.findall("line [23] of index.csv, Dice 0", text)) == 4  # alt and caption of two
    assert "0-0.png" not in text
    shown = np.asarray(PilImage.open(tmp_path / "out" / "worst" / "1.png"))
    assert (shown[0, 0] == (255, 120, 30)).all()  # found: the whole region, so its rim


# what cannot be evaluated


def test_one_class_gives_no_area_and_says_why(tmp_path: Path) -> None:
    bundle(tmp_path / "bundle", nodes=EVERYTHING)
    dataset(tmp_path / "data", patients=1)
    assert run(tmp_path) == 0
    scored = json.loads((tmp_path / "out" / "metrics.json").read_text())["classification"]
    for name in ("auroc", "auprc"):
        said = [scored[name][key] for key in ("value", "ci95", "reason")]
        assert said == [None, None, "all 1 labelled patients are negative"]
    assert "all 1 labelled patients are negative" in (tmp_path / "out" / "report.html").read_text()


def test_masks_without_labels_are_enough(tmp_path: Path) -> None:
    bundle(tmp_path / "bundle")
    change(dataset(tmp_path / "data", patients=2), r",[01],p", ",,p")
    assert run(tmp_path) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["classification"]["auroc"]["reason"] == "no patient is labelled"
    assert metrics["segmentation"]["n_with_node"] == 2


def change(folder: Path, pattern: str, new: str) -> None:
    path = folder / "index.csv"
    path.write_text(re.sub(pattern, new, path.read_text()))


def cut_image(folder: Path) -> None:
    path = folder / "data" / "images" / "0-0.png"
    path.write_bytes(path.read_bytes()[:200])


def other_size(folder: Path) -> None:
    PilImage.new("L", (10, 10)).save(folder / "data" / "masks" / "1-0.png")


def nothing_known(folder: Path) -> None:
    change(folder / "data", r"masks/[^,]*,[01],", ",,")


def altered_bundle(folder: Path) -> None:
    path = folder / "bundle" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def a_file_for_a_folder(folder: Path) -> None:
    (folder / "out").write_text("")


@pytest.mark.parametrize(
    ("damage", "code", "says"),
    [
        (cut_image, 3, "is not a readable picture"),
        (other_size, 3, r"index.csv:3: mask and image differ in size"),
        (nothing_known, 3, "no row of the index has a mask or a label"),
        (altered_bundle, 2, r"SHA-256 differs\): copy the bundle again"),
        (a_file_for_a_folder, 3, "out cannot be written"),
        (lambda f: (f / "data/images/0-0.png").unlink(), 3, "1 files of the index are not there"),
        (lambda f: (f / "data/index.csv").unlink(), 3, "index.csv cannot be read"),
        (lambda f: (f / "data/images/1-0.png").rename(f / "data/x"), 3, "images/1-0.png"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, capsys, damage, code, says) -> None:
    bundle(tmp_path / "bundle")
    dataset(tmp_path / "data", patients=2)
    damage(tmp_path)
    assert run(tmp_path) == code
    assert re.search(says, one_line(capsys))
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_an_evaluation_is_not_overwritten(tmp_path: Path, capsys) -> None:
    bundle(tmp_path / "bundle")
    dataset(tmp_path / "data", patients=2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("kept")
    assert run(tmp_path) == 3
    assert "holds an evaluation already: name another folder" in one_line(capsys)
    assert (tmp_path / "out" / "metrics.json").read_text() == "kept"


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ("colour", "no column 'colour'"),
        ("tissue_x1<wide", "the limit 'wide' is no number"),
        ("image<10", "needs numbers"),
        ("tissue_x1>=10", "no column 'tissue_x1>=10': --by takes image, mask"),
        ("image", "has 14 different values: name one of fewer"),
    ],
)
def test_a_column_that_cannot_divide(tmp_path: Path, capsys, by, says) -> None:
    bundle(tmp_path / "bundle")
    dataset(tmp_path / "data", patients=14)
    assert run(tmp_path, "--by", by) == 3
    assert says in one_line(capsys)


# the service and the evaluation


def dicom_row(path: Path, picture: Picture, frames: np.ndarray | None = None) -> Row:
    return Row(builders.write(path, picture, frames), None, None, 1, "p", None)


@pytest.mark.parametrize(
    "boxes",
    [None, ((20, 10, 140, 110),), ((0, 0, 80, 120), (80, 0, 160, 120))],
    ids=["whole frame", "one region", "dual view"],
)
def test_service_and_evaluation_give_the_same_probability(tmp_path: Path, boxes) -> None:
    made = bundle(tmp_path / "bundle", nodes=EVERYTHING)
    row = dicom_row(tmp_path / "a.dcm", Picture(boxes=boxes))
    analyser = Analyser.load(made.path, "cpu")
    served = analyser.read([("1.2.3.1", row.image)], cine_frames=30, tracking_root="node/1")
    (found,) = evaluate(analyser.predictor, [row], readers(), look=look)
    scores = [node.score for node in served.nodes]
    assert len(scores) == found.found_nodes == len(boxes or (0,))
    assert found.score == pytest.approx(max(scores), abs=1e-5)


def test_every_frame_of_a_cine_is_read_as_the_service_reads_it(tmp_path: Path) -> None:
    made = bundle(tmp_path / "bundle", nodes=EVERYTHING)
    row = dicom_row(tmp_path / "a.dcm", Picture(), builders.tissue(frames=3))
    analyser = Analyser.load(made.path, "cpu")
    served = analyser.read([("1.2.3.1", row.image)], cine_frames=30, tracking_root="node/1")
    rows = [replace(row, frame=number) for number in (1, 2, 3)]
    found = evaluate(analyser.predictor, rows, readers(), look=look)
    assert max(r.score for r in found) == pytest.approx(served.nodes[0].score, abs=1e-5)
    assert len({r.score for r in found}) == 3


def test_the_middle_frame_decides_on_the_panels_as_in_the_service(tmp_path: Path) -> None:
    frames = builders.tissue(frames=3)
    frames[0, :, 110:] = 0  # alone it would be cut there
    row = dicom_row(tmp_path / "a.dcm", Picture(), frames)
    predictor = Predictor(bundle(tmp_path / "bundle"), "cpu")
    first, middle = (look(predictor, replace(row, frame=n), frames[n - 1]).boxes for n in (1, 2))
    assert first == middle
    (own,) = find_panels(Image.open(row.image), 0)
    assert first != [own.box]


def test_what_the_service_refuses_is_counted_with_its_reason(tmp_path: Path) -> None:
    made = bundle(tmp_path / "bundle", nodes=EVERYTHING)
    frames = builders.in_colour(builders.tissue(), share=0.6)
    row = dicom_row(tmp_path / "a.dcm", Picture(), frames)
    (found,) = evaluate(Predictor(made, "cpu"), [row], readers(), look=look)
    assert (found.refused, found.score) == ("colour_overlay", None)
    said = report([found, result("b", 1, 0.5)])
    assert (said["n_not_evaluable"], said["not_evaluable"]) == (1, {"colour_overlay": 1})


def test_distances_are_in_millimetres_where_the_file_is_calibrated(tmp_path: Path) -> None:
    made = bundle(tmp_path / "bundle", nodes=EVERYTHING)
    mask = np.zeros((120, 160), np.uint8)
    mask[:, :80] = 255
    PilImage.fromarray(mask).save(tmp_path / "m.png")
    rows = [
        replace(dicom_row(tmp_path / f"{mm}.dcm", Picture(mm=mm)), mask=tmp_path / "m.png")
        for mm in (0.2, None)
    ]
    one, other = evaluate(Predictor(made, "cpu"), rows, readers(), look=look)
    assert (one.calibrated, other.calibrated) == (True, False)
    assert (one.spacing, other.spacing) == (pytest.approx((0.2, 0.2)), None)
    assert one.distance == pytest.approx(0.2 * other.distance)
    assert other.distance == pytest.approx(80, abs=1)


def test_a_column_gives_pictures_their_spacing(tmp_path: Path) -> None:
    """A found node that is the whole of 96 x 80 pixels, so that its rim is far from the disk's."""
    bundle(tmp_path / "bundle", nodes=EVERYTHING)
    dataset(tmp_path / "data", patients=3)
    add_spacing(tmp_path / "data", ["0.5", "0.5", ""])
    assert run(tmp_path) == 0
    said = json.loads((tmp_path / "out" / "metrics.json").read_text())["segmentation"]
    assert (said["hd95_mm"]["n"], said["hd95_px"]["n"]) == (2, 1)
    assert 10 < said["hd95_mm"]["median"] < 35 < said["hd95_px"]["median"] < 70


def add_spacing(folder: Path, texts: list[str]) -> None:
    lines = (folder / "index.csv").read_text().splitlines()
    whole = [f"{line},{text}" for line, text in zip(lines, ["mm_per_px", *texts], strict=True)]
    (folder / "index.csv").write_text("\n".join(whole) + "\n")


@pytest.mark.parametrize("text", ["-1", "0", "wide", "inf", "nan"])
def test_a_spacing_that_is_none_names_its_line(tmp_path: Path, capsys, text) -> None:
    bundle(tmp_path / "bundle")
    dataset(tmp_path / "data", patients=2)
    add_spacing(tmp_path / "data", ["0.1", text])
    assert run(tmp_path) == 3
    assert "index.csv:3: mm_per_px must be a number above 0, or blank" in one_line(capsys)


# patients and rates


def test_a_patient_s_mean_is_over_all_nodes() -> None:
    results = [result("a", 1, 0.9, found_nodes=1), result("a", 1, 0.3, found_nodes=3)]
    assert [p.score for p in patients(results)] == [0.9]
    assert [p.score for p in patients(results, "mean")] == [pytest.approx(0.45)]


def test_the_paper_s_confusion_matrix_gives_the_paper_s_rates() -> None:
    """TP 4, FN 3, FP 0, TN 20: sensitivity 57.1 %, NPV 87.0 %, accuracy 88.9 %."""
    scores = [1] * 4 + [0] * 3 + [0] * 20
    labels = [1] * 7 + [0] * 20
    pairs = enumerate(zip(labels, scores, strict=True))
    everyone = patients([result(str(i), label, score) for i, (label, score) in pairs])
    said = at(0.5, everyone)
    kinds = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
    assert [round(said[kind], 3) for kind in kinds] == [0.571, 1.0, 1.0, 0.870, 0.889]
    assert said["sensitivity_ci95"] == pytest.approx((0.2505, 0.8418), abs=1e-4)


def test_between_the_declared_limits_there_is_no_answer() -> None:
    results = [result(str(n), n % 2, score) for n, score in enumerate((0.1, 0.2, 0.5, 0.8))]
    said = report(results, POINTS)["classification"]["abstain"]
    assert (said["n"], said["share"]) == (2, 0.5)  # 0.2 and 0.5; 0.8 is ruled in
    assert report(results, POINTS[:2])["classification"]["abstain"] is None


def test_rates_without_a_case_are_none() -> None:
    said = at(0.5, patients([result("a", 0, 0.1)]))
    assert (said["sensitivity"], said["sensitivity_ci95"], said["ppv"]) == (None, None, None)


# true masks


def test_the_true_mask_decides_what_the_classifier_sees(tmp_path: Path) -> None:
    predictor = Predictor(bundle(tmp_path), "cpu")
    rng = np.random.default_rng(0)
    frame = np.repeat(rng.integers(0, 255, (80, 90, 1)).astype(np.uint8), 3, axis=2)
    left, right = np.zeros((2, 80, 90), bool)
    left[20:60, 10:40] = right[10:70, 50:85] = True
    both = true_mask.scores(predictor, frame, None, left | right)
    alone = [true_mask.scores(predictor, frame, None, mask)[0] for mask in (left, right)]
    assert sorted(both) == pytest.approx(sorted(alone), abs=1e-6)
    assert both[0] != both[1]
    outside = frame.copy()
    outside[~(left | right)] = 7
    assert true_mask.scores(predictor, outside, None, left | right) == pytest.approx(both, abs=2e-3)
    assert true_mask.scores(predictor, frame, (0, 0, 45, 80), right) == []


def test_the_area_by_drawn_masks_is_over_the_same_patients() -> None:
    """Drawn masks tell the classes apart, found ones do not; an image without mask leaves both."""
    results = [
        result(str(n), n % 2, 0.5, true_nodes=1, true_mask_score=0.9 - 0.8 * (n % 2 == 0),
               true_mask_nodes=1)
        for n in range(6)
    ]  # fmt: skip
    said = report([*results, result("x", 1, 0.1)])["classification"]["true_mask"]
    assert said["n_labelled"] == 6
    assert said["auroc"]["value"] == 1.0
    assert said["auroc_predicted_mask"]["value"] == 0.5


# columns


def test_fisher_where_counts_are_small_and_chi_square_elsewhere() -> None:
    """Fisher's tea: 3 of 4 against 1 of 4 gives p = 0.486. The other is 4 by hand: p = 0.0455."""
    tea = subgroups.association(np.array([[3, 1], [1, 3]]))
    assert (tea["test"], round(tea["p"], 3)) == ("Fisher's exact", 0.486)
    many = subgroups.association(np.array([[30, 20], [20, 30]]))
    assert (many["test"], round(many["p"], 4)) == ("chi-square", 0.0455)
    assert subgroups.association(np.array([[3, 0], [2, 0]])) == {"test": None, "p": None}
    assert "below 5" in subgroups.association(np.array([[3, 1], [1, 3], [2, 2]]))["test"]


def test_patients_whose_images_differ_are_no_group_of_the_test(tmp_path: Path) -> None:
    results = [result(p, label, 0.5) for p, label in (("a", 0), ("a", 0), ("b", 1), ("c", 1))]
    column = subgroups.Column("style", ("oak", "elm", "oak", subgroups.BLANK))
    said = subgroups.cohort(results, column)
    assert said["negative_positive"] == {
        "(blank)": [0, 1], "(several)": [1, 0], "oak": [0, 1],
    }  # fmt: skip
    assert said["test"] is None


def test_a_tissue_box_outside_of_its_image_names_its_line(tmp_path: Path) -> None:
    rows = read_index(dataset(tmp_path / "d", patients=2))
    away = replace(rows[1], region=(500, 500, 600, 600))
    with pytest.raises(TrainingError, match=r"index.csv:3: .*correct the tissue box"):
        evaluate(Predictor(bundle(tmp_path / "b"), "cpu"), [away])


def test_the_area_where_a_node_is_drawn_leaves_empty_pictures_out() -> None:
    """Two empty pictures are easy negatives; a patient counts by any picture that has a node."""
    results = [
        result("a", 1, 0.8, true_nodes=1),
        result("b", 0, 0.9, true_nodes=2),
        result("c", 0, 0.3, true_nodes=1),
        result("c", 0, 0.1, true_nodes=0),
        *(result(name, 0, 0.0, true_nodes=0) for name in "de"),
    ]
    said = report(results)["classification"]
    assert said["auroc"]["value"] == 0.75
    assert (said["with_node"]["n_labelled"], said["with_node"]["n_positive"]) == (3, 1)
    assert said["with_node"]["auroc"]["value"] == 0.5
