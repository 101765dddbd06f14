"""The networks' forward pass as the node runs it, against torch's own, and against sgemm.

Both run the same frames in alternating rounds with the same threads: the paper's ResNet-101 with
random weights, one frame, and the bundle that ships, in several batches. The share of sgemm is of
the faster of the two that torch has, oneDNN's; MKL's stands beside it.
"""

import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.architecture import PAPER_TEXT, Architecture
from model.bundle_file import SHIPPED, Bundle, write
from model.network import AxNet
from model.preprocess import DEFAULT, prepare
from model.runtime import Predictor
from model.training.phantom import generate
from tests.benchmarks import table
from tests.benchmarks.table import Figure
from tests.builders_net import card

BATCHES = (1, 2, 4, 8, 16)
SIDE = 1536  # of the matrices of sgemm
Forward = Callable[[], object]


def frames(count: int) -> Tensor:
    """Return phantom pictures as the network gets them, (count, 1, 256, 320)."""
    pictures = (generate(779, number, "separable") for number in range(count))
    items = [prepare(picture.frame, picture.tissue_box, DEFAULT) for picture in pictures]
    return torch.from_numpy(np.stack([item.tensor for item in items]))


def random_bundle(folder: Path, images: Tensor) -> Bundle:
    """Write a ResNet-101 of random weights whose batch norms have met pictures."""
    torch.manual_seed(0)
    architecture = Architecture(PAPER_TEXT)
    network = AxNet(architecture)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of what it has seen
    with torch.no_grad():
        network.train()(images[:4])
    whole = card(architecture=architecture, input=DEFAULT)
    return write(folder, whole, [save(network.state_dict())])


def as_torch_runs_it(bundle: Bundle) -> AxNet:
    """Return the network of a bundle's first weights, unfolded."""
    network = AxNet(bundle.card.architecture)
    network.load_state_dict(load_safetensors(bundle.read_weights(bundle.weights[0])))
    return network.eval()


def in_turns(forwards: Sequence[Forward], rounds: int) -> list[list[float]]:
    """Return the seconds of each, one a round, after a round that does not count."""
    times: list[list[float]] = [[] for _ in forwards]
    for number in range(rounds + 1):
        for forward, taken in zip(forwards, times, strict=True):
            start = time.perf_counter()
            forward()
            if number:
                taken.append(time.perf_counter() - start)
    return times


def sgemms() -> list[Forward]:
    """Return a multiplication of square matrices by MKL and by oneDNN."""
    one, other = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    packed = torch.ops.mkldnn._reorder_linear_weight(other, SIDE)
    return [
        functools.partial(torch.mm, one, other),
        lambda: torch.ops.mkldnn._linear_pointwise(one, packed, None, "none", [], ""),
    ]


def flops(network: AxNet, image: Tensor) -> int:
    """Count the operations of one frame's segmentation, two for a multiplication and addition."""
    with FlopCounterMode(display=False) as counter:
        network.segment(image)
    return int(counter.get_total_flops())


def rates(work: float, seconds: Sequence[float]) -> tuple[float, ...]:
    """Return work a second."""
    return tuple(work / each for each in seconds)


def equality(what: str, predictor: Predictor, plain: AxNet, images: Tensor) -> list[Figure]:
    """Compare probabilities and masks, and the classifier's scores under the same masks."""
    fast = predictor.networks[0]
    one, other = fast.segment(images), plain.segment(images)
    focus = torch.ones_like(other)
    scores = [each.classify(images, other, focus).sigmoid() for each in (fast, plain)]
    masks = one > 0, other > 0
    shared = 2 * (masks[0] & masks[1]).sum((1, 2, 3)) + 1
    dice = shared / (masks[0].sum((1, 2, 3)) + masks[1].sum((1, 2, 3)) + 1)
    apart = (one.sigmoid() - other.sigmoid()).abs().amax((1, 2, 3))
    return [
        table.within(1e-3, Figure(f"{what}: probabilities apart", "", tuple(apart.tolist()))),
        table.within(
            1e-3, Figure(f"{what}: scores apart", "", tuple((scores[0] - scores[1]).abs().tolist()))
        ),
        table.within(1e-3, Figure(f"{what}: 1 - Dice of masks", "", tuple((1 - dice).tolist()))),
    ]


def paper(bundle: Bundle, images: Tensor, rounds: int) -> list[Figure]:
    """Measure the paper's network, one frame at a time."""
    predictor, plain = Predictor(bundle, "cpu"), as_torch_runs_it(bundle)
    fast, image = predictor.networks[0], images[:1]
    last = as_torch_runs_it(bundle).to(memory_format=torch.channels_last)
    network = [functools.partial(each.segment, image) for each in (fast, plain, last)]
    ours, eager, eager_last, mkl, one_dnn = in_turns([*network, *sgemms()], rounds)
    eager = min(eager, eager_last, key=median)
    work, product = flops(plain, image) / 1e9, 2 * SIDE**3 / 1e9
    name, done = "resnet101, one frame", rates(work, ours)
    speed = Figure(name, "frame/s", rates(1, ours), "torch", rates(1, eager))
    sgemm = max(("MKL", mkl), ("oneDNN", one_dnn), key=lambda each: -median(each[1]))
    return [
        table.at_least(1.5, speed),
        table.at_least(
            0.85, Figure(name, "GFLOP/s", done, f"sgemm, {sgemm[0]}", rates(product, sgemm[1]))
        ),
        Figure(name, "GFLOP/s", done, "sgemm, MKL", rates(product, mkl)),
        *equality("resnet101", predictor, plain, images[:6]),
    ]


def shipped(images: Tensor, rounds: int) -> list[Figure]:
    """Measure the bundle that ships: segmentation in batches, and its classifier."""
    bundle = Bundle.load(SHIPPED)
    predictor, plain = Predictor(bundle, "cpu"), as_torch_runs_it(bundle)
    plain = plain.to(memory_format=torch.channels_last)
    fast, figures = predictor.networks[0], []
    for count in BATCHES:
        batch = images[:count]
        ours, eager = in_turns(
            [functools.partial(each.segment, batch) for each in (fast, plain)], rounds
        )
        name = f"shipped bundle, batch of {count}"
        speed = Figure(name, "frame/s", rates(count, ours), "torch", rates(count, eager))
        figures.append(table.at_least(1, speed))
    best = max(figures, key=lambda each: each.median)
    figures.append(replace(best, what=f"{best.what}, the best", goal="", met=None))
    one = images[:1]
    logits = plain.segment(one)
    ours, eager = in_turns(
        [
            functools.partial(each.classify, one, logits, torch.ones_like(one))
            for each in (fast, plain)
        ],
        rounds,
    )
    scoring = Figure(
        "shipped bundle, one node scored", "/s", rates(1, ours), "torch", rates(1, eager)
    )
    return [
        *figures,
        table.at_least(1, scoring),
        *equality("shipped bundle", predictor, plain, images),
    ]


def measure(rounds: int) -> list[Figure]:
    """Measure both networks."""
    images = frames(max(BATCHES))
    with tempfile.TemporaryDirectory() as folder:
        bundle = random_bundle(Path(folder), images)
        with torch.inference_mode():
            return [*paper(bundle, images, rounds), *shipped(images, rounds)]


if __name__ == "__main__":
    table.finish(__doc__, measure, rounds=9)
