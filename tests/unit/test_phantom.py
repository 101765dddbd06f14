"""Pictures of the phantom generator: determinism, truth, and no way for the label to leak."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from model.training import phantom
from model.training.phantom_render import Motion, moved_noise
from model.training.phantom_scene import NODES, stream
from model.training.phantom_window import Window

SEED = 41


def test_a_picture_depends_on_its_own_numbers_only() -> None:
    alone = phantom.generate(SEED, 7)
    for patient in (3, 9):
        phantom.generate(SEED, patient)
    again = phantom.generate(SEED, 7)

    assert np.array_equal(alone.frame, again.frame)
    assert np.array_equal(alone.mask, again.mask)


@pytest.mark.parametrize(
    ("seed", "patient", "image"), [(SEED + 1, 7, 0), (SEED, 8, 0), (SEED, 7, 1)]
)
def test_other_numbers_give_another_picture(seed: int, patient: int, image: int) -> None:
    first = phantom.generate(SEED, 7, style="alder", size=(480, 640))
    other = phantom.generate(seed, patient, style="alder", size=(480, 640), image=image)

    assert not np.array_equal(first.frame, other.frame)


def test_pictures_of_one_patient_share_label_side_and_features() -> None:
    one, two = (phantom.generate(SEED, 7, image=image) for image in (0, 1))

    assert (one.label, one.laterality, one.nodes[0].features, one.style) == (
        two.label,
        two.laterality,
        two.nodes[0].features,
        two.style,
    )


@pytest.mark.parametrize("style", phantom.STYLES)
def test_every_style_draws_tissue_within_its_box(style: str) -> None:
    picture = phantom.generate(SEED, 5, style=style, size=(480, 640))
    x0, y0, x1, y1 = picture.tissue_box

    assert picture.frame.shape == (480, 640, 3)
    assert picture.frame.dtype == np.uint8
    assert 0 <= x0 < x1 <= 640
    assert 0 <= y0 < y1 <= 480
    assert np.median(picture.frame[y0:y1, x0:x1]) > 15
    outside = picture.mask.copy()
    outside[y0:y1, x0:x1] = False
    assert not outside.any()


@pytest.mark.parametrize("patient", range(6))
def test_nodes_are_whole_apart_and_sorted_by_size(patient: int) -> None:
    picture = phantom.generate(SEED, patient, size=(480, 640), nodes=3)
    sizes = [int(node.mask.sum()) for node in picture.nodes]

    assert 1 <= len(sizes) <= 3
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == picture.mask.sum()
    for node in picture.nodes:
        assert ndimage.label(node.mask)[1] == 1


def test_size_on_the_picture_is_the_size_in_millimetres() -> None:
    compared = 0
    for patient in range(12):
        picture = phantom.generate(SEED, patient, style="birch", size=(600, 800), nodes=1)
        node = picture.nodes[0]
        if node.features.irregular:
            continue
        area_mm2 = node.mask.sum() * picture.mm_per_px**2
        assert area_mm2 <= 1.25 * np.pi / 4 * node.long_axis_mm * node.short_axis_mm
        assert node.features.large == (node.long_axis_mm >= 10)
        compared += 1
    assert compared >= 4


def test_the_rim_of_a_node_is_darker_than_what_lies_round_it() -> None:
    darker = []
    for patient in range(24):
        picture = phantom.generate(SEED, patient, size=(480, 640), nodes=1)
        mask = picture.nodes[0].mask
        grey = picture.frame[..., 1].astype(float)
        rim = mask & ~ndimage.binary_erosion(mask, iterations=5)
        around = ndimage.binary_dilation(mask, iterations=9) & ~ndimage.binary_dilation(mask)
        darker.append(grey[rim].mean() < grey[around].mean())

    assert np.mean(darker) > 0.85


def test_without_nodes_nothing_is_marked_and_nothing_is_labelled() -> None:
    picture = phantom.generate(SEED, 2, nodes=0)

    assert picture.nodes == ()
    assert picture.label is None
    assert not picture.mask.any()


def test_the_label_changes_nothing_but_through_the_features() -> None:
    """With the same features a patient of either label gives the same picture."""
    compared = 0
    for patient in range(400):
        paper = phantom.patient_of(SEED, patient, "paper")
        separable = phantom.patient_of(SEED, patient, "separable")
        if paper[0] == separable[0] or paper[1:] != separable[1:]:
            continue
        pictures = [
            phantom.generate(SEED, patient, preset, size=(300, 400))
            for preset in ("paper", "separable")
        ]
        assert pictures[0].label != pictures[1].label
        assert np.array_equal(pictures[0].frame, pictures[1].frame)
        compared += 1
        if compared == 3:
            break
    assert compared == 3


def test_held_out_styles_are_never_drawn() -> None:
    drawn = {phantom.generate(SEED, patient, size=(120, 160)).style for patient in range(40)}

    assert drawn <= set(phantom.TRAINING)
    assert drawn.isdisjoint(phantom.HELD_OUT)
    assert len(drawn) > 3


def test_a_cine_moves_smoothly_and_keeps_its_writing() -> None:
    cine = phantom.generate_cine(SEED, 7, 6, style="alder", size=(480, 640), nodes=1)
    x0, y0, _, _ = cine[0].tissue_box

    assert len({len(picture.nodes) for picture in cine}) == 1
    for before, after in pairwise(cine):
        moved_px = np.subtract(*(np.mean(np.nonzero(p.mask), axis=1) for p in (before, after)))
        assert np.hypot(*moved_px) * before.mm_per_px < 2.5
        assert np.array_equal(before.frame[:, : x0 - 30], after.frame[:, : x0 - 30])
        assert np.array_equal(before.frame[: y0 - 20], after.frame[: y0 - 20])
    assert not np.array_equal(cine[0].mask, cine[-1].mask)


def test_structure_of_a_cine_moves_with_the_tissue() -> None:
    """Shifted back by the motion of the node, frames agree better than where they lie."""
    cine = phantom.generate_cine(SEED, 11, 8, style="alder", size=(480, 640), nodes=1)
    first, last = cine[0], cine[-1]
    rows, columns = np.nonzero(first.mask)
    box = np.s_[rows.min() : rows.max(), columns.min() : columns.max()]
    still = _correlation(first.frame[box], last.frame[box])
    best = max(
        _correlation(first.frame[box], np.roll(last.frame, (dy, dx), (0, 1))[box])
        for dy in range(-8, 9)
        for dx in range(-70, 71)
    )

    assert best > 0.45
    assert best > still + 0.2


def test_scatterers_of_a_cine_stick_to_the_tissue() -> None:
    """Deep tissue that goes three lines to the right takes its noise along; skin stays."""
    window = Window("linear", (0, 0, 201, 161), 0.2, 0.0, 0.0, (161, 201))
    sheet = np.random.default_rng(1).standard_normal((2, *window.shape), np.float32)
    line_mm = window.width_mm / (window.shape[1] - 1)
    moved = moved_noise(sheet, window, Motion(dx=3 * line_mm))

    assert np.array_equal(sheet[:, 40:, 20:-20], moved[:, 40:, 23:-17])
    assert np.array_equal(sheet[:, 0], moved[:, 0])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    detail = [
        image[..., 0] - ndimage.gaussian_filter(image[..., 0].astype(float), 6) for image in (a, b)
    ]
    return float(np.corrcoef(detail[0].ravel(), detail[1].ravel())[0, 1])


def test_random_streams_of_the_parts_are_apart() -> None:
    draws = {stream(SEED, 1, 0, part).random() for part in range(NODES + 3)}

    assert len(draws) == NODES + 3
