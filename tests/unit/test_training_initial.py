"""Weights that a run starts from: a file of one's own, by its hash."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.errors import TrainingError
from model.network import AxNet
from model.training import config, initial
from tests.builders_net import TINY
from tests.builders_training import FAST


def settings(path: Path, sha256: str | None = None) -> config.TrainConfig:
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
    return dataclasses.replace(
        FAST, initial="file", initial_file=str(path), initial_sha256=sha256 or found
    )


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def test_a_file_of_all_weights_fills_the_network(tmp_path: Path) -> None:
    source, network = AxNet(TINY), AxNet(TINY)
    path = saved(tmp_path / "w.safetensors", source.state_dict())
    initial.load(network, settings(path))
    for name, tensor in source.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


def test_a_file_of_an_encoder_fills_the_encoder_alone(tmp_path: Path) -> None:
    source, network = AxNet(TINY), AxNet(TINY)
    before = {name: tensor.clone() for name, tensor in network.classifier.state_dict().items()}
    initial.load(network, settings(saved(tmp_path / "e.safetensors", source.encoder.state_dict())))
    for name, tensor in source.encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], tensor), name
    for name, tensor in before.items():
        assert torch.equal(network.classifier.state_dict()[name], tensor), name


def test_weights_with_another_classifier_fill_the_first_stage_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    source = AxNet(TINY)
    network = AxNet(dataclasses.replace(TINY, outline_widths=(4, 8)))
    before = {name: tensor.clone() for name, tensor in network.classifier.state_dict().items()}
    path = saved(tmp_path / "w.safetensors", source.state_dict())
    with pytest.raises(TrainingError, match='set initial = "first-stage"'):
        initial.load(network, settings(path))
    initial.load(network, dataclasses.replace(settings(path), initial="first-stage"))
    for name, tensor in source.segmenter.state_dict().items():
        assert torch.equal(network.segmenter.state_dict()[name], tensor), name
    for name, tensor in before.items():
        assert torch.equal(network.classifier.state_dict()[name], tensor), name


def test_a_stem_of_three_colours_is_summed(tmp_path: Path) -> None:
    network = AxNet(TINY)
    tensors = dict(network.encoder.state_dict())
    stem = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    tensors[stem] = torch.rand(tensors[stem].shape[0], 3, *tensors[stem].shape[2:])
    initial.load(network, settings(saved(tmp_path / "e.safetensors", tensors)))
    assert torch.equal(network.encoder.state_dict()[stem], tensors[stem].sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", "cannot be read"),
        ("altered", "not the initial_sha256"),
        ("garbage", "not a safetensors file"),
        ("other", "another network"),
        ("shape", "another network"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, change: str, says: str) -> None:
    tensors = dict(AxNet(TINY).state_dict())
    first = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    if change == "other":
        del tensors[first]
    if change == "shape":
        tensors[first] = torch.zeros(7, *tensors[first].shape[1:])
    path = saved(tmp_path / "w.safetensors", tensors)
    if change == "garbage":
        path.write_bytes(b"no tensors")
    wanted = settings(path, "0" * 64 if change == "altered" else None)
    if change == "missing":
        path.unlink()
    with pytest.raises(TrainingError, match=says):
        initial.load(AxNet(TINY), wanted)


def test_a_file_without_the_word_is_refused() -> None:
    named = dataclasses.replace(FAST, initial_file="w.safetensors")
    with pytest.raises(TrainingError, match='initial = "file"'):
        initial.load(AxNet(TINY), named)


def test_a_choice_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('initial = "imagenet"')
    with pytest.raises(TrainingError, match="initial must be one of random, efficientnet-lite0"):
        config.load(path)
    path.write_text('[[stages]]\nschedule = "step"')
    with pytest.raises(TrainingError, match="schedule must be one of"):
        config.load(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoder": "nonsense"}, "encoder 'nonsense'"),
        ({"classifier_encoder": "nonsense"}, "classifier_encoder 'nonsense'"),
        ({"classifier_encoder": "vit_tiny_patch16_224"}, "images of any size"),
    ],
)
def test_a_network_that_cannot_be_built_is_named(change: dict[str, str], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        initial.build(dataclasses.replace(TINY, **change))


def test_building_leaves_the_random_numbers_and_the_mode_as_they_are() -> None:
    torch.manual_seed(3)
    plain, after = AxNet(TINY), torch.rand(1)
    torch.manual_seed(3)
    built = initial.build(TINY)
    assert torch.equal(torch.rand(1), after)
    assert built.training
    same = zip(plain.state_dict().values(), built.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)
