"""A network's forward pass written down as a list of operations on numbered values.

Written on the meta device, where tensors have shapes and no content: nothing is computed. Weights
stand in it by their names in the state dict.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode


class UnwritableError(Exception):
    """The forward pass cannot be written down; it runs as it is, only slower."""


@dataclass(frozen=True)
class Value:
    """An input or an operation's result, by its number."""

    number: int


@dataclass(frozen=True)
class Named:
    """A weight, by its name in the state dict."""

    name: str


@dataclass(frozen=True)
class Step:
    """One operation; a tensor among its arguments is a `Value` or a `Named`."""

    operation: OpOverload
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    results: tuple[Value, ...]


@dataclass(frozen=True)
class Tape:
    """Inputs are the values 0 to `inputs` - 1; `output` is the value that is returned."""

    inputs: int
    steps: tuple[Step, ...]
    output: Value
    shapes: Mapping[Value, tuple[int, ...]]


def write_down(
    network: nn.Module, function: Callable[..., Tensor], shapes: Sequence[tuple[int, ...]]
) -> Tape:
    """Write down what `function` of a network on the meta device does to inputs of these shapes.

    Raises
    ------
    UnwritableError
        It makes tensors of its own, or depends on values.
    """
    names = {id(t): n for n, t in [*network.named_parameters(), *network.named_buffers()]}
    examples = [torch.empty(shape, device="meta") for shape in shapes]
    recorder = _Recorder(names, examples)
    try:
        with torch.no_grad(), recorder:
            output = function(*examples)
    except (NotImplementedError, RuntimeError) as error:  # a value was asked for
        raise UnwritableError(str(error)) from error
    steps = tuple(_needed(recorder.steps, recorder.value(output)))
    return Tape(len(examples), steps, recorder.value(output), recorder.shapes)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's, untyped
    """Sees every operation below autograd."""

    def __init__(self, names: Mapping[int, str], inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []
        self.shapes: dict[Value, tuple[int, ...]] = {}
        self._names = names
        self._values: dict[int, Value] = {}
        self._kept: list[Tensor] = []  # alive, so that no two share an id
        for tensor in inputs:
            self._number(tensor)

    def __torch_dispatch__(
        self,
        operation: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        arguments = tuple(self._noted(each) for each in args)
        keywords = {key: self._noted(each) for key, each in (kwargs or {}).items()}
        answer = operation(*args, **(kwargs or {}))
        results = answer if isinstance(answer, tuple | list) else (answer,)
        # what is changed in place gets a new number: the old value is not asked for again
        numbers = tuple(self._number(tensor) for tensor in results)
        self.steps.append(Step(_pure(operation), arguments, keywords, numbers))
        return answer

    def value(self, tensor: Tensor) -> Value:
        """Return the number of an input or a result."""
        return self._values[id(tensor)]

    def _number(self, tensor: Tensor) -> Value:
        value = Value(len(self.shapes))
        self._values[id(tensor)], self.shapes[value] = value, tuple(tensor.shape)
        self._kept.append(tensor)
        return value

    def _noted(self, argument: Any) -> Any:
        if isinstance(argument, list | tuple):
            return [self._noted(each) for each in argument]
        if not isinstance(argument, Tensor):
            return argument
        if id(argument) in self._values:
            return self._values[id(argument)]
        if id(argument) in self._names:
            return Named(self._names[id(argument)])
        raise UnwritableError("a tensor that is neither an input nor a weight")


def _pure(operation: OpOverload) -> OpOverload:
    """Return the operation that leaves its arguments alone."""
    name = operation._schema.name.removeprefix("aten::")
    if not name.endswith("_") or name.endswith("__"):
        return operation
    pure: OpOverload = getattr(getattr(torch.ops.aten, name[:-1]), operation._overloadname)
    return pure


def _needed(steps: Sequence[Step], output: Value) -> list[Step]:
    """Leave out what nothing depends on."""
    wanted, kept = {output}, []
    for step in reversed(steps):
        if wanted.isdisjoint(step.results):
            continue
        if "device" in step.keywords:
            raise UnwritableError(f"{step.operation} makes a tensor of its own")
        wanted.update(values_in([*step.arguments, *step.keywords.values()]))
        kept.append(step)
    return kept[::-1]


def values_in(arguments: Sequence[Any]) -> list[Value]:
    """Return the values among arguments, and in lists of them."""
    found: list[Value] = []
    for each in arguments:
        if isinstance(each, Value):
            found.append(each)
        elif isinstance(each, list):
            found += values_in(each)
    return found
