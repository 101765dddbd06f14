"""Whether training learns what there is to learn, nothing else, and stops where it cannot."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from safetensors import safe_open

from model.errors import TrainingError
from model.training.config import Loss, Stage
from model.training.run import train
from tests.builders_net import dataset
from tests.builders_training import FAST, disks, quiet


def _learned(settings, out, train_on, measure_on):
    """Train quickly: what the weights of the last epoch give on other images."""
    trainer = quiet(settings, out)
    trainer.fit(train_on, disks(2))
    return trainer.validate(measure_on)


def _many_times(cache, times):
    """Repeat the images, so that an epoch has many steps."""
    parts = {k: np.concatenate([v] * times) for k, v in vars(cache).items() if k != "patients"}
    return dataclasses.replace(cache, **parts, patients=cache.patients * times)


def _shuffled(cache, seed):
    labels = np.random.default_rng(seed).permutation(cache.labels)
    return dataclasses.replace(cache, labels=labels)


def test_eight_images_are_learned_by_heart(tmp_path) -> None:
    """Dice above 0.97 on the images trained on: masks, resampling and loss fit together."""
    eight = disks(8, seed=3)
    stage = Stage(epochs=1, batch=8, learning_rate=1e-2, schedule="cosine")
    settings = dataclasses.replace(FAST, stages=(stage,))
    result = _learned(settings, tmp_path, _many_times(eight, 120), eight)
    assert result.dice > 0.97
    assert result.auroc == 1.0


CLASSIFY = dataclasses.replace(
    FAST, stages=(Stage(epochs=4, batch=16, learning_rate=1e-2, schedule="cosine"),)
)


@pytest.mark.parametrize("seed", [0, 1])
def test_shuffled_labels_teach_nothing(tmp_path, seed) -> None:
    """AUROC of 200 fresh images stays within 0.5 +- 0.15: 3.7 standard errors of 0.041.

    Labels are shuffled before the split, as with any data set: only a leak could tell them.
    """
    images, fresh = _shuffled(disks(96, seed=10), seed), _shuffled(disks(200, seed=20), seed)
    settings = dataclasses.replace(CLASSIFY, seed=seed)
    result = _learned(settings, tmp_path, images, fresh)
    assert abs(result.auroc - 0.5) < 0.15


def test_true_labels_teach_the_class(tmp_path) -> None:
    """The same run on true labels: what the test above could have seen."""
    assert _learned(CLASSIFY, tmp_path, disks(96, seed=10), disks(200, seed=20)).auroc > 0.95


def test_a_loss_that_is_no_number_stops_and_writes_its_batch_out(tmp_path) -> None:
    """A learning rate that blows the weights up, as a user's slip would."""
    stage = Stage(epochs=3, batch=4, learning_rate=1e30)
    trainer = quiet(dataclasses.replace(FAST, stages=(stage,)), tmp_path)
    with pytest.raises(TrainingError, match="not a number in epoch 1, step 2") as caught:
        trainer.fit(disks(8), disks(4))
    path = tmp_path / "bad-batch-0.safetensors"
    assert str(path) in str(caught.value)
    with safe_open(path, "np") as file:
        assert file.get_tensor("image").shape == (4, 1, 64, 64)
        about = file.metadata()
    assert [f"p{row}" for row in json.loads(about["rows"])] == json.loads(about["patients"])


# what cannot be trained on


def _with_labels(folder, label_of):
    """Rewrite the labels of a dataset's index."""
    path = folder / "index.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    with path.open("w", newline="", encoding="ascii") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "label": label_of(number)} for number, row in enumerate(rows))
    return folder


def _train(data, out, **changes):
    settings = dataclasses.replace(FAST, stages=(Stage(epochs=1, batch=8),), **changes)
    return train(data, out, settings, say=lambda line: None)


@pytest.mark.parametrize(("label", "says"), [("1", "label 1 only"), ("", "no label")])
def test_one_class_only_is_refused(tmp_path, label, says) -> None:
    data = _with_labels(dataset(tmp_path / "d", patients=20), lambda number: label)
    with pytest.raises(TrainingError, match=f"the dataset holds {says}"):
        _train(data, tmp_path / "o")


def test_masks_alone_can_be_learned_without_labels(tmp_path) -> None:
    data = _with_labels(dataset(tmp_path / "d", patients=20), lambda number: "")
    made = _train(data, tmp_path / "o", loss=Loss(classification=0.0))
    assert [point.name for point in made.card.operating_points] == ["max_accuracy"]


def test_an_empty_part_is_refused(tmp_path) -> None:
    with pytest.raises(TrainingError, match="validation part is empty"):
        _train(dataset(tmp_path / "d", patients=2), tmp_path / "o")


def test_a_folder_that_cannot_be_made_is_told(tmp_path) -> None:
    data = dataset(tmp_path / "d", patients=20)
    with pytest.raises(TrainingError, match="cannot be made"):
        _train(data, tmp_path / "d" / "index.csv" / "o")
