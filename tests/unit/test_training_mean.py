"""The mean of networks of one origin, as a file to start from."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.errors import TrainingError
from model.network import AxNet
from model.training import initial
from model.training.mean import main, mean
from tests.builders_net import TINY
from tests.builders_training import FAST


def saved(path: Path, **changes: object) -> Path:
    network = AxNet(dataclasses.replace(TINY, **changes))
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    return path


def test_masks_are_averaged_and_what_reads_them_is_the_last_one_s(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{n}.safetensors") for n in range(3)]
    one, two, three = (load_file(path) for path in paths)
    made = mean(paths)
    assert made.keys() == three.keys()
    for name, tensor in made.items():
        if not name.startswith("segmenter.") or not tensor.is_floating_point():
            assert torch.equal(tensor, three[name]), name
        else:
            assert torch.allclose(tensor, (one[name] + two[name] + three[name]) / 3, atol=1e-6)
    varied = [n for n in made if not torch.equal(made[n], three[n])]
    assert len(varied) > 20


def test_a_run_can_start_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first network had another classifier: it lends its masks alone."""
    first = saved(tmp_path / "a.safetensors", classifier_hidden=9)
    second, out = saved(tmp_path / "b.safetensors"), tmp_path / "mean.safetensors"
    assert main([str(first), str(second), "--out", str(out)]) == 0
    said = capsys.readouterr().out.strip()
    assert said == hashlib.sha256(out.read_bytes()).hexdigest()
    network = AxNet(TINY)
    settings = dataclasses.replace(FAST, initial="file", initial_file=str(out), initial_sha256=said)
    initial.load(network, settings)
    made = mean([first, second])
    assert all(torch.equal(network.state_dict()[name], made[name]) for name in made)


def test_what_has_no_mean_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = saved(tmp_path / "a.safetensors")
    other = saved(tmp_path / "b.safetensors", decoder_channels=16)
    with pytest.raises(TrainingError, match=r"a\.safetensors and .*b\.safetensors segment by diff"):
        mean([one, other])
    (tmp_path / "c.safetensors").write_bytes(b"no tensors")
    for wrong in ("c.safetensors", "missing.safetensors"):
        out = tmp_path / "out.safetensors"
        assert main([str(one), str(tmp_path / wrong), "--out", str(out)]) == 2
        assert "cannot be read as safetensors" in capsys.readouterr().err
        assert not out.exists()
