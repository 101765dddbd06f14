"""The mean of networks that were trained on from the same weights.

    python -m model.training.mean --out FILE WEIGHTS WEIGHTS [...]

It often does better than each of them, at the cost of one (Wortsman 2022, arXiv 2203.05482); of
networks that began apart it is of no use. The masks' part is averaged; what reads them is the last
one's, and wants a stage that trains the class alone on the new masks. The file is one for
`initial_file`.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor

from model.errors import TrainingError
from model.training.checkpoint import write_whole
from model.training.initial import SEGMENTER


def mean(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Return the tensors of the mean of some weights files.

    Raises
    ------
    TrainingError
        A file cannot be read, or they are of different networks.
    """
    networks = [_read(path) for path in paths]
    for path, other in zip(paths, networks, strict=True):
        if _shapes(other) != _shapes(networks[-1]):
            raise TrainingError(f"{path} and {paths[-1]} segment by different networks")
    last = networks[-1]
    return {
        name: _mean([network[name] for network in networks])
        if name.startswith(SEGMENTER)
        else tensor
        for name, tensor in last.items()
    }


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """Average; counters of batch normalisation are the last one's."""
    if not tensors[-1].is_floating_point():
        return tensors[-1]
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[-1].dtype)


def _shapes(network: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.items() if name.startswith(SEGMENTER)}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path} cannot be read as safetensors: {error}") from error
    return tensors


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the mean of what the command line names, and say its SHA-256."""
    parser = argparse.ArgumentParser(prog="python -m model.training.mean", description=__doc__)
    parser.add_argument("weights", type=Path, nargs="+", metavar="WEIGHTS")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    args = parser.parse_args(arguments)
    try:
        data = to_safetensors(mean(args.weights))
        write_whole(args.out, data)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 2
    print(hashlib.sha256(data).hexdigest())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
