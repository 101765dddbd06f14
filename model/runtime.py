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
from model.device import Device, choose
from model.errors import BundleError, DeviceError
from model.nodes import Component, PredictedNode, Rules, components, territories
from model.preprocess import Prepared, prepare
from model.ready import Network, load, ready

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
        chosen = choose(device)
        self.device = chosen.place
        self._put = chosen.put
        self._most = chosen.most
        self.together = chosen.together
        with device_errors():
            self.networks = [self._load(entry, chosen) for entry in bundle.weights]

    def _load(self, entry: Weights, device: Device) -> Network:
        """Build one network and fill it with a weights file."""
        card = self.bundle.card
        try:
            weights = load_safetensors(self.bundle.read_weights(entry))
            loaded = load(card.architecture, weights, (card.input.height, card.input.width))
        except (KeyError, RuntimeError, SafetensorError) as error:
            raise BundleError(
                f"{self.bundle.path / entry.file} does not fit {self.bundle.architecture}:"
                " the bundle is inconsistent, take another"
            ) from error
        return ready(loaded, device)

    def predict(
        self, batch: Sequence[Prepared], rules: Rules | None = None
    ) -> list[list[PredictedNode]]:
        """Segment and score prepared frames: any number, of any images and studies.

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
        rules = rules or self.bundle.card.nodes
        found: list[list[PredictedNode]] = []
        with torch.inference_mode(), device_errors():
            for start in range(0, len(batch), self._most):
                found += self._predict(batch[start : start + self._most], rules)
        return found

    def _predict(self, batch: Sequence[Prepared], rules: Rules) -> list[list[PredictedNode]]:
        """Predict no more frames than the device takes at once."""
        images = self._put(np.stack([item.tensor for item in batch]))
        logits = [network.segment(images) for network in self.networks]
        soft = torch.stack([torch.sigmoid(item) for item in logits]).mean(0)
        maps = soft[:, 0].cpu().numpy()
        found = [_components(item, map_, rules) for item, map_ in zip(batch, maps, strict=True)]
        scores = iter(self._scores(images, logits, batch, found))
        return [
            [
                PredictedNode(node.row, node.column, node.mask, score, node.area_px, node.peak)
                for node, score in zip(nodes, scores, strict=False)
            ]
            for nodes in found
        ]

    def self_test(self) -> None:
        """Run a blank frame through everything; raises DeviceError where that fails."""
        spec = self.bundle.card.input
        blank = np.zeros((spec.height, spec.width, 3), np.uint8)
        self.predict([prepare(blank, None, spec)])

    def _scores(
        self,
        images: Tensor,
        logits: Sequence[Tensor],
        batch: Sequence[Prepared],
        found: Sequence[Sequence[Component]],
    ) -> list[float]:
        """Score each component of each frame with the frame's others masked out."""
        frames = [number for number, nodes in enumerate(found) for _ in nodes]
        focus = [
            territories([item.placement.mask_to_target(_on_crop(node, item)) for node in nodes])
            for item, nodes in zip(batch, found, strict=True)
            if nodes
        ]
        scores: list[float] = []
        for start in range(0, len(frames), self._most):
            part = slice(start, start + self._most)
            own = self._put(np.concatenate(focus)[part, np.newaxis].astype(np.float32))
            of = torch.tensor(frames[part], device=self.device)
            answers = [
                torch.sigmoid(
                    network.classify(images[of], logit[of], own) / self.bundle.card.temperature
                )
                for network, logit in zip(self.networks, logits, strict=True)
            ]
            scores += torch.stack(answers).mean(0).tolist()
        return scores


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


@contextmanager
def device_errors() -> Iterator[None]:
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
