"""Checkpoints of a run: safetensors and JSON, so that reading one executes nothing."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Adam

from model.errors import TrainingError


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    epoch: int  # finished epochs, over all stages
    best_epoch: int  # the epoch of the weights that are kept
    best_score: float  # its validation score


def save(folder: Path, network: nn.Module, optimiser: Adam, progress: Progress) -> None:
    """Write a checkpoint; a crash in the middle leaves the one before."""
    tensors = {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v.contiguous() for k, v in state.items()}
    part = folder / "checkpoint.part"
    # progress travels inside the file: two files could come from two epochs
    save_file(tensors, part, {"progress": json.dumps(vars(progress))})
    part.rename(folder / "checkpoint.safetensors")


def load(folder: Path, network: nn.Module, optimiser: Adam) -> Progress:
    """Bring network and optimiser to where the run stopped.

    Raises
    ------
    TrainingError
        There is no checkpoint, or it is of another network.
    """
    path = folder / "checkpoint.safetensors"
    try:
        tensors = load_file(path)
        progress = _progress(path)
        network.load_state_dict(_under(tensors, "network."))
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"{path} cannot be resumed: start without --resume") from error
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "optimiser.").items():
        index, _, key = name.partition(".")
        states.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": states})
    return progress


def _progress(path: Path) -> Progress:
    """Read the metadata of a safetensors file: a length, then JSON."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return Progress(**json.loads(header["__metadata__"]["progress"]))


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
