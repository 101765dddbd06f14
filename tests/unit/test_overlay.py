"""Pictures of what was found."""

import numpy as np

from daemon.overlay import Outline, draw
from dicom_io.node_colour import rgb
from model.measure import outline_of

GREY = np.full((120, 160, 3), 90, np.uint8)
SQUARE = np.array([[40, 30], [80, 30], [80, 70], [40, 70], [40, 30]], np.float64)


def coloured(picture: np.ndarray, number: int) -> np.ndarray:
    """Pixels in a node's colour, (H, W) bool."""
    return np.all(picture == rgb(number), axis=2)


def test_a_contour_is_drawn_where_it_lies() -> None:
    picture = np.asarray(draw(GREY, [Outline(SQUARE, 1, "")]))
    rows, columns = np.nonzero(coloured(picture, 1))
    edges = (rows.min(), rows.max(), columns.min(), columns.max())
    assert np.abs(np.subtract(edges, (30, 70, 40, 80))).max() <= 2  # the line's width
    assert (picture[50, 60] == 90).all()
    assert picture.shape == GREY.shape


def test_nodes_have_colours_of_their_own() -> None:
    outlines = [Outline(SQUARE, 1, ""), Outline(SQUARE + 40, 2, "")]
    picture = np.asarray(draw(GREY, outlines))
    assert coloured(picture, 1).any()
    assert coloured(picture, 2).any()
    assert np.asarray(draw(GREY, [Outline(SQUARE, 7, "")])).tobytes() == (
        np.asarray(draw(GREY, [Outline(SQUARE, 1, "")])).tobytes()
    )


def test_a_footer_stands_below_and_hides_nothing() -> None:
    plain = np.asarray(draw(GREY, []))
    picture = np.asarray(draw(GREY, [], "not for clinical use " * 5))
    assert picture.shape[0] > plain.shape[0] + 20
    assert (picture[:120] == plain).all()
    assert (picture[120:] == 255).all(axis=2).any()


def test_a_caption_at_the_right_edge_stays_inside() -> None:
    at_edge = SQUARE + np.array([78, 0])
    picture = np.asarray(draw(GREY, [Outline(at_edge, 1, "Node 1  12.5 x 6.3 mm")]))
    assert coloured(picture, 1)[:, :100].any()


def test_the_frame_is_not_painted_on() -> None:
    frame = GREY.copy()
    draw(frame, [Outline(SQUARE, 1, "Node 1")], "footer")
    assert (frame == GREY).all()


def test_the_outline_of_a_mask_runs_along_its_edge() -> None:
    """Closed, columns then rows, pixel centres at one half (PS3.3 C.18.6)."""
    mask = np.zeros((50, 60), np.bool_)
    mask[10:30, 5:25] = True
    contour = outline_of(mask)
    assert (contour[0] == contour[-1]).all()
    assert np.abs(contour.min(axis=0) - (5, 10)).max() <= 0.5
    assert np.abs(contour.max(axis=0) - (25, 30)).max() <= 0.5


def test_a_mask_at_the_border_has_an_outline_too() -> None:
    contour = outline_of(np.ones((4, 6), np.bool_))
    assert (contour[0] == contour[-1]).all()
    assert np.abs(contour.max(axis=0) - (6, 4)).max() <= 0.5
