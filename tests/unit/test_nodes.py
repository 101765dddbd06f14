import numpy as np

from model.nodes import Rules, components, territories
from tests.builders_net import ellipse

RULES = Rules(threshold=0.5, min_fraction=0.005, min_peak=0.7)


def _map(*masks, level: float = 0.9):
    return np.maximum.reduce([m.astype(np.float32) * level for m in masks])


def test_components_largest_first_in_source_pixels() -> None:
    big, small = ellipse((100, 100), (30, 30), (40, 30)), ellipse((100, 100), (75, 80), (16, 12))
    found = components(_map(small, big), (1000, 2000), RULES)
    assert [int(big.sum()), int(small.sum())] == [node.area_px for node in found]
    rows, columns = np.nonzero(big)
    assert (1000 + rows.min(), 2000 + columns.min()) == (found[0].row, found[0].column)
    assert (
        found[0].mask == big[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    ).all()


def test_holes_are_filled() -> None:
    whole = ellipse((100, 100), (50, 50), (40, 40))
    hole = ellipse((100, 100), (50, 50), (12, 12))
    assert components(_map(whole & ~hole), rules=RULES)[0].area_px == whole.sum()


def test_a_hole_does_not_swallow_a_neighbour() -> None:
    """A node inside of another's bounding box stays its own."""
    arc = ellipse((100, 100), (50, 50), (90, 90)) & ~ellipse((100, 100), (50, 70), (80, 90))
    inside = ellipse((100, 100), (50, 80), (20, 20))
    assert len(components(_map(arc, inside), rules=RULES)) == 2


def test_a_peak_is_the_components_own() -> None:
    """A clear node within a doubtful ring does not vouch for it."""
    ring = ellipse((100, 100), (50, 50), (90, 90)) & ~ellipse((100, 100), (50, 50), (70, 70))
    inside = ellipse((100, 100), (50, 50), (20, 20))
    probability = np.maximum(_map(ring, level=0.6), _map(inside, level=0.9))
    (found,) = components(probability, rules=RULES)
    assert (found.area_px, found.peak) == (inside.sum(), np.float32(0.9))


def test_specks_and_doubtful_components_are_dropped() -> None:
    speck = ellipse((100, 100), (20, 20), (6, 6))
    assert components(_map(speck), rules=RULES) == []
    doubtful = ellipse((100, 100), (50, 50), (40, 40))
    assert components(_map(doubtful, level=0.6), rules=RULES) == []
    assert len(components(_map(doubtful, level=0.71), rules=RULES)) == 1


def test_an_empty_map_has_no_nodes() -> None:
    assert components(np.zeros((20, 20), np.float32)) == []


def test_territories_are_disjoint_and_hold_their_component() -> None:
    left, right = ellipse((60, 60), (20, 30), (18, 20)), ellipse((60, 60), (42, 30), (18, 20))
    parts = territories([left, right])
    assert not (parts[0] & parts[1]).any()
    assert (parts[0] >= left).all()
    assert (parts[1] >= right).all()
    assert parts[0].sum() > left.sum(), "the soft margin belongs to its node"


def test_territories_of_empty_masks_are_empty() -> None:
    assert not territories([np.zeros((8, 8), bool), np.zeros((8, 8), bool)]).any()
