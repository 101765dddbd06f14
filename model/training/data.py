"""Images of a dataset, prepared once and kept as arrays on disk."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model import tissue
from model.errors import TrainingError
from model.preprocess import Box, Spec, prepare_grey
from model.training.config import Regions
from model.training.index import Row

Progress = Callable[[int, int], None]  # done, of


@dataclass(frozen=True)
class Readers:
    """How files are read; the caller adds DICOM. Picklable: they run in worker processes."""

    image: Callable[[Path, int | None], NDArray[np.uint8]]  # -> (H, W, 3) uint8 RGB
    mask: Callable[[Path, int | None], NDArray[np.bool_]]  # -> (H, W) bool


@dataclass(frozen=True)
class Cache:
    """Prepared images in the order of their rows."""

    images: NDArray[np.uint8]  # (N, height, width) grey
    masks: NDArray[np.uint8]  # (N, height, width) 0 or 1
    annotated: NDArray[np.bool_]  # (N,) whether the mask means something
    labels: NDArray[np.int8]  # (N,) 0, 1, or -1: unknown
    patients: tuple[str, ...]


def read_picture(path: Path, frame: int | None) -> NDArray[np.uint8]:
    """Read a PNG or JPEG as (H, W, 3) uint8 RGB."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise TrainingError(f"{path} is not a readable picture") from error


def read_mask(path: Path, frame: int | None) -> NDArray[np.bool_]:
    """Read a PNG mask as (H, W) bool; anything above zero is node."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L")) > 0
    except OSError as error:
        raise TrainingError(f"{path} is not a readable mask") from error


PICTURES = Readers(read_picture, read_mask)


def load_cache(
    folder: Path,
    rows: Sequence[Row],
    spec: Spec,
    regions: Regions,
    *,
    seed: int,
    readers: Readers = PICTURES,
    workers: int = 2,
    progress: Progress | None = None,
) -> Cache:
    """Prepare the rows, or find them prepared in `folder` from an earlier run."""
    key = _key(rows, spec, regions, seed)
    images_path, masks_path = folder / f"{key}-images.npy", folder / f"{key}-masks.npy"
    if not masks_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _prepare_all(
            (images_path, masks_path),
            rows,
            partial(_prepare_row, spec=spec, regions=regions, seed=seed, readers=readers),
            spec,
            workers,
            progress,
        )
    return Cache(
        images=np.load(images_path, mmap_mode="r"),
        masks=np.load(masks_path, mmap_mode="r"),
        annotated=np.array([row.mask is not None for row in rows]),
        labels=np.array([-1 if row.label is None else row.label for row in rows], np.int8),
        patients=tuple(row.patient for row in rows),
    )


def choose_region(
    row: Row, frame: NDArray[np.uint8], regions: Regions, rng: np.random.Generator
) -> Box | None:
    """Draw the crop of a training image; None is the whole frame."""
    kinds = ("declared", "found", "jittered", "whole")
    shares = np.array([getattr(regions, kind) for kind in kinds], float)
    kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
    if kind == "whole":
        return None
    box = row.region if kind != "found" else None
    box = box or _found(frame)
    if kind == "jittered" and box is not None:
        box = _jitter(box, regions.jitter, frame.shape, rng)
    return box


def _found(frame: NDArray[np.uint8]) -> Box | None:
    """Return the greatest box of tissue in the pixels."""
    boxes = tissue.tissue_boxes(frame)
    return max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1])) if boxes else None


def _jitter(box: Box, amount: float, shape: tuple[int, ...], rng: np.random.Generator) -> Box:
    """Move each edge by up to `amount` of the box, inside the frame."""
    x0, y0, x1, y1 = box
    moves = rng.uniform(-amount, amount, 4) * (x1 - x0, y1 - y0, x1 - x0, y1 - y0)
    left, top, right, bottom = (int(v) for v in np.array(box) + np.round(moves))
    return (max(left, 0), max(top, 0), min(right, shape[1]), min(bottom, shape[0]))


def _prepare_row(
    item: tuple[int, Row], spec: Spec, regions: Regions, seed: int, readers: Readers
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read, crop and resize one image and its mask."""
    number, row = item
    frame = readers.image(row.image, row.frame)
    box = choose_region(row, frame, regions, np.random.default_rng((seed, number)))
    grey, placement = prepare_grey(frame, box, spec)
    if row.mask is None:
        return grey, np.zeros(grey.shape, np.bool_)
    mask = readers.mask(row.mask, row.frame)
    if mask.shape != frame.shape[:2]:
        raise TrainingError(f"{row.mask} and its image differ in size")
    x0, y0, x1, y1 = placement.source
    return grey, placement.mask_to_target(mask[y0:y1, x0:x1])


def _prepare_all(
    paths: tuple[Path, Path],
    rows: Sequence[Row],
    work: Callable[[tuple[int, Row]], tuple[NDArray[np.uint8], NDArray[np.bool_]]],
    spec: Spec,
    workers: int,
    progress: Progress | None,
) -> None:
    """Fill the two arrays; their names appear only when they are complete."""
    parts = [path.with_suffix(".part") for path in paths]
    shape = (len(rows), spec.height, spec.width)
    arrays = [
        np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape) for part in parts
    ]
    with _mapper(workers) as spread:
        for number, (grey, mask) in enumerate(spread(work, enumerate(rows))):
            arrays[0][number], arrays[1][number] = grey, mask
            if progress and (number + 1) % 100 == 0:
                progress(number + 1, len(rows))
    for array, part, path in zip(arrays, parts, paths, strict=True):
        array.flush()
        part.rename(path)


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Offer a `map` that uses so many processes; none: this one."""
    if not workers:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=8)


def _key(rows: Sequence[Row], spec: Spec, regions: Regions, seed: int) -> str:
    """Name of a cache: everything that decides its content, the files' sizes and times too."""
    files = [
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for row in rows
        for path in (row.image, row.mask)
        if path is not None and path.exists()
    ]
    parts = [asdict(spec), asdict(regions), seed, files, [row.frame for row in rows]]
    text = json.dumps([*parts, [row.region for row in rows]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
