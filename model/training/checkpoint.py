"""Checkpoints of a run: safetensors and JSON, so that reading one executes nothing.

Every file of a run is written beside its place, forced to the disk, and renamed: whoever is killed
or runs out of space in the middle leaves the file before, whole.
"""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from torch.optim import Adam

from model.errors import TrainingError
from model.training.journal import Epoch

NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a run stands; random numbers follow from it and the seed, so they are not kept."""

    epoch: int = 0  # finished epochs, over all stages
    step: int = 0  # finished steps of the epoch under way
    steps: int = 0  # that epoch has
    loss_sum: float = 0.0  # of its finished steps
    seconds: float = 0.0  # that those steps took, stops left out
    waited: float = 0.0  # of them without a batch to train on
    best_epoch: int = 0  # the epoch of the weights that are kept
    best_score: float = -1.0  # its validation score, 0..1
    history: tuple[Epoch, ...] = ()  # finished epochs; log.csv is written from it
    # fingerprints of the images and settings that the position counts in
    origin: Mapping[str, str] = field(default_factory=dict)


def save(
    folder: Path,
    network: nn.Module,
    optimiser: Adam,
    progress: Progress,
    averaged: nn.Module | None = None,
) -> None:
    """Write a checkpoint; a crash or a full disk in the middle leaves the one before.

    Raises
    ------
    TrainingError
        It cannot be written.
    """
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    if averaged is not None:
        tensors |= {f"averaged.{k}": v for k, v in averaged.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    # progress travels inside the file: two files could come from two moments
    about = {"progress": json.dumps(asdict(progress)), "crc32": str(_crc32(tensors))}
    write_whole(folder / NAME, to_safetensors(tensors, about))


def load(
    folder: Path, network: nn.Module, optimiser: Adam, averaged: nn.Module | None = None
) -> Progress:
    """Bring network, optimiser and the mean of the weights to where the run stopped.

    Raises
    ------
    TrainingError
        The checkpoint is damaged, or of another network.
    """
    path = folder / NAME
    try:
        tensors, progress = _read(path)
        network.load_state_dict(_under(tensors, "network."))
        if averaged is not None:
            averaged.load_state_dict(_under(tensors, "averaged."))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise TrainingError(
            f"{path} cannot be resumed, it is damaged or of another network:"
            " give the settings it was made with, or another --out"
        ) from error
    _restore(optimiser, _under(tensors, "optimiser."))
    return progress


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file in one step.

    Raises
    ------
    TrainingError
        There is no room, or no permission; the file is as it was.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TrainingError(
            f"{path} cannot be written ({error.strerror}): make room, then go on with --resume;"
            " the last checkpoint is whole"
        ) from error


def _read(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """Read tensors and progress; ValueError where a bit of them has changed."""
    tensors = load_file(path)
    with path.open("rb") as file:  # the metadata: a length, then JSON
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
    if header["crc32"] != str(_crc32(tensors)):
        raise ValueError("the checksum differs")
    values = json.loads(header["progress"])
    history = tuple(Epoch(**entry) for entry in values.pop("history"))
    return tensors, Progress(**values, history=history)


def _restore(optimiser: Adam, tensors: Mapping[str, Tensor]) -> None:
    """Give Adam its averages back."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # laid out in memory as an unbroken run would have it: the same kernels, the same bits
            tensor = torch.empty_like(parameter).copy_(tensor).detach()
        states.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": states})


def _crc32(tensors: Mapping[str, Tensor]) -> int:
    """Checksum of names and values; a flipped bit on a disk would train on unseen."""
    crc = 0
    for name in sorted(tensors):
        values = tensors[name].reshape(-1).view(torch.uint8).numpy()
        crc = zlib.crc32(values.data, zlib.crc32(name.encode(), crc))
    return crc


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
