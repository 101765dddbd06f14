"""Cohorts of real pictures with synthetic nodes in them, in the dataset layout."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from model.errors import TrainingError
from model.tissue import grey_without_overlay
from model.training.data import PICTURES, Readers, largest_box
from model.training.graft import features_of, graft
from model.training.index import BOX_COLUMNS, Row, read_index
from model.training.phantom_records import Features

_KEPT = ("split", "fold")  # columns that say where a patient belongs
COLUMNS = (
    *("image", "mask", "label", "patient", *_KEPT),
    *BOX_COLUMNS,
    *("size", "shape", "cmd", "flow", "nodes", "style"),
)


def write_grafts(
    tissue: Path,
    out: Path,
    seed: int,
    preset: str = "separable",
    *,
    images: int = 1,
    readers: Readers = PICTURES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Draw nodes into the pictures of a dataset; return how many pictures were written.

    Every picture is drawn into `images` times, if it has room. It keeps its patient and its part of
    the split, so that both datasets can be joined. Pictures whose mask is blank are passed over:
    nobody knows what they show. The label is that of the drawn nodes, which is the patient's where
    it has one; blank where the picture shows another lesion, whose pixels stay in the mask.

    Raises
    ------
    TrainingError
        The dataset cannot be read, or `out` not be written.
    """
    if (out / "index.csv").exists():
        raise TrainingError(f"{out} holds a dataset already: name another folder")
    rows = [row for row in read_index(tissue) if row.mask is not None]
    if not rows:
        raise TrainingError(f"no picture of {tissue} has a mask: nobody knows where there is room")
    numbers = {name: number for number, name in enumerate(sorted({row.patient for row in rows}))}
    labels = _labels(rows)
    entries: list[dict[str, str]] = []
    try:
        for folder in ("images", "masks"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        for done, row in enumerate(rows, 1):
            truth = features_of(seed, numbers[row.patient], preset, labels.get(row.patient))
            for copy in range(images):
                rng = np.random.default_rng((seed, 0, row.line, copy + 1))
                entry = _write_picture(out, row, copy, readers, truth, rng)
                entries += [entry] if entry else []
            progress(done, len(rows))
        if not entries:
            raise TrainingError(f"no picture of {tissue} has room for a node, or all are too dark")
        _write_index(out / "index.csv", entries)
    except OSError as error:
        raise TrainingError(f"{out} cannot be written: {error.strerror}") from error
    return len(entries)


def _write_picture(
    out: Path,
    row: Row,
    copy: int,
    readers: Readers,
    truth: tuple[int, Features],
    rng: np.random.Generator,
) -> dict[str, str] | None:
    """Draw into one picture and write it; its line of the index, None where there was no room."""
    frame, other = readers.image(row.image, row.frame), readers.mask_of(row)
    if other is None or other.shape != frame.shape[:2]:
        raise TrainingError(f"{row.mask} and its image differ in size")
    height, width = other.shape
    box = readers.region_of(row) or largest_box(frame) or (0, 0, width, height)
    x0, y0, x1, y1 = box
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise TrainingError(f"index.csv:{row.line}: the tissue box lies outside of the image")
    grey = grey_without_overlay(np.ascontiguousarray(frame)).copy()
    made = graft(grey[y0:y1, x0:x1], other[y0:y1, x0:x1], truth[1], rng)
    if not made.nodes:
        return None
    mask = other.copy()
    for node in made.nodes:
        mask[y0:y1, x0:x1] |= node
    grey[y0:y1, x0:x1] = made.grey
    name = f"g{row.line:05d}-{copy}.png"
    Image.fromarray(grey).save(out / "images" / name, compress_level=3)
    Image.fromarray(mask.astype(np.uint8) * 255).save(out / "masks" / name)
    return {
        "image": f"images/{name}",
        "mask": f"masks/{name}",
        "label": "" if other.any() else str(truth[0]),
        "patient": row.patient,
        "split": row.part or "",
        "fold": row.fold or "",
        **{name: str(edge) for name, edge in zip(BOX_COLUMNS, box, strict=True)},
        "nodes": str(len(made.nodes)),
        "style": "grafted",
        **truth[1].row(),
    }


def _labels(rows: Sequence[Row]) -> dict[str, int]:
    """Return the label of each patient that has one: the greatest of its rows, as everywhere."""
    labels: dict[str, int] = {}
    for row in rows:
        if row.label is not None:
            labels[row.patient] = max(row.label, labels.get(row.patient, 0))
    return labels


def _write_index(path: Path, entries: Sequence[Mapping[str, str]]) -> None:
    """Write the index; without a split or folds of its own it has no such column."""
    names = [c for c in COLUMNS if c not in _KEPT or any(e[c] for e in entries)]
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(entries)
    part.replace(path)
