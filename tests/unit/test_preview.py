"""Frames and contours for the console: right ones, from a process that may be lost."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

import sample_dicoms
from daemon.errors import InputError
from daemon.preview import Preview
from dicom_io import results
from dicom_io.frames import Image
from dicom_io.results import ResultSettings
from tests.builders_objects import (
    NOW,
    SourceSpec,
    findings,
    node,
    study,
    uid,
    view,
)

SAMPLES = Path(sample_dicoms.__file__).parent


@pytest.fixture
def preview(tmp_path: Path) -> Iterator[Preview]:
    (tmp_path / "scratch").mkdir()
    preview = Preview(tmp_path / "scratch")
    yield preview
    preview.stop()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Picture.open(io.BytesIO(data)))


@pytest.mark.parametrize(("name", "frame"), [("1-benign-stills-1", 1), ("2-suspicious-cine-1", 7)])
def test_a_frame_is_shown_as_the_model_sees_it(
    preview: Preview, name: str, frame: int, tmp_path: Path
) -> None:
    path = SAMPLES / f"{name}.dcm"
    np.testing.assert_array_equal(
        pixels(preview.frame(path, frame)), Image.open(path).frame(frame - 1)
    )
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_cannot_be_decoded_is_said_and_the_next_is_shown(
    preview: Preview, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="cannot be shown"):
        preview.frame(damaged, 1)
    with pytest.raises(InputError, match="no frame 9"):
        preview.frame(SAMPLES / "1-benign-stills-1.dcm", 9)
    assert pixels(preview.frame(SAMPLES / "1-benign-stills-1.dcm", 1)).shape[2] == 3


def test_a_process_that_was_lost_is_replaced(preview: Preview) -> None:
    path = SAMPLES / "1-benign-stills-1.dcm"
    preview.frame(path, 1)
    pid = preview._child.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it may take a moment to die
    assert preview.frame(path, 1)


def test_contours_are_those_of_the_segmentation(preview: Preview, tmp_path: Path) -> None:
    sets, paths = study(tmp_path / "study", SourceSpec(frames=3))
    (first,) = sets
    nodes = [node(1, view(first, 2)), node(2, view(first, 2, 10, 20), view(first, 3, 10, 20))]
    (seg,) = results.build(findings(sets, nodes), paths, ResultSettings(sr=False), uid, NOW)
    file = tmp_path / "seg.dcm"
    file.write_bytes(seg.data)
    found = preview.contours([file], str(first.SOPInstanceUID), 2)
    assert (found["rows"], found["columns"]) == (first.Rows, first.Columns)
    assert [each["number"] for each in found["nodes"]] == [1, 2]
    for each, (row, column) in zip(found["nodes"], [(3, 4), (10, 20)], strict=True):
        points = np.array(each["points"])
        assert points.min(axis=0) == pytest.approx((column, row), abs=0.6)
        assert points.max(axis=0) == pytest.approx((column + 9, row + 6), abs=0.6)
    assert len(preview.contours([file], str(first.SOPInstanceUID), 3)["nodes"]) == 1
    assert preview.contours([file], str(first.SOPInstanceUID), 1)["nodes"] == []
    assert preview.contours([], "1.2", 1)["nodes"] == []
