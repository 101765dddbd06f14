"""The previewing process: decodes frames for the console, and has neither database nor network.

It speaks as `daemon.inference` does, and like it is all that a damaged file can bring down. A
request names an image, a frame and the SEGs of the study; the frame is written as PNG.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from daemon.inference import main
from dicom_io import seg_read
from dicom_io.frames import Image
from model.measure import outline_of, simplify

_QUICK = 1  # zlib's level: speckle does not get smaller by more


class Previewer:
    """Answers requests for frames and for what was segmented on them."""

    def describe(self) -> dict[str, str]:
        """Return what the service shows of it: nothing."""
        return {}

    def analyse(self, request: dict[str, Any], progress: Callable[[], None]) -> dict[str, Any]:
        """Write a frame, or find the contours on it."""
        if "out" in request:
            return _frame(Path(request["image"]), request["frame"], Path(request["out"]))
        segs = [Path(path) for path in request["segs"]]
        return _contours(segs, request["sop_instance_uid"], request["frame"])

    @staticmethod
    def is_fatal(error: Exception) -> bool:
        """Tell whether the process should be replaced after this error."""
        return isinstance(error, MemoryError)


def _frame(path: Path, number: int, out: Path) -> dict[str, Any]:
    pixels = Image.open(path).frame(number - 1)
    Picture.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", compress_level=_QUICK)
    return {"rows": pixels.shape[0], "columns": pixels.shape[1]}


def _contours(segs: Sequence[Path], sop_instance_uid: str, number: int) -> dict[str, Any]:
    rows = columns = 0
    nodes = []
    for path in segs:
        for found in seg_read.masks(path):
            if (found.sop_instance_uid, found.frame_number) != (sop_instance_uid, number):
                continue
            rows, columns = found.mask.shape
            if found.mask.any():
                points = simplify(outline_of(found.mask)).round(2).tolist()
                own = _number(found.label) or found.segment_number
                nodes.append({"number": own, "label": found.label, "points": points})
    return {"rows": rows, "columns": columns, "nodes": nodes}


def _number(label: str) -> int:
    """Return the number in our own labels (Node 3), which counts over all SEGs of a study."""
    last = label.split()[-1] if label.split() else ""
    return int(last) if last.isdecimal() else 0


if __name__ == "__main__":
    sys.exit(main(lambda options: Previewer()))
