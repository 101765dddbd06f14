"""A forward pass made for inference: written down, folded, its weights packed for the device."""

from collections.abc import Mapping

import torch
from torch import Tensor

from model.device import Device
from model.folding import Convolution, Operation, fold
from model.tape import Tape, Value


class Program:
    """Runs a tape; images (N, C, H, W) of the tape's size in, any number of them at once."""

    def __init__(self, tape: Tape, weights: Mapping[str, Tensor], device: Device) -> None:
        self._output = tape.output
        operations = fold(tape, weights)
        last = _last_reads(operations)
        fresh = {made.result for made in operations if isinstance(made, Convolution)}
        self._steps = []
        for place, made in enumerate(operations):
            dead = {v for v in made.sources if last[v] == place and v != tape.output}
            size = tape.shapes[made.sources[0]] if made.sources else ()
            added = made.added if isinstance(made, Convolution) else None
            # a result of another kind may be a view of something that is still read
            overwrites = added in dead & fresh and added != made.sources[0]
            packed = device.pack(made, size, overwrites=overwrites)
            self._steps.append((packed, made.sources, made.results, dead))

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the output, in single precision."""
        values = {
            Value(number): each.contiguous(memory_format=torch.channels_last)
            for number, each in enumerate(inputs)
        }
        for packed, sources, results, dead in self._steps:
            answers = packed(*(values[source] for source in sources))
            for value in dead:  # its memory is there for the next
                values.pop(value, None)
            values.update(zip(results, answers, strict=False))
        return values[self._output].float()


def _last_reads(operations: list[Operation]) -> dict[Value, int]:
    return {value: place for place, made in enumerate(operations) for value in made.sources}
