"""Follow nodes through the frames of one cine; stills share no geometry and are never linked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

MAX_MISSED_FRAMES = 2  # a node may be unseen on this many analysed frames and still be the same
_REACH = 1.5  # diameters that a node may move between two analysed frames without overlap
_UNLIKELY = 1e6  # cost of a pair that may not be linked


class Placed(Protocol):
    """What tracking needs of a node: its crop mask and where it lies in the frame."""

    @property
    def row(self) -> int:
        """Top row of the mask in the frame."""

    @property
    def column(self) -> int:
        """Left column of the mask in the frame."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(h, w) bool."""


@dataclass
class _Track:
    last: Placed  # the node where it was last seen
    members: list[tuple[int, int]] = field(default_factory=list)  # frame position, node index


def link(per_frame: Sequence[Sequence[Placed]]) -> list[list[tuple[int, int]]]:
    """Link nodes across frames.

    Parameters
    ----------
    per_frame
        The nodes of each analysed frame, in the order of the cine.

    Returns
    -------
    list
        One list per track: pairs of frame position and index of the node in that frame. Tracks
        are in order of appearance; every node belongs to exactly one.
    """
    tracks: list[_Track] = []
    for position, nodes in enumerate(per_frame):
        open_tracks = [t for t in tracks if position - t.members[-1][0] <= MAX_MISSED_FRAMES + 1]
        matched = _assign(open_tracks, nodes)
        for index, node in enumerate(nodes):
            track = matched.get(index)
            if track is None:
                track = _Track(node)
                tracks.append(track)
            track.last = node
            track.members.append((position, index))
    return [track.members for track in tracks]


def _assign(tracks: Sequence[_Track], nodes: Sequence[Placed]) -> dict[int, _Track]:
    """Cheapest pairing of tracks and nodes (Hungarian), without the impossible pairs."""
    if not tracks or not nodes:
        return {}
    costs = np.array([[_cost(track.last, node) for node in nodes] for track in tracks])
    rows, columns = linear_sum_assignment(costs)
    return {
        int(column): tracks[row]
        for row, column in zip(rows, columns, strict=True)
        if costs[row, column] < _UNLIKELY
    }


def _cost(earlier: Placed, later: Placed) -> float:
    """Below 1 by overlap; above 1 by distance for nodes within reach; else unlikely."""
    overlap = _iou(earlier, later)
    if overlap > 0:
        return 1.0 - overlap
    diameter = 2 * float(np.sqrt(max(earlier.mask.sum(), later.mask.sum()) / np.pi))
    distance = float(np.linalg.norm(_centre(earlier) - _centre(later)))
    return 1.0 + distance / diameter if distance < _REACH * diameter else _UNLIKELY


def _centre(node: Placed) -> NDArray[np.float64]:
    """Row and column of the centre of mass, in the frame."""
    inside = np.argwhere(node.mask).mean(axis=0)
    return np.array([inside[0] + node.row, inside[1] + node.column])


def _iou(a: Placed, b: Placed) -> float:
    """Intersection over union of two crop masks in one frame."""
    top, left = max(a.row, b.row), max(a.column, b.column)
    bottom = min(a.row + a.mask.shape[0], b.row + b.mask.shape[0])
    right = min(a.column + a.mask.shape[1], b.column + b.mask.shape[1])
    if bottom <= top or right <= left:
        return 0.0
    part_a = a.mask[top - a.row : bottom - a.row, left - a.column : right - a.column]
    part_b = b.mask[top - b.row : bottom - b.row, left - b.column : right - b.column]
    shared = int((part_a & part_b).sum())
    return shared / (int(a.mask.sum()) + int(b.mask.sum()) - shared)
