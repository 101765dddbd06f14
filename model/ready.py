"""A network made ready for inference on a device, and shown to be the same network.

What cannot be made so, or answers otherwise than the network as torch runs it, is run as torch
runs it: slower, and right.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model.architecture import Architecture
from model.device import Device
from model.network import AxNet
from model.program import Program
from model.tape import Tape, UnwritableError, write_down

log = logging.getLogger(__name__)
TOLERANCE = 1e-3  # of a probability, between the network as torch runs it and as it runs here


class Network(Protocol):
    """What `model.runtime` asks of a network."""

    def segment(self, image: Tensor) -> Tensor:
        """Mask logits (N, 1, H, W) of images (N, 1, H, W)."""

    def classify(self, image: Tensor, mask_logits: Tensor, focus: Tensor) -> Tensor:
        """Class logits (N,); see `model.network.AxNet.classify`."""


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, in memory, and what it does written down."""

    network: AxNet
    size: tuple[int, int]  # height and width of the images
    tapes: tuple[Tape, Tape] | None  # of `segment` and `classify`; None: they cannot be


def load(
    architecture: Architecture, weights: Mapping[str, Tensor], size: tuple[int, int]
) -> Loaded:
    """Build a network around weights; none are drawn first.

    Raises
    ------
    KeyError, RuntimeError
        The architecture does not exist, or the weights are not its own.
    """
    # in inference mode operations come undivided, and under other names
    with torch.inference_mode(mode=False):
        with torch.device("meta"):
            network = AxNet(architecture).eval()
        tapes = _tapes(network, size)
    network.load_state_dict(weights, assign=True)
    if any(buffer.is_meta for buffer in network.buffers()):  # not among the weights, but needed
        network = AxNet(architecture).eval()
        network.load_state_dict(weights)
    return Loaded(network, size, tapes)


def _tapes(network: AxNet, size: tuple[int, int]) -> tuple[Tape, Tape] | None:
    shape = (2, 1, *size)  # not 1, the number that `_differs` tries: no tape may rest on it
    try:
        return (
            write_down(network, network.segment, [shape]),
            write_down(network, network.classify, [shape] * 3),
        )
    except UnwritableError as error:
        _warn(str(error))
        return None


def ready(loaded: Loaded, device: Device) -> Network:
    """Return the network made for inference on a device."""
    plain = loaded.network
    if loaded.tapes is not None:
        try:
            fast = _Fast(loaded.tapes, plain.state_dict(), device)
            apart = difference(fast, plain, loaded.size, device.place)
        except RuntimeError as error:
            _warn(str(error).partition("\n")[0])
        else:
            if apart <= TOLERANCE:
                return fast
            _warn(f"probabilities are up to {apart:.2g} apart")
    return plain.to(device.place).to(memory_format=torch.channels_last)


class _Fast:
    """Both forward passes as programs."""

    def __init__(
        self, tapes: tuple[Tape, Tape], weights: Mapping[str, Tensor], device: Device
    ) -> None:
        segment, classify = (device.repeat(Program(each, weights, device)) for each in tapes)
        self.segment = segment
        self.classify = classify


def difference(fast: Network, plain: Network, size: tuple[int, int], place: torch.device) -> float:
    """Return how far probabilities are apart, at most, on a frame of noise.

    Parameters
    ----------
    plain
        On the CPU, by which every device is judged.
    place
        Where `fast` is.
    """
    image = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = plain.segment(image)
        seen = (image, logits, torch.ones_like(logits))
        there = [each.to(place) for each in seen]
        pairs = (
            (fast.segment(there[0]), logits),
            (fast.classify(*there), plain.classify(*seen)),
        )
        return max(float((a.cpu().sigmoid() - b.sigmoid()).abs().max()) for a, b in pairs)


def _warn(reason: str) -> None:
    log.warning("the network runs unfolded", extra={"action": "network_plain", "reason": reason})
