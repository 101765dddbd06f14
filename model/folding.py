"""Fewer and larger operations: what an inference can be spared of what training needs.

Batch normalisation goes into the weights of the convolution before it, as do an addition and an
activation after it; taps of a dilated kernel that see nothing but padding are cut off. The results
are the same up to rounding.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from model.tape import Named, Step, Tape, Value, values_in

_aten = torch.ops.aten
_NORMS = (
    _aten.native_batch_norm.default,
    _aten._native_batch_norm_legit_no_training.default,
    _aten.cudnn_batch_norm.default,
)
# by oneDNN's names; the bounds of a hardtanh are its arguments
_ACTIVATIONS = {
    _aten.relu.default: "relu",
    _aten.hardtanh.default: "hardtanh",
    _aten.silu.default: "swish",
}


@dataclass(frozen=True)
class Convolution:
    """activation(convolution(source) + bias + added)."""

    source: Value
    weight: Tensor  # (out, in / groups, kernel rows, kernel columns)
    bias: Tensor | None  # (out,)
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    result: Value
    added: Value | None = None
    activation: str = "none"
    bounds: tuple[float, ...] = ()  # of a hardtanh

    @property
    def sources(self) -> list[Value]:
        """The values that it reads."""
        return [self.source] if self.added is None else [self.source, self.added]

    @property
    def results(self) -> tuple[Value, ...]:
        """The value that it makes."""
        return (self.result,)

    @property
    def scales(self) -> bool:
        """Whether it does no more than scale each channel."""
        return (
            self.groups == self.weight.shape[0]
            and self.weight.shape[1:].numel() == 1
            and (self.stride, self.padding) == ((1, 1), (0, 0))
            and self.bias is None
            and self.added is None
            and self.activation == "none"
        )


@dataclass(frozen=True)
class Call:
    """Any other operation, as it was written down, its weights at hand."""

    step: Step
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def sources(self) -> list[Value]:
        """The values that it reads."""
        return values_in([*self.step.arguments, *self.step.keywords.values()])

    @property
    def results(self) -> tuple[Value, ...]:
        """The values that it makes."""
        return self.step.results


Operation = Convolution | Call


def fold(tape: Tape, weights: Mapping[str, Tensor]) -> list[Operation]:
    """Return the operations of a tape, folded, with the weights of these names."""
    folding = _Folding(tape, weights)
    for step in tape.steps:
        folding.take(step)
    return folding.operations


class _Folding:
    """Takes one step after the other and changes the convolution that it can go into."""

    def __init__(self, tape: Tape, weights: Mapping[str, Tensor]) -> None:
        self._operations: dict[int, Operation] = {}  # by their place, in order
        self._tape = tape
        self._weights = weights
        self._uses = Counter(
            value
            for step in tape.steps
            for value in values_in([*step.arguments, *step.keywords.values()])
        )
        self._uses[tape.output] += 1
        self._places: dict[Value, int] = {}  # of the operation that makes a value

    @property
    def operations(self) -> list[Operation]:
        """The operations in order."""
        return list(self._operations.values())

    def take(self, step: Step) -> None:
        """Add a step, or put it into the convolution before it."""
        if step.operation is _aten.convolution.default and not step.arguments[6]:
            self._convolution(step)
        elif step.operation in _NORMS:
            self._norm(step)
        elif step.operation in _ACTIVATIONS:
            self._activation(step)
        elif step.operation is _aten.add.Tensor:
            self._addition(step)
        else:
            self._call(step)

    def _call(self, step: Step) -> None:
        names = [a.name for a in step.arguments if isinstance(a, Named)]
        self._append(Call(step, {name: self._weights[name] for name in names}))

    def _append(self, operation: Operation) -> None:
        place = next(reversed(self._operations), -1) + 1
        self._operations[place] = operation
        self._places.update(dict.fromkeys(operation.results, place))

    def _only(self, value: Any) -> Convolution | None:
        """Return the convolution that makes a value, if nothing but the next step reads it."""
        place = self._places.get(value) if isinstance(value, Value) else None
        if place is None or self._uses[value] != 1:
            return None
        made = self._operations[place]
        return made if isinstance(made, Convolution) and made.activation == "none" else None

    def _change(self, before: Convolution, **changes: Any) -> None:
        place = self._places.pop(before.result)
        changed = replace(before, **changes)
        self._operations[place] = changed
        self._places[changed.result] = place

    def _convolution(self, step: Step) -> None:
        source, weight, bias, stride, padding, dilation = step.arguments[:6]
        made = Convolution(
            source,
            self._weights[weight.name],
            None if bias is None else self._weights[bias.name],
            _pair(stride),
            _pair(padding),
            _pair(dilation),
            step.arguments[8],
            step.results[0],
        )
        made = _trimmed(made, self._tape.shapes[source][2:], self._tape.shapes[made.result][2:])
        before = self._only(source)
        if before and before.scales and made.groups == 1 and made.weight.shape[2:].numel() == 1:
            # a scaled channel is a scaled column of the weights
            del self._operations[self._places.pop(before.result)]
            scaled = made.weight * before.weight.view(1, -1, 1, 1)
            made = replace(made, source=before.source, weight=scaled)
        self._append(made)

    def _norm(self, step: Step) -> None:
        before = self._only(step.arguments[0])
        named = step.arguments[1:5]
        epsilon = step.arguments[-1]
        if before is None or before.added or not all(isinstance(each, Named) for each in named):
            self._call(step)
            return
        gain, shift, mean, variance = (self._weights[each.name].double() for each in named)
        gain = gain / (variance + epsilon).sqrt()
        bias = before.bias.double() if before.bias is not None else torch.zeros_like(mean)
        self._change(
            before,
            weight=before.weight * gain.float().view(-1, 1, 1, 1),
            bias=((bias - mean) * gain + shift).float(),
            result=step.results[0],
        )

    def _activation(self, step: Step) -> None:
        before = self._only(step.arguments[0])
        name = _ACTIVATIONS[step.operation]
        if before is None or (before.added and name != "relu"):  # oneDNN knows no other there
            self._call(step)
            return
        bounds = tuple(float(bound) for bound in step.arguments[1:])
        self._change(before, activation=name, bounds=bounds, result=step.results[0])

    def _addition(self, step: Step) -> None:
        pairs = (step.arguments, step.arguments[::-1]) if not step.keywords else ()
        for made, other in pairs:
            before = self._only(made)
            if before and not before.added and self._is_earlier(other, before):
                self._change(before, added=other, result=step.results[0])
                return
        self._call(step)

    def _is_earlier(self, value: Any, than: Convolution) -> bool:
        """Tell whether a value of the same shape is there before a convolution runs."""
        shapes = self._tape.shapes
        return (
            isinstance(value, Value)
            and shapes[value] == shapes[than.result]
            and self._places.get(value, -1) < self._places[than.result]
        )


def _pair(values: Sequence[int]) -> tuple[int, int]:
    rows, columns = values
    return rows, columns


def _trimmed(made: Convolution, size: Sequence[int], out: Sequence[int]) -> Convolution:
    """Cut off the kernel's taps that never touch the image.

    With a dilation beyond the image's size, as in an atrous pyramid over a small map, that leaves
    one tap of nine.
    """
    weight, padding = made.weight, list(made.padding)
    for axis in (0, 1):
        taps, dilation = weight.shape[2 + axis], made.dilation[axis]
        offsets = [tap * dilation - padding[axis] for tap in range(taps)]
        last = (out[axis] - 1) * made.stride[axis]  # where the kernel stands at its last output
        seen = [n for n, at in enumerate(offsets) if at < size[axis] and at + last >= 0]
        # as many at either end: padding is the same on both sides
        cut = min(seen[0], taps - 1 - seen[-1], padding[axis] // dilation)
        padding[axis] -= cut * dilation
        weight = weight.narrow(2 + axis, cut, taps - 2 * cut)
    return replace(made, weight=weight.contiguous(), padding=_pair(padding))
