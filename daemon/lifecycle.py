"""The state machines of study, analysis and delivery, as tables; every move is an event row.

`python -m daemon.lifecycle` prints the diagrams (Mermaid) that stand in the documentation.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from daemon.errors import IllegalTransition


class StudyState(StrEnum):
    """What a study is doing, as the command and the console show it."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    ANALYSING = "analysing"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    NOT_EVALUABLE = "not_evaluable"
    IGNORED = "ignored"
    PARKED = "parked"


class AnalysisState(StrEnum):
    """What one version of a study's analysis is doing."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    PARKED = "parked"


class DeliveryState(StrEnum):
    """What one object's way to one destination is doing."""

    PENDING = "pending"
    STORED = "stored"  # sent and taken; the destination has not committed to keep it yet
    DELIVERED = "delivered"
    PARKED = "parked"
    REPLACED = "replaced"  # the destination refuses its class, and pictures go in its place
    DROPPED = "dropped"  # given up by a person: its destination is gone


class FileState(StrEnum):
    """Whether the file of an instance or of a result lies on the disk."""

    KEPT = "kept"
    DOOMED = "doomed"  # given up by `daemon.retention`; nothing rests on it any more
    GONE = "gone"  # deleted, or found damaged; an instance that is sent again is kept again
    LOST = "lost"  # a result's file was found missing or damaged before it was sent


_S, _A, _D = StudyState, AnalysisState, DeliveryState
UNREAD = (_S.RECEIVING, _S.QUEUED, _S.ANALYSING)  # its latest version has no results yet
FINISHED = (_S.DELIVERED, _S.NOT_EVALUABLE)  # analysed, and nothing is on its way
UNCONFIRMED = (_D.PENDING, _D.STORED)  # on its way: nobody has said that it has arrived for good
_AFTER_RECEPTION = frozenset({_S.QUEUED, _S.IGNORED, _S.PARKED})
_RESTING = frozenset({_S.DELIVERING, _S.DELIVERED, _S.NOT_EVALUABLE})

STUDY: Mapping[StudyState, frozenset[StudyState]] = {
    # quiet period over; or nothing new had come, and the study returns to where it was
    _S.RECEIVING: _AFTER_RECEPTION | _RESTING,
    _S.QUEUED: frozenset({_S.ANALYSING, _S.PARKED}),
    # a failed attempt goes back to the queue, the last one parks
    _S.ANALYSING: frozenset({_S.QUEUED, _S.PARKED}) | _RESTING,
    # a late instance makes a new version while the old one is still under way
    _S.DELIVERING: frozenset({_S.DELIVERED, _S.NOT_EVALUABLE, _S.PARKED, _S.QUEUED}),
    # a late instance, or `axnode retry` of what was refused and replaced
    _S.DELIVERED: frozenset({_S.RECEIVING, _S.DELIVERING}),
    _S.NOT_EVALUABLE: frozenset({_S.RECEIVING, _S.DELIVERING}),
    _S.IGNORED: frozenset({_S.RECEIVING}),
    # `axnode retry`, or a late instance
    _S.PARKED: frozenset({_S.RECEIVING, _S.QUEUED, _S.DELIVERING}),
}

ANALYSIS: Mapping[AnalysisState, frozenset[AnalysisState]] = {
    _A.QUEUED: frozenset({_A.RUNNING, _A.PARKED}),  # parked by hand
    _A.RUNNING: frozenset({_A.QUEUED, _A.DONE, _A.PARKED}),
    _A.DONE: frozenset(),
    _A.PARKED: frozenset({_A.QUEUED}),
}

DELIVERY: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    _D.PENDING: frozenset({_D.STORED, _D.DELIVERED, _D.PARKED, _D.REPLACED}),
    # what the destination does not commit to is sent again
    _D.STORED: frozenset({_D.DELIVERED, _D.PENDING, _D.PARKED}),
    _D.DELIVERED: frozenset({_D.PENDING}),  # sent again by hand
    _D.PARKED: frozenset({_D.PENDING, _D.DROPPED}),
    # `axnode retry`, once the destination takes what it refused
    _D.REPLACED: frozenset({_D.PENDING, _D.DROPPED}),
    _D.DROPPED: frozenset({_D.PENDING}),  # likewise
}


State = TypeVar("State", bound=StrEnum)


def check_move(table: Mapping[State, frozenset[State]], old: State, new: State) -> None:
    """Raise `IllegalTransition` unless `table` allows the move from `old` to `new`."""
    if new not in table[old]:
        raise IllegalTransition(f"{type(old).__name__}: no move from {old} to {new}")


def diagram(table: Mapping[State, frozenset[State]]) -> str:
    """Draw the table as a Mermaid state diagram."""
    moves = [f"    {old} --> {new}" for old in table for new in sorted(table[old])]
    return "\n".join(["stateDiagram-v2", *moves])


if __name__ == "__main__":
    for drawing in (diagram(STUDY), diagram(ANALYSIS), diagram(DELIVERY)):
        print(f"```mermaid\n{drawing}\n```\n")
