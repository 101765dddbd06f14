"""Operations made ready to run: their weights where and how the kernel wants them.

A packed operation takes the values of `sources` and returns those of `results`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from model.folding import Call, Convolution
from model.tape import Named, Value

Packed = Callable[..., Sequence[Tensor]]


def one_dnn(made: Convolution, size: Sequence[int], *, overwrites: bool) -> Packed:
    """Pack a convolution for oneDNN on the CPU, in single precision.

    These are the operations that torch's own compiler calls; they need no compiler themselves.

    Parameters
    ----------
    size
        Shape of an input, (N, C, H, W), by which oneDNN chooses its blocks.
    overwrites
        Nothing reads `added` afterwards: the result may take its place.
    """
    library = torch.ops.mkldnn
    place = [list(made.padding), list(made.stride), list(made.dilation), made.groups]
    plain = made.weight.contiguous()
    # oneDNN lays some weights out otherwise for one image than for many, and would do it anew at
    # every call: for ResNet-101 on two threads that took longer than the convolutions
    one, many = (
        library._reorder_convolution_weight(plain, *place, [count, *size[1:]]) for count in (1, 2)
    )
    name, bias = made.activation, made.bias

    def alone(image: Tensor) -> list[Tensor]:
        weight = one if len(image) == 1 else many
        return [
            library._convolution_pointwise(image, weight, bias, *place, name, [*made.bounds], "")
        ]

    activation = None if name == "none" else name
    rest = (bias, *place, "add", 1.0, activation, [], None)

    def added(image: Tensor, other: Tensor) -> list[Tensor]:
        weight = one if len(image) == 1 else many
        if overwrites:
            return [library._convolution_pointwise_.binary(other, image, weight, *rest)]
        return [library._convolution_pointwise.binary(image, other, weight, *rest)]

    return alone if made.added is None else added


def plain(made: Convolution, place: torch.device, precision: torch.dtype) -> Packed:
    """Pack a convolution for torch's own kernels, channels last."""
    weight = made.weight.to(place, precision).contiguous(memory_format=torch.channels_last)
    bias = None if made.bias is None else made.bias.to(place, precision)
    shape = (made.stride, made.padding, made.dilation, made.groups)

    def run(image: Tensor, other: Tensor | None = None) -> list[Tensor]:
        result = functional.conv2d(image.to(precision), weight, bias, *shape)
        if other is not None:
            result += other
        return [_activated(made, result)]

    return run


def _activated(made: Convolution, result: Tensor) -> Tensor:
    if made.activation == "relu":
        return result.relu_()
    if made.activation == "hardtanh":
        return functional.hardtanh_(result, *made.bounds)
    return functional.silu(result, inplace=True) if made.activation == "swish" else result


def call(made: Call, place: torch.device) -> Packed:
    """Pack any other operation; one that has weights runs in single precision."""
    step = made.step
    weights = {name: tensor.to(place) for name, tensor in made.weights.items()}

    def run(*values: Tensor) -> Sequence[Tensor]:
        given = iter([value.float() for value in values] if weights else values)
        arguments = _filled([*step.arguments], given, weights)
        keywords = dict(
            zip(step.keywords, _filled([*step.keywords.values()], given, weights), strict=True)
        )
        answer = step.operation(*arguments, **keywords)
        return [answer] if isinstance(answer, Tensor) else answer

    return run


def _filled(
    arguments: list[Any], values: Iterator[Tensor], weights: dict[str, Tensor]
) -> list[Any]:
    """Put tensors into the places that `model.tape.values_in` counts, in its order."""
    filled: list[Any] = []
    for each in arguments:
        if isinstance(each, Value):
            filled.append(next(values))
        elif isinstance(each, Named):
            filled.append(weights[each.name])
        else:
            nested = isinstance(each, list)
            filled.append(_filled(each, values, weights) if nested else each)
    return filled
