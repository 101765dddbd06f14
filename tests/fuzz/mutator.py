"""Random damage to inputs, the same for the same seed: libFuzzer's changes without its guidance."""

import random
from collections.abc import Callable, Iterator, Sequence

_LONGEST = 65_536
_TELLING = (
    *(bytes((n,)) for n in (0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF)),
    *(n.to_bytes(2, "little") for n in (0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)),
    *(n.to_bytes(4, "little") for n in (0, 1, 12, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)),
    *(n.to_bytes(4, "big") for n in (1, 12, 0x7FFFFFFF)),
    b"SQ\0\0",
    b"UN\0\0",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0",
    b"\xe0\x7f\x10\x00",
)
_Change = Callable[[bytearray, Sequence[bytes], random.Random], None]


def mutations(inputs: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` inputs, each one of `inputs` with one to eight changes."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(rng.choice(inputs))
        for _ in range(rng.choice((1, 1, 2, 4, 8))):
            rng.choice(_CHANGES)(data, inputs, rng)
        yield bytes(data[:_LONGEST])


def _place(data: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def _flip(data: bytearray, inputs: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, inputs: Sequence[bytes], rng: random.Random) -> None:
    value, place = rng.choice(_TELLING), _place(data, rng)
    data[place : place + len(value)] = value


def _insert(data: bytearray, inputs: Sequence[bytes], rng: random.Random) -> None:
    place = _place(data, rng)
    data[place:place] = rng.choice(_TELLING)


def _delete(data: bytearray, inputs: Sequence[bytes], rng: random.Random) -> None:
    place = _place(data, rng)
    del data[place : place + rng.choice((1, 2, 4, 8, 64))]


def _repeat(data: bytearray, inputs: Sequence[bytes], rng: random.Random) -> None:
    place = _place(data, rng)
    piece = data[place : place + rng.choice((2, 8, 12, 64))]
    data[place:place] = piece * rng.choice((1, 2, 16))


def _splice(data: bytearray, inputs: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(inputs)
    data[_place(data, rng) :] = other[rng.randrange(len(other) + 1) :]


def _cut(data: bytearray, inputs: Sequence[bytes], rng: random.Random) -> None:
    del data[_place(data, rng) :]


_CHANGES: tuple[_Change, ...] = (
    _flip,
    _replace,
    _replace,
    _insert,
    _delete,
    _repeat,
    _splice,
    _cut,
)
