"""What peers that misbehave send: bytes, and ways of sending them.

`tests.bad_inputs` lists who sends what.
"""

import select
import time
import zlib
from collections.abc import Callable, Iterable, Iterator

from tests import builders_wire as wire
from tests.fakes_wire import RawPeer
from tests.peers import chunks

CALLING = "BAD1"  # a peer that may call, and misbehaves
DEFLATED = "1.2.840.10008.1.2.1.99"
CT = "1.2.840.10008.5.1.4.1.1.2"
DICOMDIR = "1.2.840.10008.1.3.10"  # Media Storage Directory
RLE = "1.2.840.10008.1.2.5"
UID = "1.2.7.1"
TRICKLED_S = 90.0  # longer than any limit here
BOMB_BYTES = 256 << 20  # that a few hundred kilobytes unfold to

Act = Callable[[RawPeer], None]


class TookAll(Exception):
    """A peer took everything that a sender without end had."""


def say(*pieces: bytes) -> Act:
    """Send these bytes."""
    return lambda peer: peer.send(b"".join(pieces))


def trickle(pieces: Callable[[], Iterable[bytes]], pause_s: float) -> Act:
    """Send piece after piece until something comes back, or nothing has for `TRICKLED_S`."""

    def act(peer: RawPeer) -> None:
        deadline = time.monotonic() + TRICKLED_S
        for piece in pieces():
            peer.send(piece)
            if select.select([peer.sock], [], [], pause_s)[0]:
                return
            if time.monotonic() > deadline:
                raise TookAll

    return act


def request(
    *syntaxes: str, sop_class: str = wire.US_IMAGE, calling: str = CALLING, called: str = "AXNODE"
) -> bytes:
    """Ask for one storage context, number 1."""
    context = wire.context(1, sop_class, syntaxes or (wire.EXPLICIT,))
    return wire.associate_rq([context], calling=calling, called=called)


def command(instance: str = UID, sop_class: str = wire.US_IMAGE) -> bytes:
    """Return a C-STORE-RQ."""
    return wire.command(0x0001, sop_class=sop_class, instance=instance, has_data_set=True)


def store(data: bytes, instance: str = UID, sop_class: str = wire.US_IMAGE) -> Act:
    """Send a C-STORE, in PDUs that everybody takes."""
    pieces = list(chunks(data, 16_000)) or [b""]
    values = [wire.p_data((1, 3, command(instance, sop_class)))]
    for number, piece in enumerate(pieces, 1):
        values.append(wire.p_data((1, 2 if number == len(pieces) else 0, piece)))
    return say(*values)


def image(**changes: object) -> bytes:
    """Return a small ultrasound image of the instance that the command names."""
    return wire.dataset(**{"instance": UID, "study": "1.2.7", **changes})  # type: ignore[arg-type]


def header(**changes: int | str) -> bytes:
    """Return a data set whose image attributes lie, in front of one fragment of pixel data."""
    values: dict[str, int | str] = {
        "samples": 1,
        "rows": 4,
        "columns": 4,
        "allocated": 8,
        "frames": "1",
        **changes,
    }
    text = str(values["frames"]).encode()
    return b"".join(
        (
            image(pixels=None).split(wire.short(0x00280002, 1))[0],
            wire.short(0x00280002, int(values["samples"])),
            wire.element(0x00280004, b"CS", b"MONOCHROME2 "),
            wire.element(0x00280008, b"IS", text + b" " * (len(text) % 2)),
            wire.short(0x00280010, int(values["rows"])),
            wire.short(0x00280011, int(values["columns"])),
            wire.short(0x00280100, int(values["allocated"])),
            wire.short(0x00280101, int(values["allocated"])),
            wire.short(0x00280102, int(values["allocated"]) - 1),
            wire.short(0x00280103, 0),
        )
    )


def encapsulated(*fragments: bytes) -> bytes:
    """Return the pixel data element of these fragments (PS3.5 A.4)."""
    parts = [wire.item(b""), *map(wire.item, fragments), wire.delimiter(0xE0DD)]
    return wire.element(0x7FE00010, b"OB", b"".join(parts), length=wire.UNDEFINED)


# Headers that say nonsense of the sixteen bytes behind them
ABSURD: dict[str, Callable[[], bytes]] = {
    "no frames": lambda: header(frames=0) + encapsulated(b"\0" * 16),
    "minus one frame": lambda: header(frames=-1) + encapsulated(b"\0" * 16),
    "a thousand million frames": lambda: header(frames=10**9) + encapsulated(b"\0" * 16),
    "seven bits": lambda: header(allocated=7) + encapsulated(b"\0" * 16),
    "four thousand million pixels": lambda: (
        header(rows=65535, columns=65535, frames=10**6) + encapsulated(b"\0" * 16)
    ),
}


def bomb() -> bytes:
    """Return a deflated data set that unfolds to `BOMB_BYTES`."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(image(pixels=None))
    data += packer.compress(wire.element(0x7FE00010, b"OW", b"", length=BOMB_BYTES))
    zeros = bytes(1 << 20)
    data += b"".join(packer.compress(zeros) for _ in range(BOMB_BYTES >> 20))
    return data + packer.flush()


def endless(size: int) -> Iterator[bytes]:
    """Yield the command, then data values of 16,000 bytes, none of them the last."""
    yield wire.p_data((1, 3, command()))
    piece = wire.p_data((1, 0, bytes(16_000)))
    for _ in range(size // 16_000):
        yield piece


def drown(size: int) -> Act:
    """Send a data set without end, and give up at `size`."""

    def act(peer: RawPeer) -> None:
        for piece in endless(size):
            peer.send(piece)
            if select.select([peer.sock], [], [], 0)[0]:
                return
        raise TookAll

    return act


def flood(pieces: Iterable[bytes]) -> Act:
    """Send as fast as the peer takes it, until something comes back."""
    return trickle(lambda: pieces, 0)
