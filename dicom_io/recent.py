"""Decoded frames that are looked at again: to find the tissue, to read it, to draw on it."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray


class RecentFrames:
    """Keeps what was decoded last, and drops the oldest.

    Parameters
    ----------
    budget
        Bytes that are kept at most; a frame that is larger is not kept.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget
        self._frames: OrderedDict[Hashable, NDArray[np.uint8]] = OrderedDict()

    def get(self, key: Hashable, decode: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return a frame, (H, W, 3) RGB and not to be written to; decode it unless it is here."""
        if key in self._frames:
            self._frames.move_to_end(key)
            return self._frames[key]
        frame = decode()
        frame.flags.writeable = False  # whoever comes next sees the same
        self._frames[key] = frame
        self._left -= frame.nbytes
        while self._left < 0:
            _, dropped = self._frames.popitem(last=False)
            self._left += dropped.nbytes
        return frame
