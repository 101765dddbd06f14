"""Images of a dataset, prepared once and kept as arrays on disk."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model import tissue
from model.errors import TrainingError
from model.preprocess import Box, Spec, prepare_grey
from model.training.config import Regions
from model.training.index import Row

Progress = Callable[[int, int], None]  # done, of


class MaskReader(Protocol):
    """Reads a mask file as (H, W) bool; a DICOM SEG needs to know the image it is of."""

    def __call__(
        self, path: Path, frame: int | None, image: Path | None = None
    ) -> NDArray[np.bool_]:
        """Return the mask of one frame (1-based) of `image`."""


def no_region(path: Path, frame: int | None) -> Box | None:
    """Pictures declare no tissue region."""
    return None


@dataclass(frozen=True)
class Readers:
    """How files are read; the caller adds DICOM. Picklable: they run in worker processes."""

    image: Callable[[Path, int | None], NDArray[np.uint8]]  # -> (H, W, 3) uint8 RGB
    mask: MaskReader
    # the crop that the daemon takes of an image; None: it is found in the pixels
    region: Callable[[Path, int | None], Box | None] = no_region

    def mask_of(self, row: Row) -> NDArray[np.bool_] | None:
        """Read the mask of a row, (H, W); None where it is not annotated."""
        return None if row.mask is None else self.mask(row.mask, row.frame, row.image)

    def region_of(self, row: Row) -> Box | None:
        """Return the declared region of a row: the index's word comes before the file's."""
        return row.region or self.region(row.image, row.frame)


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
    if (frame or 1) > 1:
        raise TrainingError(f"{path.name} is a picture without frames: take #{frame} off its name")
    picture = _open(path, "a readable picture")
    if picture.mode[0] in "IF":  # Pillow would clip, not scale
        raise TrainingError(f"{path.name} has more than 8 bits a pixel: save it with 8")
    return np.asarray(picture.convert("RGB"))


def read_mask(path: Path, frame: int | None, image: Path | None = None) -> NDArray[np.bool_]:
    """Read a PNG mask as (H, W) bool; anything above zero is node."""
    if path.suffix.lower() in (".jpg", ".jpeg"):  # its edges ring: zero does not stay zero
        raise TrainingError(f"{path.name} is a mask as JPEG: save it as PNG")
    return np.asarray(_open(path, "a readable mask").convert("L")) > 0


def _open(path: Path, wanted: str) -> Image.Image:
    """Decode a picture wholly; Pillow raises more than OSError on damaged files."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TrainingError(f"{path} is not {wanted}: replace the file") from error


PICTURES = Readers(read_picture, read_mask)


def with_regions(rows: Iterable[Row], readers: Readers) -> list[Row]:
    """Return the rows with the regions that their files declare, where the index gives none."""
    return [replace(row, region=readers.region_of(row)) for row in rows]


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
            partial(prepare_row, spec=spec, regions=regions, seed=seed, readers=readers),
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
    box = box or largest_box(frame)
    if kind == "jittered" and box is not None:
        box = _jitter(box, regions.jitter, frame.shape, rng)
    return box


def largest_box(frame: NDArray[np.uint8]) -> Box | None:
    """Return the greatest box of tissue in the pixels."""
    boxes = tissue.tissue_boxes(frame)
    return max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1])) if boxes else None


def _jitter(box: Box, amount: float, shape: tuple[int, ...], rng: np.random.Generator) -> Box:
    """Move each edge by up to `amount` of the box, inside the frame."""
    x0, y0, x1, y1 = box
    moves = rng.uniform(-amount, amount, 4) * (x1 - x0, y1 - y0, x1 - x0, y1 - y0)
    left, top, right, bottom = (int(v) for v in np.array(box) + np.round(moves))
    return (max(left, 0), max(top, 0), min(right, shape[1]), min(bottom, shape[0]))


def prepare_row(
    item: tuple[int, Row], spec: Spec, regions: Regions, seed: int, readers: Readers
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read, crop and resize one image (number, row) and its mask, both (height, width)."""
    number, row = item
    frame = readers.image(row.image, row.frame)
    box = choose_region(row, frame, regions, np.random.default_rng((seed, number)))
    try:
        grey, placement = prepare_grey(frame, box, spec)
    except ValueError as error:
        raise TrainingError(f"index.csv:{row.line}: {error}: correct the tissue box") from error
    mask = readers.mask_of(row)
    if mask is None:
        return grey, np.zeros(grey.shape, np.bool_)
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
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    try:
        # written, not mapped: on a full disk a write fails, a map kills the process
        with parts[0].open("wb") as images, parts[1].open("wb") as masks:
            for file in (images, masks):
                np.lib.format.write_array_header_1_0(file, header)
            for grey, mask in spread(work, list(enumerate(rows)), workers, progress):
                images.write(grey.tobytes())
                masks.write(mask.astype(np.uint8).tobytes())
    except OSError as error:
        for part in parts:
            part.unlink(missing_ok=True)
        raise TrainingError(
            f"the cache {parts[0].parent} cannot be written: {error.strerror}: make room"
        ) from error
    for part, path in zip(parts, paths, strict=True):
        part.rename(path)


def spread(
    work: Callable[[Any], Any], items: Sequence[Any], workers: int, progress: Progress | None
) -> Iterator[Any]:
    """Yield `work` of each item in order, done in so many processes; 0: in this one."""
    with _mapper(workers) as spread_map:
        for number, result in enumerate(spread_map(work, items), 1):
            if progress and number % 100 == 0:
                progress(number, len(items))
            yield result


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Offer a `map` that uses so many processes; none: this one."""
    if not workers:
        yield map
        return
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield partial(pool.map, chunksize=8)
    except BrokenProcessPool as error:
        raise TrainingError(
            "a process that prepares images died, perhaps for want of memory: set fewer workers"
        ) from error


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
