"""Decoded frames that are looked at again, and those that are decoded ahead."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray


class RecentFrames:
    """Keeps what was decoded last, and drops the oldest; for one thread.

    A frame is looked at to find the tissue, to read it, and to draw on it. While the network reads
    one, another thread decodes the one that is expected next.

    Parameters
    ----------
    budget
        Bytes that are kept at most; a frame that is larger is not kept.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget
        self._frames: OrderedDict[Hashable, NDArray[np.uint8]] = OrderedDict()
        self._coming: dict[Hashable, Future[NDArray[np.uint8]]] = {}
        self._pool = ThreadPoolExecutor(1, "decode")  # starts its thread when it is first used

    def expect(self, key: Hashable, decode: Callable[[], NDArray[np.uint8]]) -> None:
        """Begin to decode a frame that will be asked for next."""
        if key not in self._frames and key not in self._coming:
            self._coming[key] = self._pool.submit(decode)

    def get(self, key: Hashable, decode: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return a frame, (H, W, 3) RGB and not to be written to; decode it unless it is here."""
        if key in self._frames:
            self._frames.move_to_end(key)
            return self._frames[key]
        coming = self._coming.pop(key, None)
        frame = decode() if coming is None else coming.result()
        frame.flags.writeable = False  # whoever comes next sees the same
        self._frames[key] = frame
        self._left -= frame.nbytes
        while self._left < 0:
            _, dropped = self._frames.popitem(last=False)
            self._left += dropped.nbytes
        return frame
