"""What differs between a CPU and a GPU: how operations are packed and repeated, and copies."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.errors import DeviceError
from model.folding import Call, Operation
from model.packed import Packed, call, one_dnn, plain

Forward = Callable[..., Tensor]


class Device(Protocol):
    """Where networks run."""

    place: torch.device
    most: int  # frames, or nodes, that go through a network together; it bounds the memory
    together: int  # frames that take the least time each

    def pack(self, made: Operation, size: Sequence[int], *, overwrites: bool) -> Packed:
        """Make an operation ready; see `model.packed.one_dnn` for the arguments."""

    def repeat(self, forward: Forward) -> Forward:
        """Return a forward pass, over images first, that is made for being run often."""

    def put(self, array: NDArray[np.float32]) -> Tensor:
        """Bring an array here."""


class Cpu:
    """oneDNN in single precision, where torch has it."""

    place = torch.device("cpu")
    most = 8  # sixteen no longer fit its caches, and each takes longer
    together = 4
    _one_dnn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]

    def pack(self, made: Operation, size: Sequence[int], *, overwrites: bool) -> Packed:
        """Put the weights into oneDNN's blocks, once for all images."""
        if isinstance(made, Call):
            return call(made, self.place)
        if not self._one_dnn:
            return plain(made, self.place, torch.float32)
        return one_dnn(made, size, overwrites=overwrites)

    def repeat(self, forward: Forward) -> Forward:
        """Return it as it is: the work outweighs the asking for it."""
        return forward

    def put(self, array: NDArray[np.float32]) -> Tensor:
        """Return a tensor on the array's own memory."""
        return torch.from_numpy(array)


class Cuda:
    """torch's own kernels, channels last, each forward pass one CUDA graph.

    A graph has a fixed shape: there is one for each power of two of images, and those that are not
    there are left as they were; images do not touch each other.

    Parameters
    ----------
    precision
        Of the convolutions. bfloat16 moves probabilities by more than `model.ready.TOLERANCE` and
        the outlines with them (decision 11): it is for measuring, not for the node.
    """

    most = 64
    together = 16  # not measured: no GPU was at hand

    def __init__(self, place: torch.device, precision: torch.dtype = torch.float32) -> None:
        self.place = place
        self._precision = precision
        self._pool: Any = None

    def pack(self, made: Operation, size: Sequence[int], *, overwrites: bool) -> Packed:
        """Bring the weights over."""
        if isinstance(made, Call):
            return call(made, self.place)
        return plain(made, self.place, self._precision)

    def repeat(self, forward: Forward) -> Forward:
        """Return the forward pass as graphs, captured when a number of images first comes."""
        graphs: dict[int, tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]] = {}

        def run(*inputs: Tensor) -> Tensor:
            count = inputs[0].shape[0]
            size = 1 << (count - 1).bit_length()
            if size not in graphs:
                graphs[size] = self._capture(forward, size, inputs)
            graph, held, output = graphs[size]
            for kept, given in zip(held, inputs, strict=True):
                kept[:count].copy_(given)
            graph.replay()
            return output[:count].clone()  # the next replay writes over it

        return run

    def _capture(
        self, forward: Forward, size: int, inputs: Sequence[Tensor]
    ) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]:
        held = [torch.zeros((size, *each.shape[1:]), device=self.place) for each in inputs]
        # a graph keeps the kernels that were chosen here: none in TF32, which is rounder
        with torch.cuda.device(self.place), torch.backends.cudnn.flags(allow_tf32=False):
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            current = torch.cuda.current_stream()
            aside.wait_stream(current)
            with torch.cuda.stream(aside):  # libraries set themselves up outside of the capture
                for _ in range(3):
                    forward(*held)
            current.wait_stream(aside)
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                output = forward(*held)
        return graph, held, output

    def put(self, array: NDArray[np.float32]) -> Tensor:
        """Copy through pinned memory, beside what the device is at."""
        return torch.from_numpy(array).pin_memory().to(self.place, non_blocking=True)


def choose(name: str) -> Device:
    """Choose the device; one that is not there is an error, not a silent CPU.

    Raises
    ------
    DeviceError
        It is not there, or is no CPU and no GPU of CUDA.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {name!r}: use auto, cpu, cuda or cuda:N") from error
    if place.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {name!r}: use auto, cpu, cuda or cuda:N")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device {name!r} is not on this machine: use auto or cpu")
    return Cpu() if place.type == "cpu" else Cuda(place)
