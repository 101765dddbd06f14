import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import approximate_polygon

from model.measure import MAX_CONTOUR_POINTS, measure, outline_of, significance
from tests.builders_net import ellipse

GREY = np.full((200, 200), 100, np.uint8)


@settings(max_examples=40, deadline=None)
@given(
    axes=st.tuples(st.floats(40, 120), st.floats(20, 39)),
    degrees=st.floats(0, 180),
)
def test_axes_and_area_of_a_known_ellipse(axes, degrees) -> None:
    shape = measure(ellipse((200, 200), (100, 100), axes, degrees), 0, 0, GREY)
    assert shape.long_axis == pytest.approx(axes[0], abs=1.5)
    assert shape.short_axis == pytest.approx(axes[1], abs=1.5)
    assert shape.area == pytest.approx(np.pi / 4 * axes[0] * axes[1], rel=0.03)
    assert not shape.calibrated


def test_anisotropic_spacing_is_respected() -> None:
    """An ellipse that is a circle of 30 mm in the body, drawn with pixels of 0.5 by 0.25 mm."""
    mask = ellipse((200, 200), (100, 100), (120, 60))
    shape = measure(mask, 0, 0, GREY, spacing=(0.5, 0.25))
    assert shape.long_axis == pytest.approx(30, abs=0.7)
    assert shape.short_axis == pytest.approx(30, abs=0.7)
    assert shape.area == pytest.approx(np.pi / 4 * 900, rel=0.02)
    assert shape.circularity > 0.97
    assert shape.calibrated


def test_a_rectangle_is_measured_from_edge_to_edge() -> None:
    shape = measure(np.ones((10, 30), bool), 50, 50, GREY)
    assert shape.long_axis == pytest.approx(np.hypot(29, 10), abs=0.7)
    assert shape.area == 300


def test_circularity_falls_with_irregularity() -> None:
    disk = ellipse((200, 200), (100, 100), (80, 80))
    y, x = np.mgrid[:200, :200] + 0.5
    angle = np.arctan2(y - 100, x - 100)
    star = np.hypot(x - 100, y - 100) < 40 + 12 * np.cos(7 * angle)
    assert measure(disk, 0, 0, GREY).circularity > 0.97
    assert measure(star, 0, 0, GREY).circularity < 0.6


def test_short_axis_is_a_width_and_not_the_bounding_box() -> None:
    """A banana is as wide as its flesh, however far it bends."""
    bent = ellipse((200, 200), (100, 60), (160, 160)) & ~ellipse((200, 200), (100, 45), (170, 160))
    shape = measure(bent, 0, 0, GREY)
    assert shape.short_axis < 0.5 * (np.ptp(np.nonzero(bent)[0]) + 1)


def test_margin_sharpness_is_the_step_of_grey() -> None:
    mask = ellipse((200, 200), (100, 100), (80, 60))
    sharp = np.where(mask, 50, 152).astype(np.uint8)
    assert measure(mask, 0, 0, sharp).margin_sharpness == pytest.approx(0.4, abs=0.03)
    assert measure(mask, 0, 0, GREY).margin_sharpness == pytest.approx(0, abs=1e-9)


def test_contour_is_closed_short_and_in_source_pixels() -> None:
    """PS3.3 C.18.6: the centre of the first pixel is 0.5, 0.5."""
    mask = np.ones((4, 6), bool)
    contour = measure(mask, 10, 20, GREY).contour
    assert (contour[0] == contour[-1]).all()
    assert contour.min(axis=0) == pytest.approx([20, 10])
    assert contour.max(axis=0) == pytest.approx([26, 14])


def test_a_ragged_contour_is_thinned() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:400, :400]
    angle = np.arctan2(y - 200, x - 200)
    radius = 150 + 20 * np.interp(angle, np.linspace(-np.pi, np.pi, 400), rng.random(400))
    grey = np.zeros((400, 400), np.uint8)
    contour = measure(np.hypot(x - 200, y - 200) < radius, 0, 0, grey).contour
    assert 20 < len(contour) <= MAX_CONTOUR_POINTS


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (2, 2)])
def test_the_smallest_masks_can_be_measured(size) -> None:
    shape = measure(np.ones(size, bool), 0, 0, GREY)
    assert shape.area == size[0] * size[1]
    assert 0 < shape.short_axis <= shape.long_axis
    assert len(shape.contour) >= 4


def test_a_node_at_the_frame_s_edge_can_be_measured() -> None:
    shape = measure(ellipse((40, 40), (20, 20), (40, 30)), 160, 160, GREY)
    assert shape.long_axis == pytest.approx(40, abs=1.5)


def test_pixels_that_touch_at_a_corner_are_oneoutline_of() -> None:
    mask = np.zeros((20, 20), bool)
    mask[:10, :10] = mask[10:, 10:] = True
    assert measure(mask, 0, 0, GREY).long_axis == pytest.approx(np.hypot(20, 20), abs=1.5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), coarse=st.floats(0.3, 9), tolerance=st.floats(0.25, 6))
def test_thinning_keeps_the_points_that_douglas_and_peucker_keep(seed, coarse, tolerance) -> None:
    """One pass for every tolerance gives, to the bit, what skimage gives for each."""
    blobs = ndimage.gaussian_filter(np.random.default_rng(seed).random((90, 110)), coarse)
    outline = outline_of(blobs > np.median(blobs)) + np.array([311, 97])
    kept = outline[significance(outline, 0.25) > tolerance]
    assert np.array_equal(kept, approximate_polygon(outline, tolerance))
