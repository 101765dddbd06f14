"""Outlines alone, drawn and found, of the images of a dataset that may not itself be shown.

One panel an image in the order of the index, with its Dice; it holds no pixel of the images.

    python -m tests.benchmarks.draw_outlines --data DIR --bundle DIR --out FILE.png
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from model.bundle_file import Bundle
from model.runtime import Predictor
from model.training.data import PICTURES, with_regions
from model.training.evaluation import draw, look_at_picture
from model.training.index import Row, read_index
from model.training.metrics import dice
from model.training.worst import FOUND, TRUE, outline

_WIDTH, _HEIGHT, _TITLE, _COLUMNS = 280, 230, 20, 5  # of a panel, pixels
_BACKGROUND, _WORDS = (28, 28, 30), (230, 230, 230)


def panel(predictor: Predictor, row: Row) -> NDArray[np.uint8]:
    """Return (H, W, 3): the mask of the dataset in green, the model's in orange."""
    frame = PICTURES.image(row.image, row.frame)
    found = draw(look_at_picture(predictor, row, frame).nodes, (frame.shape[0], frame.shape[1]))
    true = PICTURES.mask_of(row)
    drawn = np.full(frame.shape, _BACKGROUND, np.uint8)
    words = f"{row.line - 1}: not annotated"
    if true is not None:
        drawn[outline(true)] = TRUE
        words = f"{row.line - 1}: Dice {dice(found, true):.2f}"
    drawn[outline(found)] = FOUND
    sheet = Image.new("RGB", (_WIDTH, _HEIGHT + _TITLE), _BACKGROUND)
    sheet.paste(Image.fromarray(drawn).resize((_WIDTH - 6, _HEIGHT - 6)), (3, _TITLE + 3))
    pen = ImageDraw.Draw(sheet)
    pen.text((6, 6), words, fill=_WORDS)
    pen.rectangle((2, _TITLE + 2, _WIDTH - 3, _TITLE + _HEIGHT - 3), outline=(90, 90, 90))
    return np.asarray(sheet)


def main() -> None:
    """Write one sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    predictor = Predictor(Bundle.load(arguments.bundle))
    rows = with_regions(read_index(arguments.data), PICTURES)
    panels = [panel(predictor, row) for row in rows]
    panels += [np.full_like(panels[0], _BACKGROUND[0])] * (-len(panels) % _COLUMNS)
    lines = [np.hstack(panels[n : n + _COLUMNS]) for n in range(0, len(panels), _COLUMNS)]
    Image.fromarray(np.vstack(lines)).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
