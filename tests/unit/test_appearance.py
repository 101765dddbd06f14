"""Features of nodes on drawn figures with known answers, and what they are said to go with."""

import csv
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ellipe
from scipy.stats import false_discovery_control, mannwhitneyu

from model.errors import TrainingError
from model.measure import outline_of
from model.training import appearance_edge as edge
from model.training import appearance_texture as texture
from model.training.appearance import FEATURES, MIN_PIXELS, measure, of_image
from model.training.appearance_association import Node, associate, report
from model.training.appearance_table import table
from model.training.data import PICTURES
from model.training.index import read_index
from model.training.summary import plain
from tests.builders_net import ellipse

NAMES = {feature.name for feature in FEATURES}
# the picture of Haralick, Shanmugam and Dinstein 1973 (doi 10.1109/TSMC.1973.4309314), figure 3
HARALICK = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]], np.uint8)
SQUARE = np.pad(np.ones((20, 20), bool), 20)  # 20 x 20 pixels in a frame of 60 x 60


def frame(grey: NDArray) -> NDArray[np.uint8]:
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


def dark(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw the mask in grey 60 on 160."""
    return frame(np.where(mask, 60, 160))


def star(bump: float, waves: int = 8, radius: float = 60, stretch: float = 1.0) -> NDArray:
    """Draw a disc whose radius waves by a share of itself; `stretch` makes it wider."""
    y, x = np.mgrid[:200, :300] + 0.5
    x, y = (x - 150) / stretch, y - 100
    return np.hypot(x, y) <= radius * (1 + bump * np.cos(waves * np.arctan2(y, x)))


# texture


def test_co_occurrence_is_the_sum_of_haralick_s_four_matrices() -> None:
    across = [[4, 2, 1, 0], [2, 4, 0, 0], [1, 0, 6, 1], [0, 0, 1, 2]]
    down = [[6, 0, 2, 0], [0, 4, 2, 0], [2, 2, 2, 2], [0, 0, 2, 0]]
    left = [[2, 1, 3, 0], [1, 2, 1, 0], [3, 1, 0, 2], [0, 0, 2, 0]]
    right = [[4, 1, 0, 0], [1, 2, 2, 0], [0, 2, 4, 1], [0, 0, 1, 0]]
    found = texture.co_occurrence(HARALICK, np.ones((4, 4), bool), 4)
    assert found.tolist() == np.sum([across, down, left, right], axis=0).tolist()


def test_features_of_a_masked_matrix_by_hand() -> None:
    """The two left columns: 8 pairs of zeros, 3 of twos, 5 of both; two greys are levels 0, 15."""
    mask = np.zeros((4, 4), bool)
    mask[:, :2] = True
    counts = texture.co_occurrence(HARALICK, mask, 4)
    assert counts[[0, 0, 2, 2], [0, 2, 0, 2]].tolist() == [16, 5, 5, 6]
    assert counts.sum() == 32
    p = np.array([16, 5, 5, 6]) / 32
    told = texture.co_occurring(HARALICK, mask)
    low, spread = 15 * 11 / 32, 225 * 21 * 11 / 32**2  # of 0 (21 of 32 ends) and 15
    assert told == {
        "glcm_contrast": pytest.approx(225 * 10 / 32),
        "glcm_energy": pytest.approx(math.sqrt((p**2).sum())),
        "glcm_homogeneity": pytest.approx(22 / 32 + 10 / 32 / 226),
        "glcm_entropy": pytest.approx(-(p * np.log(p)).sum()),
        "glcm_correlation": pytest.approx((225 * 6 / 32 - low**2) / spread),
    }


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.9))
@settings(max_examples=25, deadline=None)
def test_co_occurrence_counts_the_pairs_inside_any_mask(seed, share) -> None:
    rng = np.random.default_rng(seed)
    levels, mask = rng.integers(0, 4, (7, 6)).astype(np.uint8), rng.random((7, 6)) < share
    pairs: Counter = Counter()
    inside = {(int(r), int(c)) for r, c in np.argwhere(mask)}
    for r, c in inside:
        for other in ((r, c + 1), (r + 1, c), (r + 1, c + 1), (r + 1, c - 1)):
            if other in inside:
                pairs[int(levels[r, c]), int(levels[other])] += 1
                pairs[int(levels[other]), int(levels[r, c])] += 1
    found = texture.co_occurrence(levels, mask, 4)
    assert found.tolist() == [[pairs[i, j] for j in range(4)] for i in range(4)]


def test_a_checkerboard() -> None:
    """Neighbours along rows and columns differ by 15 levels, diagonal ones are equal."""
    board = np.where(np.indices((60, 60)).sum(axis=0) % 2, 200, 50)
    told = measure(frame(board), SQUARE)
    assert told["glcm_contrast"] == pytest.approx(225 * 20 / 39)
    assert told["glcm_correlation"] == pytest.approx(-1 / 39, abs=1e-3)


def test_texture_knows_nothing_of_the_outside_and_of_gain() -> None:
    grey = np.random.default_rng(0).integers(20, 120, (60, 60))
    one = measure(frame(grey), SQUARE)
    other = measure(frame(np.where(SQUARE, grey * 2, 7)), SQUARE)
    for name in NAMES:
        if name.startswith("glcm"):
            assert other[name] == pytest.approx(one[name], rel=1e-6), name


def test_even_grey_correlates_with_nothing() -> None:
    told = measure(dark(SQUARE), SQUARE)
    assert "glcm_correlation" not in told
    assert (told["glcm_contrast"], told["glcm_energy"], told["glcm_entropy"]) == (0, 1, 0)


def test_a_caliper_in_a_node_leaves_its_levels_alone() -> None:
    grey = np.random.default_rng(0).integers(40, 60, (60, 60))
    marked = grey.copy()
    marked[30, 30:33] = 255
    assert len(np.unique(texture.quantise(marked.astype(np.uint8), SQUARE))) == 16


def test_grey_against_a_ring_that_leaves_out_margin_and_neighbours() -> None:
    node, neighbour = (
        ellipse((120, 160), (60, 60), (40, 40)),
        ellipse((120, 160), (100, 60), (30, 30)),
    )
    blurred = ellipse((120, 160), (60, 60), (43, 43)) & ~node
    grey = np.where(node, 60, np.where(neighbour, 0, np.where(blurred, 110, 160)))
    told = of_image(frame(grey), node | neighbour)
    assert told[0]["grey_against_ring"] == pytest.approx(-100 / 255)


# shape


@pytest.mark.parametrize("degrees", [0, 30, 45, 90])
@pytest.mark.parametrize("axes", [(80, 80), (120, 60), (120, 30)])
def test_shape_of_an_ellipse(axes, degrees) -> None:
    mask = ellipse((200, 200), (100, 100), axes, degrees)
    told = measure(dark(mask), mask, (0.1, 0.1))
    a, b = axes[0] / 2, axes[1] / 2
    area, perimeter = math.pi * a * b, 4 * a * ellipe(1 - (b / a) ** 2)
    turn = math.radians(degrees)
    width, height = (
        2 * math.hypot(a * math.cos(turn + shift), b * math.sin(turn + shift))
        for shift in (0, math.pi / 2)
    )
    assert told["axis_ratio"] == pytest.approx(b / a, abs=0.01)
    assert told["circularity"] == pytest.approx(4 * math.pi * area / perimeter**2, abs=0.01)
    assert told["extent"] == pytest.approx(area / width / height, abs=0.02)
    assert told["area_mm2"] == pytest.approx(area / 100, rel=0.01)
    assert told["solidity"] > 0.97
    assert told["roughness"] < 0.006


def test_solidity_and_extent_of_an_angle() -> None:
    """A square less a quarter: the hull cuts the corner off halfway."""
    mask = np.zeros((120, 120), bool)
    mask[20:100, 20:100] = True
    mask[20:60, 60:100] = False
    told = measure(dark(mask), mask)
    assert told["extent"] == pytest.approx(0.75)
    assert told["solidity"] == pytest.approx(0.75 / 0.875, abs=0.01)


def test_pixels_that_are_not_square() -> None:
    """A disc of pixels twice as high as wide is an ellipse."""
    mask = ellipse((200, 200), (100, 100), (80, 80))
    told = measure(dark(mask), mask, (0.2, 0.1))
    assert told["axis_ratio"] == pytest.approx(0.5, abs=0.01)
    assert told["area_mm2"] == pytest.approx(math.pi * 4 * 8, rel=0.01)
    assert "area_mm2" not in measure(dark(mask), mask)


def test_holes_are_filled() -> None:
    mask = ellipse((100, 100), (50, 50), (60, 60))
    ring = mask & ~ellipse((100, 100), (50, 50), (20, 20))
    assert measure(dark(mask), ring) == measure(dark(mask), mask)


# edge


@pytest.mark.parametrize("slope", [2, -2])
def test_gradient_of_a_slope_is_the_slope(slope) -> None:
    y, x = np.mgrid[:120, :120] + 0.5
    grey = 128 + slope * (np.hypot(x - 60, y - 60) - 40)
    mask = np.hypot(x - 60, y - 60) <= 40
    told = measure(frame(np.clip(np.round(grey), 0, 255)), mask)
    assert told["edge_gradient"] == pytest.approx(slope / 255, rel=0.05)
    # from 3 pixels inside to 3 outside
    assert told["margin_sharpness"] == pytest.approx(6 * abs(slope) / 255, rel=0.05)


def test_an_outline_along_the_frame_s_border_is_no_edge() -> None:
    mask = np.zeros((60, 60), bool)
    mask[:, :30] = True
    grey = np.where(mask, 60, 160)
    cut, whole = measure(frame(grey), mask), np.ones((60, 60), bool)
    # a straight step under a Gaussian of 1 pixel; interpolation takes a tenth
    assert cut["edge_gradient"] == pytest.approx(100 / 255 / math.sqrt(2 * math.pi), rel=0.1)
    told = measure(frame(grey), whole)
    assert not {"edge_gradient", "margin_sharpness", "grey_against_ring"} & set(told)


@pytest.mark.parametrize(
    ("bump", "waves", "stretch"), [(0.05, 8, 1), (0.05, 5, 1), (0.02, 16, 1), (0.05, 8, 2)]
)
def test_roughness_is_the_root_mean_square_of_the_waves(bump, waves, stretch) -> None:
    mask = star(bump, waves, stretch=stretch)
    assert measure(dark(mask), mask)["roughness"] == pytest.approx(bump / math.sqrt(2), rel=0.1)


def test_an_outline_of_few_pixels_has_no_roughness() -> None:
    """16 waves of 4 pixels are the outline of a disc of 20 pixels across."""
    small, large = (ellipse((60, 60), (30, 30), (width, width)) for width in (16, 26))
    assert "roughness" not in measure(dark(small), small)
    assert "roughness" in measure(dark(large), large)


def test_roughness_runs_either_way_round() -> None:
    mask = star(0.05, 5)
    outline = outline_of(mask)
    assert edge.roughness(mask, outline[::-1]) == pytest.approx(edge.roughness(mask, outline))


# what cannot be measured


@pytest.mark.parametrize("pixels", [0, 1, MIN_PIXELS - 1])
def test_a_speck_is_not_measured(pixels) -> None:
    mask = np.zeros((40, 40), bool)
    mask[5, 5 : 5 + pixels] = True
    assert measure(dark(mask), mask) is None


def test_lines_and_corners_are_measured() -> None:
    for rows, columns in ((1, 20), (20, 1), (4, 5)):
        mask = np.zeros((30, 30), bool)
        mask[:rows, :columns] = True
        assert measure(dark(mask), mask)["extent"] == 1
    assert measure(dark(np.eye(30) > 0), np.eye(30) > 0)["axis_ratio"] < 0.1


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.0))
@settings(max_examples=40, deadline=None)
def test_any_mask_gives_finite_numbers_or_none(seed, share) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((12, 14)) < share
    told = measure(rng.integers(0, 256, (12, 14, 3)).astype(np.uint8), mask, (0.1, 0.2))
    assert told is None or (set(told) <= NAMES and all(map(math.isfinite, told.values())))


def test_every_feature_is_told_of_a_common_node() -> None:
    mask = ellipse((200, 200), (100, 100), (80, 50))
    grey = np.random.default_rng(0).integers(0, 256, mask.shape)
    assert list(measure(frame(grey), mask, (0.1, 0.1))) == [feature.name for feature in FEATURES]


def test_nodes_of_an_image_by_size_without_specks() -> None:
    small, large = ellipse((100, 200), (40, 50), (20, 20)), ellipse((100, 200), (120, 50), (60, 60))
    mask = small | large
    mask[5, 5:15] = True
    told = of_image(dark(mask), mask, (1.0, 1.0))
    assert [one["area_mm2"] for one in told] == [large.sum(), small.sum()]
    assert measure(dark(mask), mask, (1.0, 1.0)) == told[0]


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(TrainingError, match="take the mask of this image"):
        measure(np.zeros((10, 12, 3), np.uint8), np.ones((12, 10), bool))


# what the features go with


def nodes(values, labels, scores=None, name="extent") -> list[Node]:
    scores = scores or [None] * len(values)
    return [
        Node(f"p{number}", label, score, {name: value})
        for number, (value, label, score) in enumerate(zip(values, labels, scores, strict=True))
    ]


def about(rows, name="extent"):
    return next(one for one in associate(rows) if one.feature == name)


def test_auroc_tells_which_class_has_more() -> None:
    up = about(nodes([1, 2, 3, 4, 5, 6], [0, 0, 1, 0, 1, 1])).label
    down = about(nodes([6, 5, 4, 3, 2, 1], [0, 0, 1, 0, 1, 1])).label
    assert (up.value, down.value) == (pytest.approx(8 / 9), pytest.approx(1 / 9))
    assert up.ci95[0] < up.value <= up.ci95[1]
    # 2 of the 20 ways to choose three of six have a rank sum as extreme on either side
    assert (up.p, down.p) == (pytest.approx(4 / 20), pytest.approx(4 / 20))


def test_rho_and_its_interval_by_hand() -> None:
    """Ranks that differ by 1, 1, 1, 1, 0: rho = 1 - 6 * 4 / (5 * 24)."""
    found = about(nodes([1, 2, 3, 4, 5], [None] * 5, [0.2, 0.1, 0.4, 0.3, 0.5])).score
    assert found.value == pytest.approx(0.8)
    half = 1.959964 * math.sqrt((1 + 0.32) / 2)
    assert found.ci95 == pytest.approx(
        (math.tanh(math.atanh(0.8) - half), math.tanh(math.atanh(0.8) + half))
    )
    falling = about(nodes([5, 4, 3, 2, 1], [None] * 5, [0.2, 0.1, 0.4, 0.3, 0.5])).score
    assert falling.value == pytest.approx(-0.8)


def test_interval_of_rho_holds_what_it_promises() -> None:
    """Normal pairs of correlation 0.6 have a rho of 6 / pi * asin(0.3)."""
    rng, true = np.random.default_rng(0), 6 / math.pi * math.asin(0.3)
    held = 0
    for _ in range(200):
        x = rng.normal(size=40)
        y = 0.6 * x + 0.8 * rng.normal(size=40)
        low, high = about(nodes(x.tolist(), [None] * 40, y.tolist())).score.ci95
        held += low <= true <= high
    assert 0.90 <= held / 200 <= 0.99


def test_the_patient_is_the_unit() -> None:
    """Nodes are averaged; one positive node makes the patient positive; blanks are passed over."""
    rows = [
        Node("a", 0, 0.2, {"extent": 1.0}),
        Node("a", 1, 0.6, {"extent": 3.0}),
        Node("a", None, None, {"solidity": 1.0}),
        *nodes([1.5, 1.9, 2.1, 2.2], [0, 0, 0, 1], [0.1, 0.2, 0.5, 0.3]),
    ]
    found = about(rows)
    assert (found.label.n, found.score.n) == (5, 5)
    # a stands at 2.0 with 1, before 2.1 with 0; by its greatest node it would stand behind it
    assert found.label.value == pytest.approx((2 + 3) / 6)
    # a's score is 0.4: ranks 1 2 3 4 5 of the feature against 1 2 4 5 3
    assert found.score.value == pytest.approx(1 - 6 * (1 + 1 + 4) / 120)


def test_p_are_adjusted_over_the_features_that_were_tested() -> None:
    rng = np.random.default_rng(1)
    names = [feature.name for feature in FEATURES[:-2]]  # two that no node has
    labels = [0, 1] * 15
    shift = dict(zip(names, np.linspace(0, 2, len(names)), strict=True))
    rows = [
        Node(
            f"p{n}",
            label,
            float(rng.random()),
            {name: rng.normal() + label * shift[name] for name in names},
        )
        for n, label in enumerate(labels)
    ]
    found = associate(rows)
    for kind in ("label", "score"):
        tested = [one for each in found if (one := getattr(each, kind)).p is not None]
        p = [one.p for one in tested]
        assert len(p) == len(names)
        adjusted = [one.p_adjusted for one in tested]
        assert adjusted == pytest.approx(false_discovery_control(p))
        assert adjusted == pytest.approx(_step_up(p))
    one = about(rows, "solidity").label
    values = np.array([row.features["solidity"] for row in rows])
    assert one.p == mannwhitneyu(values[1::2], values[::2]).pvalue


def _step_up(p: list[float]) -> list[float]:
    """Benjamini and Hochberg 1995, written out: the least of p(j) * m / j from the rank on."""
    ordered = sorted(p)
    return [
        min(ordered[j] * len(p) / (j + 1) for j in range(ordered.index(one), len(p))) for one in p
    ]


@pytest.mark.parametrize(
    ("values", "labels", "scores", "kind", "note"),
    [
        ([], [], [], "label", "no labelled patient has it"),
        ([1, 2], [1, 1], None, "label", "all 2 are positive"),
        ([1, 2, 3], [0, 0, 1], None, "label", "two patients of each class"),
        ([1, 2, 3, 4], [0, 0, 1, 1], None, "label", "parted wholly"),
        ([1, 2, 3], [0, 0, 1], [0.1, 0.2, 0.3], "score", "fewer than 4"),
        ([1, 1, 1, 1], [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], "score", "all are equal"),
        ([1, 2, 3, 4], [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], "score", "agree wholly"),
    ],
)
def test_what_cannot_be_told_says_why(values, labels, scores, kind, note) -> None:
    found = getattr(about(nodes(values, labels, scores)), kind)
    assert found.ci95 is None
    assert note in found.note


# the report


def test_table_says_whose_masks_were_measured() -> None:
    rows = nodes([1, 2, 3, 4, 5], [0, 0, 1, 0, 1], [0.2, 0.1, 0.4, 0.3, 0.5])
    told = plain(report(rows))
    assert told["masks"]["drawn"] == {"n_nodes": 5, "negative_positive": [3, 2]}
    html = table(told)
    assert "5 on masks as drawn (3 patients negative, 2 positive)" in html
    assert "0.833 (" in html
    assert "– (no labelled patient has it)" in html
    assert "mixed" not in html
    mixed = table(report([*rows, Node("q", 1, None, {"extent": 1.0}, drawn=False)]))
    assert "1 on masks as the bundle found them (0 patients negative, 1 positive)" in mixed
    assert "5 on masks as drawn (3 patients negative, 2 positive)" in mixed
    assert "are mixed" in mixed


def test_table_shows_the_adjusted_p() -> None:
    rows = [
        Node(f"p{n}", n % 2, None, {"extent": n % 2 + n / 100, "solidity": (n * 7 % 12) / 12})
        for n in range(12)
    ]
    found = {one.feature: one.label for one in associate(rows)}
    assert found["extent"].p != found["extent"].p_adjusted
    assert f"<td>{found['extent'].p_adjusted:.3f}</td>" in table(report(rows))


def test_table_of_nothing() -> None:
    assert "No node was large enough" in table(plain(report([])))


# real images


def test_lesions_of_busi(test_data: Path) -> None:
    """Masks of malignant lesions are less convex and rougher than those of benign ones."""
    folder = test_data / "busi"
    with (folder / "index.csv").open(newline="") as file:
        kinds = [entry["class"] for entry in csv.DictReader(file)]
    rows = [r for r, kind in zip(read_index(folder), kinds, strict=True) if kind != "normal"]
    chosen = [r for label in (0, 1) for r in [r for r in rows if r.label == label][::20][:8]]
    measured = [(r, measure(PICTURES.image(r.image, r.frame), PICTURES.mask_of(r))) for r in chosen]
    found = [Node(r.patient, r.label, None, told) for r, told in measured if told]
    assert len(found) == 16
    assert about(found, "solidity").label.value < 0.2
    assert about(found, "roughness").label.value > 0.8
