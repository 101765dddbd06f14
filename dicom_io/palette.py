"""Palette colour lookup tables (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9).

Written here because the tables of a big endian file are big endian too, and because a few bytes
of segments can ask for gigabytes: the expansion stops at the size the descriptor states.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from .errors import FrameError
from .findings import Reason
from .header import DAMAGE, quiet

_COLOURS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


@dataclass(frozen=True)
class _Descriptor:
    entries: int  # 1..65536
    first: int  # pixel value that maps to the first entry
    bits: int  # 8 or 16 per entry


def palette(ds: Dataset, bits_stored: int, little_endian: bool) -> NDArray[np.uint8]:
    """Return the colour of every pixel value.

    Returns
    -------
    NDArray[np.uint8]
        (2 ** bits_stored, 3) RGB. Values below the first mapped one take the first entry, values
        above the last take the last.
    """
    with quiet():
        try:
            tables = [_table(ds, colour, little_endian) for colour in _COLOURS]
        except DAMAGE as error:
            raise FrameError(Reason.UNDECODABLE, "The colour palette is damaged.") from error
    values = np.arange(2**bits_stored)
    columns = [
        entries[np.clip(values - descriptor.first, 0, len(entries) - 1)]
        for descriptor, entries in tables
    ]
    colours = np.stack(columns, axis=1)
    # Descriptors say 16 bits over tables whose entries never leave the low byte.
    if colours.max(initial=0) > 255:
        colours = colours >> 8
    return colours.astype(np.uint8)


def _table(ds: Dataset, colour: str, little_endian: bool) -> tuple[_Descriptor, NDArray[np.uint16]]:
    entries, first, bits = (int(v) for v in ds[f"{colour}PaletteColorLookupTableDescriptor"].value)
    descriptor = _Descriptor(entries or 65536, first, bits)
    plain = ds.get(f"{colour}PaletteColorLookupTableData")
    if plain:
        return descriptor, _plain(bytes(plain), descriptor, little_endian)
    data = bytes(ds[f"Segmented{colour}PaletteColorLookupTableData"].value)
    return descriptor, _expand(_words(data, bits, little_endian), descriptor.entries, bits)


def _words(data: bytes, bits: int, little_endian: bool) -> NDArray[np.uint16]:
    order = "<" if little_endian else ">"
    words = np.frombuffer(data[: len(data) // 2 * 2], dtype=order + "u2").astype(np.uint16)
    if bits == 16:
        return words
    # 8-bit entries are packed two to a word, the first in the low byte.
    return np.stack([words & 255, words >> 8], axis=1).astype(np.uint16).reshape(-1)


def _plain(data: bytes, descriptor: _Descriptor, little_endian: bool) -> NDArray[np.uint16]:
    # The length tells the entry's size better than the descriptor does.
    wide = len(data) >= 2 * descriptor.entries
    found = _words(data + b"\0", 16 if wide else 8, little_endian)[: descriptor.entries]
    if len(data) < descriptor.entries:
        raise FrameError(Reason.UNDECODABLE, "The colour palette is shorter than it says.")
    return found


def _expand(words: NDArray[np.uint16], entries: int, bits: int) -> NDArray[np.uint16]:
    source = words.tolist()
    out: list[int] = []
    _segments(source, 0, len(source), out, entries, bits)
    if len(out) < entries:
        raise FrameError(Reason.UNDECODABLE, "The segmented colour palette is too short.")
    return np.array(out[:entries], dtype=np.uint16)


def _segments(
    source: list[int],
    position: int,
    count: int,
    out: list[int],
    entries: int,
    bits: int,
    *,
    indirect: bool = True,
) -> None:
    """Append `count` segments from `position` on, until `entries` are there (PS3.3 C.7.9.2)."""
    while count > 0 and len(out) < entries and position + 2 <= len(source):
        opcode, length = source[position], source[position + 1]
        position += 2
        if opcode == _INDIRECT and indirect:
            start, width = _indirect(source, position, bits)
            _segments(source, start, length, out, entries, bits, indirect=False)
            position += width
        else:  # an unknown opcode, or an indirect segment reached by another, is a KeyError
            position += _ACTIONS[opcode](source, position, length, out)
        count -= 1


def _discrete(source: list[int], position: int, length: int, out: list[int]) -> int:
    out.extend(source[position : position + length])
    return length


def _linear(source: list[int], position: int, length: int, out: list[int]) -> int:
    start, end = out[-1], source[position]
    out.extend(np.rint(np.linspace(start, end, length + 1)[1:]).astype(int).tolist())
    return 1


def _indirect(source: list[int], position: int, bits: int) -> tuple[int, int]:
    # A 32-bit byte offset, its low word first; in 8-bit tables it takes four entries.
    if bits == 16:
        return (source[position] | source[position + 1] << 16) // 2, 2
    low, *rest = source[position : position + 4]
    return low | rest[0] << 8 | rest[1] << 16 | rest[2] << 24, 4


_ACTIONS: dict[int, Callable[[list[int], int, int, list[int]], int]] = {
    _DISCRETE: _discrete,
    _LINEAR: _linear,
}
