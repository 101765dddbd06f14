"""Builders for the model's tests: small bundles, drawn pictures, tiny datasets."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save

from model.architecture import Architecture
from model.bundle_file import Bundle, Card, OperatingPoint, write
from model.network import AxNet
from model.nodes import Rules
from model.preprocess import Spec

TINY = Architecture(  # builds and runs in no time
    "timm-mobilenetv3_small_minimal_100", 32, classifier_widths=(4, 8), classifier_hidden=4
)
SMALL_INPUT = Spec(width=64, height=64)


def card(**changes: object) -> Card:
    """Make a complete card; keywords change it."""
    whole = Card(
        name="Test",
        version="1",
        demonstration=True,
        intended_use="Tests.",
        intended_population="None.",
        limits=("Knows nothing.",),
        licence="Apache-2.0",
        architecture=TINY,
        input=SMALL_INPUT,
        nodes=Rules(),
        operating_points=(OperatingPoint("max_accuracy", 0.5, 0.8, 0.9, (0.5, 0.95), (0.7, 0.98)),),
        training={"data": "none", "nested": {"rows": 3}},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def weights(architecture: Architecture = TINY, seed: int = 0) -> bytes:
    """Make random weights that fit."""
    torch.manual_seed(seed)
    return save(AxNet(architecture).state_dict())


def bundle(path: Path, **changes: object) -> Bundle:
    """Write a bundle of the tiny network."""
    return write(path, card(**changes), [weights()])


def ellipse(
    shape: tuple[int, int],
    centre: tuple[float, float],
    axes: tuple[float, float],
    degrees: float = 0.0,
) -> NDArray[np.bool_]:
    """Draw a filled ellipse: shape (H, W); centre x, y; full axes along x and y before turning."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    turn = np.radians(degrees)
    dx, dy = x - centre[0], y - centre[1]
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    return np.asarray((2 * along / axes[0]) ** 2 + (2 * across / axes[1]) ** 2 <= 1)


def dataset(folder: Path, patients: int = 20, images: int = 1) -> Path:
    """Write a dataset whose nodes are dark disks; positive patients have bright ones."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(patients):
        label = patient % 2
        for number in range(images):
            name = f"{patient}-{number}.png"
            centre = (float(rng.uniform(24, 72)), float(rng.uniform(24, 56)))
            mask = ellipse((80, 96), centre, (30, 24))
            grey = rng.integers(70, 110, (80, 96)) + (60 if label else -60) * mask
            frame = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
            Image.fromarray(frame).save(folder / "images" / name)
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / name)
            rows.append([f"images/{name}", f"masks/{name}", label, f"p{patient}", 0, 0, 96, 80])
    with (folder / "index.csv").open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file)
        boxes = [f"tissue_{edge}" for edge in ("x0", "y0", "x1", "y1")]
        writer.writerow(["image", "mask", "label", "patient", *boxes])
        writer.writerows(rows)
    return folder
