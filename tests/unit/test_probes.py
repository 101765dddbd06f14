"""What a score rests on: nodes painted out, calipers pasted in, features measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sample_dicoms
from daemon.commands.evaluate import look
from daemon.commands.readers import readers
from model.bundle_file import SHIPPED, Bundle
from model.nodes import PredictedNode
from model.runtime import Predictor
from model.training import probes
from model.training.data import PICTURES
from model.training.evaluation import Look, evaluate
from model.training.index import Row, read_index
from tests.builders_net import bundle, dataset

SAMPLES = Path(sample_dicoms.__file__).parent


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(bundle(tmp_path_factory.mktemp("bundle") / "b"), "cpu")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return read_index(dataset(tmp_path_factory.mktemp("data") / "d", patients=16))


def honest(predictor: Predictor, row: Row, frame: np.ndarray) -> Look:
    """See a node only where the picture differs from its ground, and score it by that."""
    true = PICTURES.mask_of(row)
    inside, around = float(frame[true].mean()), float(np.median(frame[~true]))
    if abs(inside - around) < 20:
        return Look([], [None])
    return Look([PredictedNode(0, 0, true, inside / 255, int(true.sum()), 1.0)], [None])


def cheat(predictor: Predictor, row: Row, frame: np.ndarray) -> Look:
    """Know the label from elsewhere than the node."""
    true = PICTURES.mask_of(row)
    score = 0.9 if row.label else 0.1
    return Look([PredictedNode(0, 0, true, score, int(true.sum()), 1.0)], [None])


def by_the_brightest(predictor: Predictor, row: Row, frame: np.ndarray) -> Look:
    """Let a bright mark decide."""
    true = PICTURES.mask_of(row)
    score = float((frame > 170).mean() * 20)
    return Look([PredictedNode(0, 0, true, score, int(true.sum()), 1.0)], [None])


def probed(predictor: Predictor, rows: Sequence[Row], look, mm: float | None = None) -> dict:
    results = evaluate(predictor, rows, look=look)
    if mm is not None:  # of the first picture
        results[0] = replace(results[0], spacing=(mm, mm))
    asked = probes.probe(predictor, rows, results, PICTURES, look)
    return probes.report(asked, "max")


def test_without_the_node_an_honest_reader_knows_nothing(predictor, rows) -> None:
    said = probed(predictor, rows, honest)["shortcuts"]["blanked"]
    assert (said["n_images"], said["still_found"]) == (16, 0)
    assert said["auroc"]["value"] == 0.5


def test_a_reader_that_knows_the_label_from_elsewhere_is_found_out(predictor, rows) -> None:
    said = probed(predictor, rows, cheat)["shortcuts"]
    assert said["blanked"]["still_found"] == 16
    assert said["blanked"]["auroc"]["value"] == 1.0
    assert said["calipers"] == {"n_images": 16, "median_shift": 0.0, "p95_shift": 0.0}


def test_calipers_that_move_the_score_are_told(predictor, rows) -> None:
    said = probed(predictor, rows, by_the_brightest)["shortcuts"]["calipers"]
    assert 0 < said["median_shift"] <= said["p95_shift"]


def test_nodes_are_measured_on_the_drawn_mask(predictor, rows) -> None:
    said = probed(predictor, rows, honest, 0.1)["appearance"]
    assert said["n_nodes"] == said["masks"]["drawn"]["n_nodes"] == 16
    assert said["features"]["grey_against_ring"]["label"]["value"] == 1.0  # bright where positive
    assert said["features"]["area_mm2"]["label"]["n"] == 1  # one picture tells its spacing


def test_without_a_mask_what_was_found_is_measured_and_nothing_painted(
    predictor, rows, tmp_path: Path
) -> None:
    folder = dataset(tmp_path / "d", patients=4)
    index = (folder / "index.csv").read_text().splitlines()
    lines = [index[0], *(",".join([c[0], "", *c[2:]]) for c in (r.split(",") for r in index[1:]))]
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    bare = read_index(folder)
    whole = np.zeros(PICTURES.image(bare[0].image, None).shape[:2], bool)
    whole[10:40, 10:40] = True

    def finds(predictor: Predictor, row: Row, frame: np.ndarray) -> Look:
        return Look([PredictedNode(0, 0, whole, 0.5, int(whole.sum()), 1.0)], [None])

    said = probed(predictor, bare, finds)
    assert said["appearance"]["masks"]["found"]["n_nodes"] == 4
    assert said["shortcuts"]["blanked"]["n_images"] == 0
    assert said["shortcuts"]["calipers"]["median_shift"] is None


def test_what_is_painted_into_a_dicom_frame_reaches_the_network() -> None:
    """The service reads files itself; a probe must not."""
    image = SAMPLES / "1-benign-stills-1.dcm"
    mask = SAMPLES / "truth/1-benign-stills-1-01.png"
    row = Row(image=image, frame=None, mask=mask, label=0, patient="p", region=None)
    shipped = Predictor(Bundle.load(SHIPPED), "cpu")
    results = evaluate(shipped, [row], readers(), look=look)
    asked = probes.probe(shipped, [row], results, readers(), look)
    assert results[0].found_nodes == 1
    assert asked.blanked[0].found_nodes == 0
    assert len(asked.shifts) == 1
    assert asked.shifts[0] > 0
