import argparse
from pathlib import Path

import numpy as np
import pytest

from daemon.commands import bundle as command
from daemon.commands.readers import read_image
from model.errors import BundleError, TrainingError
from tests.builders_net import bundle

SAMPLES = Path(__file__).parents[2] / "sample_dicoms"


def _run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(words))


def test_show_says_what_the_bundle_is(tmp_path, capsys) -> None:
    metrics = {
        "test": {
            "n_images": 9,
            "segmentation": {"dice_mean": 0.9},
            "classification": {"auroc": {"value": 0.8, "ci95": [0.7, 0.9]}},
        },
        "elsewhere": 3,
    }
    made = bundle(tmp_path, metrics=metrics)
    assert _run("show", str(tmp_path)) == 0
    said = capsys.readouterr().out
    for words in (
        made.digest,
        "yes, not for patients",
        "threshold 0.500, sensitivity 0.80 (0.50-0.95)",
        "9 images, Dice 0.900, AUROC 0.800 (95 % CI 0.700-0.900)",
        "Knows nothing.",
    ):
        assert words in said


def test_show_without_a_folder_shows_the_shipped_one(capsys) -> None:
    assert _run("show") == 0
    assert "AxNode demonstration" in capsys.readouterr().out


def test_verify_runs_the_network(tmp_path, capsys) -> None:
    bundle(tmp_path)
    assert _run("verify", str(tmp_path)) == 0
    assert "whole, and the network runs" in capsys.readouterr().out


def test_verify_of_an_altered_bundle_fails(tmp_path) -> None:
    bundle(tmp_path)
    with (tmp_path / "weights.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="SHA-256"):
        _run("verify", str(tmp_path))


def test_training_reads_one_frame_of_a_dicom_file() -> None:
    cine = SAMPLES / "2-suspicious-cine-1.dcm"
    first, third = read_image(cine, 1), read_image(cine, 3)
    assert (first.ndim, first.shape[2], first.dtype) == (3, 3, np.uint8)
    assert not np.array_equal(first, third)
    assert np.array_equal(first, read_image(cine, None))


def test_a_file_that_is_no_image_is_named(tmp_path) -> None:
    path = tmp_path / "a.dcm"
    path.write_text("text")
    with pytest.raises(TrainingError, match=r"a\.dcm of the dataset"):
        read_image(path, None)
