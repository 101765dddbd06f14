"""A bundle that the command trained is served as it is, and gives what the evaluation gave."""

from pathlib import Path

import pytest

from daemon.commands.evaluate import look
from daemon.commands.readers import readers
from model.bundle_file import Bundle
from model.runtime import Predictor
from model.training.evaluation import evaluate
from model.training.index import read_index
from tests.node import Node, axnode, destination
from tests.peers import Orthanc
from tests.validity import read

pytestmark = pytest.mark.acceptance

# as small as a network can be that finds the nodes of phantoms: nothing is asked of it but a score
CONFIG = """
seed = 5
threads = 2
workers = 0

[architecture]
encoder = "resnet18"
decoder_channels = 32

[input]
width = 160
height = 128

[loss]
pixel = 1.0

[[stages]]
epochs = 6
batch = 8
learning_rate = 2e-3
"""


def test_a_trained_bundle_is_served_with_the_evaluated_probability(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    made = axnode("phantom", "--out", str(data), "--dicom", "--patients", "40", "--seed", "11")
    assert made.returncode == 0, made.stderr
    (tmp_path / "train.toml").write_text(CONFIG)
    trained = axnode(
        *("train", "--data", str(data), "--out", str(run)),
        *("--config", str(tmp_path / "train.toml")),
        timeout_s=600,
    )
    assert trained.returncode == 0, trained.stderr
    evaluated = axnode(
        *("evaluate", "--bundle", str(run / "bundle"), "--data", str(data)),
        *("--out", str(tmp_path / "evaluation")),
        timeout_s=600,
    )
    assert evaluated.returncode == 0, evaluated.stderr
    predictor = Predictor(Bundle.load(run / "bundle"), "cpu")
    rows = read_index(data)[:6]
    results = evaluate(predictor, rows, readers(), look=look)
    wanted = {
        str(read(row.image).StudyInstanceUID): result.score
        for row, result in zip(rows, results, strict=True)
    }
    assert any(score is not None for score in wanted.values())
    with (
        Orthanc() as pacs,
        Node(
            tmp_path / "node",
            destinations=[destination("pacs", pacs.ae_title, pacs.dicom_port)],
            model={"bundle": str(run / "bundle")},
        ) as node,
    ):
        node.push([row.image for row in rows])
        node.settle(wanted)
        summaries = node.summaries()
    for uid, score in wanted.items():
        given = [side["score"] for side in summaries[uid]["sides"]]
        # a side without a segmented node is told of too, and has no score
        assert given == [None if score is None else pytest.approx(score, abs=1e-5)]
