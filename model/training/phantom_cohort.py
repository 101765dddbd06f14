"""Cohorts of phantoms on disk, in the dataset layout: index.csv, images, masks."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from model.errors import ModelError
from model.training.phantom_features import NAMES, PRESETS, bayes_auroc
from model.training.phantom_picture import generate
from model.training.phantom_records import PhantomImage
from model.training.phantom_styles import STYLES

COLUMNS = (
    *("image", "mask", "label", "patient"),
    *("size", "shape", "cmd", "flow", "nodes", "laterality", "style", "mm_per_px"),
)


@dataclass(frozen=True)
class CohortSummary:
    """What was written, and how well its labels can be told."""

    images: int
    patients: int
    positive: int  # patients with metastasis
    bound_grey: float  # best AUROC from the features that a grey image shows
    bound_all: float  # the same with blood flow known


def save_png(path: Path, picture: PhantomImage, patient: int, image: int) -> None:
    """Write a picture as PNG; its numbers do not matter."""
    del patient, image
    Image.fromarray(picture.frame).save(path, compress_level=3)


def write_cohort(
    out: Path,
    patients: int | None,
    seed: int,
    preset: str = "separable",
    *,
    style: str | None = None,
    images: int = 1,
    normals: float = 0.0,
    save: Callable[[Path, PhantomImage, int, int], None] = save_png,
    suffix: str = ".png",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CohortSummary:
    """Write a cohort and return its figures.

    Parameters
    ----------
    out
        Folder; made if it does not exist. An index that is there is replaced.
    patients
        With nodes; None: as many as the preset says.
    seed, preset, style
        As for `generate`.
    images
        Pictures per patient.
    normals
        Further patients without a node, as a share of `patients`; their label is blank.
    save, suffix
        How a picture is written (path, picture, number of the patient, of the picture), and the
        end of its name.
    progress
        Called with pictures done and pictures in all.

    Raises
    ------
    ModelError
        If the preset or style is unknown or the folder cannot be written.
    """
    if preset not in PRESETS:
        raise ModelError(f"preset {preset!r} is unknown: choose one of {', '.join(PRESETS)}")
    count = PRESETS[preset].patients if patients is None else patients
    total = count + round(normals * count)
    if style is not None and style not in STYLES:
        raise ModelError(f"style {style!r} is unknown: choose one of {', '.join(STYLES)}")
    try:
        for folder in ("images", "masks"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        rows = []
        for picture, patient, image in _pictures((count, total, images), (seed, preset, style)):
            rows.append(_write_picture(out, picture, (patient, image), (save, suffix)))
            progress(len(rows), total * images)
        _write_index(out / "index.csv", rows)
    except OSError as error:
        raise ModelError(f"the cohort cannot be written to {out}: {error.strerror}") from error
    positive = {row["patient"] for row in rows if row["label"] == "1"}
    return CohortSummary(
        len(rows), total, len(positive), bayes_auroc(preset), bayes_auroc(preset, NAMES)
    )


def _pictures(
    counts: tuple[int, int, int], source: tuple[int, str, str | None]
) -> Iterator[tuple[PhantomImage, int, int]]:
    with_nodes, total, images = counts
    seed, preset, style = source
    for patient in range(total):
        nodes = None if patient < with_nodes else 0
        for image in range(images):
            yield generate(seed, patient, preset, style, image=image, nodes=nodes), patient, image


def _write_picture(
    out: Path,
    picture: PhantomImage,
    numbers: tuple[int, int],
    writer: tuple[Callable[[Path, PhantomImage, int, int], None], str],
) -> dict[str, str]:
    patient, image = numbers
    save, suffix = writer
    name = f"p{patient:05d}-{image}"
    save(out / "images" / f"{name}{suffix}", picture, patient, image)
    Image.fromarray(picture.mask.astype(np.uint8) * 255).save(out / "masks" / f"{name}.png")
    features = picture.nodes[0].features.row() if picture.nodes else {}
    return {
        "image": f"images/{name}{suffix}",
        "mask": f"masks/{name}.png",
        "label": "" if picture.label is None else str(picture.label),
        "patient": f"p{patient:05d}",
        "nodes": str(len(picture.nodes)),
        "laterality": picture.laterality,
        "style": picture.style,
        "mm_per_px": f"{picture.mm_per_px:.5f}",
        **features,
    }


def _write_index(path: Path, rows: list[dict[str, str]]) -> None:
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)
