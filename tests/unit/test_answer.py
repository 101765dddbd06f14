"""The analysing process's answer: out as JSON and arrays, back as it was."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon import answer
from daemon.analysis import Analysis, Frame
from daemon.errors import AttemptFailed
from dicom_io.findings import (
    Calibration,
    Exclusion,
    ImageRead,
    Measurements,
    NodeFinding,
    NodeView,
    Reason,
)


def view(frame: int, height: int, width: int) -> NodeView:
    rng = np.random.default_rng(frame)
    contour = rng.uniform(0, 100, (7 + frame, 2))
    return NodeView("1.2.3.1", frame, 10 + frame, 20, rng.random((height, width)) > 0.4, contour)


ANALYSIS = Analysis(
    images=(
        ImageRead("1.2.3.1", (1, 4, 7), Calibration(0.1, 0.2), ("a note",), "R"),
        ImageRead("1.2.3.2", (1,), None),
    ),
    nodes=(
        NodeFinding(
            number=1,
            tracking_uid="2.25.1",
            laterality="R",
            score=0.123456789012345,
            key_view=1,
            views=(view(1, 5, 9), view(4, 8, 8)),
            measurements=Measurements(12.5, 6.25, 61.4, 0.81, 0.37, True),
        ),
        NodeFinding(
            2, "2.25.2", None, 1.0, 0, (view(7, 1, 1),), Measurements(1, 1, 1, 1, 0, False)
        ),
    ),
    exclusions=(
        Exclusion("1.2.3.1", 2, Reason.COLOUR_OVERLAY),
        Exclusion("1.2.3.3", None, Reason.UNDECODABLE),
    ),
    frames=(
        Frame("1.2.3.1", 4, np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)),
        Frame("1.2.3.2", 1, np.full((3, 1, 3), 255, np.uint8)),
    ),
)


def through_json(analysis: Analysis, masks: Path) -> Analysis:
    return answer.load(json.loads(json.dumps(answer.save(analysis, masks))), masks)


def same(a: Any, b: Any) -> bool:
    """Compare records that hold arrays."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)
        )
    return type(a) is type(b) and bool(a == b)


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    assert same(through_json(ANALYSIS, tmp_path / "masks.npz"), ANALYSIS)


def test_an_empty_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    empty = Analysis((), (), ())
    assert through_json(empty, tmp_path / "masks.npz") == empty


def test_masks_are_packed(tmp_path: Path) -> None:
    """One bit a pixel: a cine of large nodes stays small in the scratch folder."""
    large = NodeView("1.2", 1, 0, 0, np.ones((800, 800), np.bool_), np.zeros((4, 2)))
    node = NodeFinding(1, "2.25.1", None, 0.5, 0, (large,), Measurements(1, 1, 1, 1, 0, False))
    path = tmp_path / "masks.npz"
    answer.save(Analysis((), (node,), ()), path)
    assert path.stat().st_size < 800 * 800 / 8 + 2000


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "masks.npz"
    values = answer.save(ANALYSIS, path)
    np.savez(path, **{f"{k}{n}": np.array([object()]) for n in range(3) for k in "mc"})  # type: ignore[arg-type]
    with pytest.raises((ValueError, AttemptFailed)):
        answer.load(values, path)
