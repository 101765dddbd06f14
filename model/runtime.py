"""Inference: a verified bundle on a device, prepared frames in, lymph nodes out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from model.bundle_file import Bundle, Weights
from model.errors import BundleError, DeviceError
from model.network import AxNet
from model.nodes import Component, PredictedNode, Rules, components, territories
from model.preprocess import Prepared, prepare

__all__ = ["PredictedNode", "Predictor"]


class Predictor:
    """A bundle loaded onto a device.

    Parameters
    ----------
    bundle
        A verified bundle; several weights files are an ensemble.
    device
        ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    threads
        CPU threads of torch; None leaves torch's own choice.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.bundle = bundle
        self.device = _device(device)
        with _device_errors():
            self._networks = [self._load(entry) for entry in bundle.weights]

    def _load(self, entry: Weights) -> AxNet:
        """Build one network and fill it with a weights file."""
        try:
            network = AxNet(self.bundle.card.architecture)
            network.load_state_dict(load_safetensors(self.bundle.read_weights(entry)))
        except (KeyError, RuntimeError, SafetensorError) as error:
            raise BundleError(
                f"{self.bundle.path / entry.file} does not fit {self.bundle.architecture}:"
                " the bundle is inconsistent, take another"
            ) from error
        network.eval()
        return network.to(self.device).to(memory_format=torch.channels_last)

    def predict(
        self, batch: Sequence[Prepared], rules: Rules | None = None
    ) -> list[list[PredictedNode]]:
        """Segment and score a batch of prepared frames.

        Parameters
        ----------
        rules
            What counts as a node; None: what the bundle says.

        Returns
        -------
        list
            The nodes of each frame, largest first, in pixels of the source frame.

        Raises
        ------
        DeviceError
            The device failed; with `out_of_memory` a smaller batch may help.
        """
        if not batch:
            return []
        with torch.inference_mode(), _device_errors():
            images = torch.from_numpy(np.stack([item.tensor for item in batch])).to(self.device)
            logits = [network.segment(images) for network in self._networks]
            soft = torch.stack([torch.sigmoid(item) for item in logits]).mean(0)
            maps = soft[:, 0].float().cpu().numpy()
            rules = rules or self.bundle.card.nodes
            found = [_components(item, map_, rules) for item, map_ in zip(batch, maps, strict=True)]
            return [
                self._scored(images[i : i + 1], [item[i : i + 1] for item in logits], batch[i], f)
                for i, f in enumerate(found)
            ]

    def self_test(self) -> None:
        """Run a blank frame through everything; raises DeviceError where that fails."""
        spec = self.bundle.card.input
        blank = np.zeros((spec.height, spec.width, 3), np.uint8)
        self.predict([prepare(blank, None, spec)])

    def _scored(
        self, image: Tensor, logits: Sequence[Tensor], item: Prepared, found: list[Component]
    ) -> list[PredictedNode]:
        """Score each component with the others masked out."""
        if not found:
            return []
        masks = [item.placement.mask_to_target(_on_crop(node, item)) for node in found]
        focus = torch.from_numpy(territories(masks)[:, np.newaxis]).to(image)
        many = image.expand(len(found), -1, -1, -1)
        scores = torch.stack(
            [
                torch.sigmoid(network.classify(many, logit, focus) / self.bundle.card.temperature)
                for network, logit in zip(self._networks, logits, strict=True)
            ]
        ).mean(0)
        return [
            PredictedNode(node.row, node.column, node.mask, float(score), node.area_px, node.peak)
            for node, score in zip(found, scores.float().cpu().tolist(), strict=True)
        ]


def _components(item: Prepared, probability: NDArray[np.float32], rules: Rules) -> list[Component]:
    """Find the nodes in the network's map of a frame."""
    x0, y0, _, _ = item.placement.source
    return components(item.placement.map_to_source(probability), (y0, x0), rules)


def _on_crop(node: Component, item: Prepared) -> NDArray[np.bool_]:
    """Put the node's mask back into its whole crop."""
    x0, y0, x1, y1 = item.placement.source
    out = np.zeros((y1 - y0, x1 - x0), np.bool_)
    row, column = node.row - y0, node.column - x0
    out[row : row + node.mask.shape[0], column : column + node.mask.shape[1]] = node.mask
    return out


def _device(name: str) -> torch.device:
    """Choose the device; one that is not there is an error, not a silent CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {name!r}: use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {name!r}: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device {name!r} is not on this machine: use auto or cpu")
    return device


@contextmanager
def _device_errors() -> Iterator[None]:
    """Translate what torch raises when the device fails."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DeviceError("the device ran out of memory", out_of_memory=True) from error
    except RuntimeError as error:
        # the CPU allocator and some CUDA libraries report memory in words only
        words = str(error).lower()
        memory = "memory" in words or "alloc" in words
        raise DeviceError(f"the device failed: {error}", out_of_memory=memory) from error
