"""The sample studies: typical pictures, chosen by what they show, in terms free of DICOM.

For every sample the first patient from a number on that shows what the sample is about, and shows
it clearly, is taken; the pictures themselves are those of the generator, unchanged. The numbers
pass over patients whom the demonstration bundle read wrongly: the samples show the way of a study,
and how often the bundle errs stands in its model card.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.training.phantom_doppler import add_colour, spectral_frame
from model.training.phantom_picture import generate, generate_cine, patient_of
from model.training.phantom_records import Features, Mask, PhantomImage

_PRESET = "separable"
COUNT = 7  # of the sample studies


@dataclass(frozen=True)
class SampleInstance:
    """One image of a sample study."""

    frames: NDArray[np.uint8]  # (N, H, W, 3) RGB
    nodes: tuple[tuple[Mask, ...], ...]  # of every frame
    laterality: str  # "R" or "L"
    series: int  # 1-based
    encoding: str  # explicit, rle, jpeg, jpeg2000, palette or monochrome
    box: tuple[int, int, int, int]  # of the tissue, or of the trace
    mm_per_px: float | None  # None: the regions are left out of the file
    kind: str = "tissue"  # tissue, colour (flow on it) or spectral (no tissue)
    excluded: str | None = None  # why it cannot be evaluated: no_b_mode or colour_overlay
    label: int | None = None  # 1 metastatic, 0 not, None: no node shown


@dataclass(frozen=True)
class SampleStudy:
    """One sample study."""

    name: str  # part of file names
    description: str
    instances: tuple[SampleInstance, ...]


def samples(seed: int) -> Iterator[SampleStudy]:
    """Make the sample studies, one by one."""
    yield _benign_stills(seed)
    yield _suspicious_cine(seed)
    yield _two_nodes(seed)
    yield _colour_flow(seed)
    yield _both_sides(seed)
    yield _not_evaluable(seed)
    yield _normal(seed)


def _benign_stills(seed: int) -> SampleStudy:
    patient = _first(seed, 1071, "alder", _benign, side="R")
    stills = [_still(seed, patient, "alder", image) for image in (0, 1)]
    return SampleStudy(
        "benign-stills",
        "two calibrated stills of the right side, one benign node each",
        (_instance(stills[0], "monochrome"), _instance(stills[1], "jpeg2000")),
    )


def _suspicious_cine(seed: int) -> SampleStudy:
    start = 2077
    while True:
        patient = _first(seed, start, "birch", _suspicious, images=1)
        cine = generate_cine(seed, patient, 10, _PRESET, "birch", (480, 640), nodes=1)
        if all(_typical(picture, 1) for picture in cine):
            break
        start = patient + 1
    instance = SampleInstance(
        np.stack([picture.frame for picture in cine]),
        tuple(tuple(node.mask for node in picture.nodes) for picture in cine),
        *(cine[0].laterality, 1, "jpeg", cine[0].tissue_box, cine[0].mm_per_px),
        label=cine[0].label,
    )
    return SampleStudy("suspicious-cine", "calibrated cine with one suspicious node", (instance,))


def _two_nodes(seed: int) -> SampleStudy:
    patient = _first(seed, 3100, "dogwood", _benign, side="L", images=1, nodes=2)
    picture = _still(seed, patient, "dogwood", 0, nodes=2)
    return SampleStudy(
        "two-nodes-uncalibrated",
        "uncalibrated still of the left side with two nodes",
        (_instance(picture, "rle", calibrated=False),),
    )


def _colour_flow(seed: int) -> SampleStudy:
    patient = _first(seed, 4082, "fir", _suspicious, images=1)
    picture = _still(seed, patient, "fir", 0)
    colour = add_colour(picture, 0.03, np.random.default_rng([seed, patient, 77]))
    return SampleStudy(
        "colour-flow",
        "a still with colour flow in the node, and its grey twin",
        (
            _instance(picture, "jpeg2000"),
            _instance(picture, "jpeg", frame=colour, kind="colour"),
        ),
    )


def _both_sides(seed: int) -> SampleStudy:
    right = _first(seed, 5081, "alder", _benign, side="R")
    left = _first(seed, 5844, "alder", _suspicious, side="L", images=1)
    return SampleStudy(
        "both-sides",
        "both sides in two series, three calibrated stills",
        (
            _instance(_still(seed, right, "alder", 0), "palette"),
            _instance(_still(seed, right, "alder", 1), "jpeg"),
            _instance(_still(seed, left, "alder", 0), "monochrome", series=2),
        ),
    )


def _not_evaluable(seed: int) -> SampleStudy:
    frame, box = spectral_frame((480, 640), np.random.default_rng([seed, 6000, 77]))
    patient = _first(seed, 6000, "fir", _suspicious, side="R", images=1)
    picture = _still(seed, patient, "fir", 0)
    colour = add_colour(picture, 0.45, np.random.default_rng([seed, patient, 78]))
    spectral = SampleInstance(
        *(frame[None], ((),), "R", 1, "explicit", box, picture.mm_per_px),
        kind="spectral",
        excluded="no_b_mode",
    )
    covered = _instance(picture, "jpeg", frame=colour, kind="colour", excluded="colour_overlay")
    return SampleStudy(
        "not-evaluable", "a spectral trace without tissue, and colour over it", (spectral, covered)
    )


def _normal(seed: int) -> SampleStudy:
    for patient in count(7006):
        picture = generate(seed, patient, _PRESET, "alder", (480, 640), nodes=0)
        if _plain(picture):
            break
    return SampleStudy("normal", "a still without a node", (_instance(picture, "jpeg2000"),))


def _instance(
    picture: PhantomImage,
    encoding: str,
    *,
    series: int = 1,
    frame: NDArray[np.uint8] | None = None,
    kind: str = "tissue",
    calibrated: bool = True,
    excluded: str | None = None,
) -> SampleInstance:
    return SampleInstance(
        (picture.frame if frame is None else frame)[None],
        (tuple(node.mask for node in picture.nodes),),
        *(picture.laterality, series, encoding, picture.tissue_box),
        picture.mm_per_px if calibrated else None,
        kind,
        excluded,
        picture.label,
    )


def _still(seed: int, patient: int, style: str, image: int, nodes: int = 1) -> PhantomImage:
    size = (472, 560) if style == "dogwood" else (480, 640)
    return generate(seed, patient, _PRESET, style, size, image=image, nodes=nodes)


def _first(
    seed: int,
    start: int,
    style: str,
    wanted: Callable[[int, Features], bool],
    *,
    side: str | None = None,
    images: int = 2,
    nodes: int = 1,
) -> int:
    """Return the first patient from `start` on who fits and whose pictures are all clear."""
    for patient in count(start):
        label, features, laterality = patient_of(seed, patient, _PRESET)
        if side not in (None, laterality) or not wanted(label, features):
            continue
        pictures = (_still(seed, patient, style, image, nodes) for image in range(images))
        if all(_typical(picture, nodes) for picture in pictures):
            return patient
    raise AssertionError("count() does not end")


def _benign(label: int, features: Features) -> bool:
    return label == 0 and features == Features(True, False, False, features.flow)


def _suspicious(label: int, features: Features) -> bool:
    return label == 1 and features == Features(True, False, True, features.flow)


def _typical(picture: PhantomImage, nodes: int) -> bool:
    """Whether every node is wholly on the picture, neither small nor huge, and stands out."""
    if len(picture.nodes) != nodes:
        return False
    x0, y0, x1, y1 = picture.tissue_box
    grey = picture.frame[..., 0].astype(np.float32)
    for node in picture.nodes:
        rows, columns = np.nonzero(node.mask)
        share = rows.size / ((x1 - x0) * (y1 - y0))
        edge = min(columns.min() - x0, x1 - columns.max(), rows.min() - y0, y1 - rows.max())
        if not 0.025 < share < 0.14 or edge < 14 or not _stands_out(grey, node.mask):
            return False
    return True


def _stands_out(grey: NDArray[np.float32], mask: Mask) -> bool:
    """Whether the rim of a node is clearly darker than what lies round it, and not written on."""
    inner = mask & ~ndimage.binary_erosion(mask, iterations=7)
    near = ndimage.binary_dilation(mask, iterations=9)
    around = float(grey[near & ~ndimage.binary_dilation(mask)].mean())
    written = grey[near].max() > 226
    return around - float(grey[inner].mean()) > max(18.0, 0.32 * around) and not written


def _plain(picture: PhantomImage) -> bool:
    """Whether tissue is shown, and nothing large and dark in it."""
    x0, y0, x1, y1 = picture.tissue_box
    window = picture.frame[y0:y1, x0:x1, 0].astype(np.float32)
    smooth = ndimage.gaussian_filter(window[: window.shape[0] * 3 // 4], 14)
    level = np.median(smooth, axis=1, keepdims=True)
    return bool(level.min() > 45 and (smooth / level).min() > 0.6)
