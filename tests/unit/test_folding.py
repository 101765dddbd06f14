"""Folded operations against the modules that they were written down from."""

import copy
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn

from model import ready
from model.architecture import Architecture
from model.bundle_file import SHIPPED, Bundle, write
from model.device import Cpu, Cuda
from model.folding import Call, Convolution, Operation, fold
from model.network import AxNet
from model.nodes import Rules
from model.packed import Packed, call, plain
from model.preprocess import Prepared, prepare
from model.program import Program
from model.runtime import Predictor
from model.tape import UnwritableError, write_down
from model.training.phantom import generate
from tests.builders_net import SMALL_INPUT, TINY, bundle, card, weights


class PlainCpu(Cpu):
    """The kernels that a GPU runs, here."""

    def pack(self, made: Operation, size: object, *, overwrites: bool) -> Packed:
        """Pack for torch's own kernels."""
        if isinstance(made, Call):
            return call(made, self.place)
        return plain(made, self.place, torch.float32)


class Residual(nn.Module):
    """Two convolutions whose sum is read twice, and one whose result is read twice."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8))
        self.third = nn.Conv2d(8, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.activation = activation

    def forward(self, image: Tensor) -> Tensor:
        """Add, and use what was added again."""
        start = self.first(image)
        total = self.activation(start + self.second(start))
        shared = self.third(total)
        return torch.relu(self.norm(shared)) + shared + total


class Kept(nn.Module):
    """What is added to a convolution is read once more afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Add, then multiply by what was added."""
        start = self.first(image)
        return (self.second(torch.tanh(start)) + start) * start


def pyramid() -> nn.Module:
    """Return one branch of an atrous pyramid."""
    return nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=24, dilation=24, groups=3, bias=False),
        nn.Conv2d(3, 5, 1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
    )


def settled(module: nn.Module, channels: int = 3) -> nn.Module:
    """Give the batch norms statistics and gains that are not 0 and 1."""
    torch.manual_seed(1)
    with torch.no_grad():
        for each in module.modules():
            if isinstance(each, nn.BatchNorm2d):
                nn.init.uniform_(each.weight, 0.5, 2.0)
                nn.init.normal_(each.bias)
        module.train()
        module(3 * torch.randn(4, channels, 16, 20) + 1)
    return module.eval()


def program(module: nn.Module, device: Cpu, channels: int = 3) -> tuple[Program, list[Operation]]:
    """Write a module down and make it ready."""
    values = dict(module.state_dict())
    form = copy.deepcopy(module).to("meta")
    tape = write_down(form, form.forward, [(2, channels, 16, 20)])
    return Program(tape, values, device), fold(tape, values)


@pytest.mark.parametrize("device", [Cpu(), PlainCpu()])
@pytest.mark.parametrize(
    "module",
    [
        Residual(nn.ReLU(inplace=True)),
        Residual(nn.ReLU6()),
        Residual(nn.SiLU(inplace=True)),
        Residual(nn.Tanh()),
        Kept(),
        pyramid(),
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU6(inplace=True)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()),
        nn.Sequential(nn.ConvTranspose2d(3, 4, 2, stride=2), nn.BatchNorm2d(4), nn.Hardtanh(-1, 2)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(3, 6, 5, padding=20, dilation=10), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 6, 5, padding=36, dilation=18, stride=2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 6, (1, 7), padding=(0, 3)), nn.ReLU()),
    ],
)
def test_a_program_is_its_module(module, device) -> None:
    module = settled(module)
    image = 3 * torch.randn(3, 3, 16, 20) + 1
    with torch.inference_mode():
        expected = module(image)
    made, _ = program(module, device)
    with torch.inference_mode():
        kept = image.clone()
        assert torch.allclose(made(image), expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(image, kept)  # nothing was written over that is not ours
        assert torch.allclose(made(image[:1]), expected[:1], atol=1e-4, rtol=1e-4)


def test_a_residual_block_is_three_convolutions_and_little_else() -> None:
    _, operations = program(settled(Residual(nn.ReLU())), Cpu())
    made = [each for each in operations if isinstance(each, Convolution)]
    assert [(each.activation, each.added is not None) for each in made] == [
        ("none", False),
        ("relu", True),
        ("none", False),  # is read twice: as it is, and normalised
    ]


def test_a_network_is_folded_in_inference_mode_too() -> None:
    """There torch would hand over convolutions under a name that nobody folds."""
    with torch.inference_mode():
        loaded = ready.load(TINY, AxNet(TINY).state_dict(), (64, 64))
    for tape in loaded.tapes:
        names = [step.operation for step in tape.steps]
        assert torch.ops.aten.convolution.default in names
        assert torch.ops.aten.conv2d.default not in names


def test_taps_that_see_only_padding_are_cut_and_what_scales_goes_into_the_next() -> None:
    """A dilation beyond the map leaves one tap, a factor per channel."""
    _, operations = program(settled(pyramid()), Cpu())
    (only,) = operations
    assert isinstance(only, Convolution)
    assert only.weight.shape == (5, 3, 1, 1)
    wider = nn.Conv2d(3, 3, 3, padding=18, dilation=18)  # one row of 16, three columns of 20
    (only,) = program(wider, Cpu())[1]
    assert isinstance(only, Convolution)
    assert (only.weight.shape[2:], only.padding) == ((1, 3), (0, 18))


class Own(nn.Module):
    """Makes a tensor, or asks for a value."""

    def __init__(self, *, asks: bool) -> None:
        super().__init__()
        self._asks = asks

    def forward(self, image: Tensor) -> Tensor:
        """Do what no tape can hold."""
        if self._asks and image.sum() > 0:
            return image
        return image + torch.ones(20, device=image.device)


@pytest.mark.parametrize("asks", [False, True])
def test_what_cannot_be_written_down_says_so(asks) -> None:
    with pytest.raises(UnwritableError):
        program(Own(asks=asks), Cpu())


@pytest.mark.parametrize(
    "encoder", ["resnet18", "resnet50", "timm-tf_efficientnet_lite0", "mobilenet_v2"]
)
def test_encoders_run_folded(encoder, caplog) -> None:
    """No warning: what is folded was found equal, and is what runs."""
    architecture = Architecture(encoder, 32, classifier_encoder="tf_efficientnet_lite0")
    torch.manual_seed(0)
    loaded = ready.load(architecture, AxNet(architecture).state_dict(), (64, 96))
    fast = ready.ready(loaded, Cpu())
    assert fast is not loaded.network
    assert caplog.records == []
    assert ready.difference(fast, loaded.network, (64, 96), torch.device("cpu")) < 1e-4


def test_a_program_that_answers_otherwise_is_not_used(caplog) -> None:
    loaded = ready.load(TINY, AxNet(TINY).state_dict(), (64, 64))
    segment, classify = loaded.tapes
    relu = torch.ops.aten.relu.default
    wrong = tuple(
        replace(step, operation=torch.ops.aten.silu.default) if step.operation is relu else step
        for step in segment.steps
    )
    twisted = replace(loaded, tapes=(replace(segment, steps=wrong), classify))
    with caplog.at_level(logging.WARNING):
        assert ready.ready(twisted, Cpu()) is loaded.network
    assert "apart" in caplog.records[0].reason


def test_a_tape_that_rests_on_the_number_of_images_is_not_used(caplog) -> None:
    loaded = ready.load(TINY, AxNet(TINY).state_dict(), (64, 64))
    fixed = write_down(
        AxNet(TINY).to("meta"), lambda image: image.reshape(2, 1, 64, 64), [(2, 1, 64, 64)]
    )
    assert ready.ready(replace(loaded, tapes=(fixed, loaded.tapes[1])), Cpu()) is loaded.network
    assert len(caplog.records) == 1


def test_without_tapes_the_network_runs_as_it_is() -> None:
    loaded = replace(ready.load(TINY, AxNet(TINY).state_dict(), (64, 64)), tapes=None)
    assert ready.ready(loaded, Cpu()) is loaded.network


def test_more_frames_than_go_through_at_once(tmp_path) -> None:
    """Frames beyond the first batch are answered too, in order."""
    predictor = Predictor(bundle(tmp_path), "cpu")
    rng = np.random.default_rng(3)
    frames = [
        np.repeat(rng.integers(0, 255, (80, 90, 1)).astype(np.uint8), 3, axis=2)
        for _ in range(Cpu.most + 3)
    ]
    items = [prepare(frame, None, SMALL_INPUT) for frame in frames]
    together = predictor.predict(items)
    for answer, item in zip(together, items, strict=True):
        (alone,) = predictor.predict([item])
        assert [n.area_px for n in answer] == [n.area_px for n in alone]
        assert [n.score for n in answer] == pytest.approx([n.score for n in alone], abs=1e-5)


def unfolded(made: Bundle) -> Predictor:
    """Return a predictor whose networks run as torch runs them."""
    predictor = Predictor(made, "cpu")
    spec, architecture = made.card.input, made.card.architecture
    predictor.networks = [
        ready.load(architecture, load(made.read_weights(entry)), (spec.height, spec.width)).network
        for entry in made.weights
    ]
    return predictor


def same_nodes(made: Bundle, items: list[Prepared]) -> list[int]:
    """Hold what both predictors find against each other; return how many nodes a frame has."""
    counts = []
    for found, expected in zip(
        Predictor(made, "cpu").predict(items), unfolded(made).predict(items), strict=True
    ):
        counts.append(len(expected))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-3)
            assert one.peak == pytest.approx(other.peak, abs=1e-3)
            assert (one.row, one.column) == (other.row, other.column)
            shared = 2 * (one.mask & other.mask).sum()
            assert shared / (one.area_px + other.area_px) >= 0.999
    return counts


def test_the_shipped_bundle_finds_what_the_unfolded_network_finds() -> None:
    """Frames without a node, with one and with several, in one batch."""
    made = Bundle.load(SHIPPED)
    pictures = [generate(778, patient, "separable", nodes=2) for patient in range(5)]
    items = [prepare(each.frame, each.tissue_box, made.card.input) for each in pictures]
    blank = prepare(np.zeros((256, 320, 3), np.uint8), None, made.card.input)
    counts = same_nodes(made, [*items, blank])
    assert (max(counts), min(counts)) == (2, 0)


def test_an_ensemble_finds_what_the_unfolded_networks_find(tmp_path) -> None:
    whole = card(nodes=Rules(threshold=0.5, min_fraction=0.0, min_peak=0.0))
    made = write(tmp_path, whole, [weights(seed=seed) for seed in (0, 1, 2)])
    frames = [generate(778, patient, "separable").frame for patient in range(3)]
    assert min(same_nodes(made, [prepare(frame, None, SMALL_INPUT) for frame in frames])) >= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_gpu_answers_as_the_cpu_does(tmp_path, count) -> None:
    """Graphs of fixed shape, padded: what was in them before must not show."""
    made = write(tmp_path, card(), [weights()])
    there, here = Predictor(made, "cuda"), Predictor(made, "cpu")
    assert isinstance(there.networks[0], ready._Fast)
    images = torch.randn(count, 1, 64, 64)
    with torch.inference_mode():
        for _ in range(2):
            answer = there.networks[0].segment(images.cuda()).cpu().sigmoid()
            assert torch.allclose(answer, here.networks[0].segment(images).sigmoid(), atol=1e-3)
            there.networks[0].segment(torch.randn(4, 1, 64, 64).cuda())
    assert Cuda(torch.device("cuda")).put(np.ones((2, 3), np.float32)).cpu().sum() == 6
