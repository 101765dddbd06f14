import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.preprocess import DEFAULT, Placement, Spec, normalise, prepare, prepare_grey
from tests.builders_net import ellipse

RESIZES = st.sampled_from(["stretch", "letterbox"])


def _placement(crop: tuple[int, int], resize: str, origin: tuple[int, int] = (0, 0)) -> Placement:
    frame = np.zeros((origin[1] + crop[1], origin[0] + crop[0], 3), np.uint8)
    box = (*origin, origin[0] + crop[0], origin[1] + crop[1])
    spec = dataclasses.replace(DEFAULT, resize=resize)
    return prepare_grey(frame, box, spec)[1]


@settings(max_examples=40, deadline=None)
@given(
    crop=st.tuples(st.integers(40, 700), st.integers(40, 600)),
    origin=st.tuples(st.integers(0, 90), st.integers(0, 90)),
    resize=RESIZES,
    point=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_points_map_there_and_back_exactly(crop, origin, resize, point) -> None:
    placement = _placement(crop, resize, origin)
    x, y = origin[0] + point[0] * crop[0], origin[1] + point[1] * crop[1]
    there = placement.to_target(x, y)
    assert placement.to_source(*there) == pytest.approx((x, y), abs=1e-9)
    x0, y0, x1, y1 = placement.target
    assert x0 - 1e-9 <= there[0] <= x1 + 1e-9
    assert y0 - 1e-9 <= there[1] <= y1 + 1e-9


@settings(max_examples=40, deadline=None)
@given(crop=st.tuples(st.integers(40, 700), st.integers(40, 600)), resize=RESIZES)
def test_the_crop_s_corners_are_the_target_s_corners(crop, resize) -> None:
    placement = _placement(crop, resize, (7, 11))
    x0, y0, x1, y1 = placement.source
    assert placement.to_target(x0, y0) == placement.target[:2]
    assert placement.to_target(x1, y1) == placement.target[2:]


@settings(max_examples=40, deadline=None)
@given(
    crop=st.tuples(st.integers(200, 700), st.integers(160, 600)),
    centre=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
    axes=st.tuples(st.floats(0.15, 0.5), st.floats(0.15, 0.5)),
    resize=RESIZES,
)
def test_a_mask_survives_the_round_trip(crop, centre, axes, resize) -> None:
    """Out of place by one network pixel all around is the most that interpolation may do."""
    width, height = crop
    middle = (centre[0] * width, centre[1] * height)
    size = (axes[0] * width, axes[1] * height)
    mask = ellipse((height, width), middle, size)
    placement = _placement(crop, resize)
    there = placement.mask_to_target(mask).astype(np.float32)
    back = placement.map_to_source(there) >= 0.5
    x0, y0, x1, y1 = placement.target
    step = max(width / (x1 - x0), height / (y1 - y0), 1.0)
    inner = ellipse((height, width), middle, (size[0] - 2 * step, size[1] - 2 * step))
    outer = ellipse((height, width), middle, (size[0] + 2 * step, size[1] + 2 * step))
    assert not (inner & ~back).any()
    assert not (back & ~outer).any()


def test_a_shifted_map_would_be_noticed() -> None:
    """The round trip is centred: the centre of mass moves by less than a tenth of a pixel."""
    mask = ellipse((300, 500), (251.0, 143.0), (120, 90))
    placement = _placement((500, 300), "stretch")
    back = placement.map_to_source(placement.mask_to_target(mask).astype(np.float32)) >= 0.5
    moved = np.argwhere(back).mean(axis=0) - np.argwhere(mask).mean(axis=0)
    assert np.abs(moved).max() < 0.1


def test_shape_type_and_normalisation() -> None:
    frame = np.full((100, 200, 3), 128, np.uint8)
    prepared = prepare(frame, (10, 20, 150, 90))
    assert ((1, 256, 320), np.float32) == (prepared.tensor.shape, prepared.tensor.dtype)
    assert prepared.tensor == pytest.approx((128 / 255 - DEFAULT.mean) / DEFAULT.std, abs=1e-5)


def test_letterbox_keeps_the_shape_and_fills_with_black() -> None:
    spec = Spec(resize="letterbox")
    prepared = prepare(np.full((100, 400, 3), 200, np.uint8), None, spec)
    assert prepared.placement.target == (0, 88, 320, 168)
    black = normalise(np.zeros((1, 1), np.uint8), spec)[0, 0, 0]
    assert (prepared.tensor[0, :88] == black).all()


def test_shrinking_does_not_alias() -> None:
    """A one-pixel checkerboard averages to grey instead of turning into stripes."""
    board = (np.indices((1024, 1280)).sum(axis=0) % 2 * 255).astype(np.uint8)
    grey, _ = prepare_grey(np.repeat(board[..., None], 3, axis=2))
    assert np.ptp(grey[2:-2, 2:-2].astype(int)) < 8


def test_region_is_clamped_and_one_outside_is_refused() -> None:
    frame = np.zeros((50, 60, 3), np.uint8)
    assert prepare(frame, (-5, 10, 90, 40)).placement.source == (0, 10, 60, 40)
    with pytest.raises(ValueError, match="outside"):
        prepare(frame, (60, 0, 80, 50))
