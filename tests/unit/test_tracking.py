from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.tracking import link
from tests.builders_net import ellipse


@dataclass(frozen=True)
class Node:
    """A node as tracking sees it."""

    row: int
    column: int
    mask: NDArray[np.bool_]


def _node(x: int, y: int, size: int = 20) -> Node:
    return Node(y, x, ellipse((size, size), (size / 2, size / 2), (size, size)))


def test_a_drifting_node_is_one_track() -> None:
    assert link([[_node(10 + 4 * k, 50)] for k in range(5)]) == [[(k, 0) for k in range(5)]]


def test_two_nodes_that_swap_their_order_stay_apart() -> None:
    frames = [[_node(10, 10), _node(100, 10)], [_node(102, 10), _node(12, 10)]]
    assert link(frames) == [[(0, 0), (1, 1)], [(0, 1), (1, 0)]]


def test_two_missed_frames_are_bridged_and_three_are_not() -> None:
    seen, unseen = [_node(30, 30)], []
    assert link([seen, unseen, unseen, seen]) == [[(0, 0), (3, 0)]]
    assert link([seen, unseen, unseen, unseen, seen]) == [[(0, 0)], [(4, 0)]]


def test_a_far_node_is_another_one() -> None:
    assert link([[_node(10, 10)], [_node(200, 10)]]) == [[(0, 0)], [(1, 0)]]


def test_a_quick_node_is_followed_without_overlap() -> None:
    """Just beyond its own diameter it is the same node, if nothing fits better."""
    assert link([[_node(10, 10, 12)], [_node(22, 10, 12)]]) == [[(0, 0), (1, 0)]]


def test_overlap_beats_nearness() -> None:
    frames = [[_node(10, 10)], [_node(29, 10), _node(14, 10)]]
    assert link(frames)[0] == [(0, 0), (1, 1)]


def test_every_node_is_in_one_track() -> None:
    rng = np.random.default_rng(3)
    frames = [
        [_node(*(int(v) for v in rng.integers(0, 60, 2))) for _ in range(rng.integers(0, 4))]
        for _ in range(8)
    ]
    members = [pair for track in link(frames) for pair in track]
    expected = [
        (position, index) for position, nodes in enumerate(frames) for index in range(len(nodes))
    ]
    assert sorted(members) == expected
    assert link(frames) == link(frames)


def test_nothing_gives_nothing() -> None:
    assert link([]) == []
    assert link([[], []]) == []
