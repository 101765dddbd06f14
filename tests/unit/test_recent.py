"""What was decoded last is found again, within a budget."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_io.frames import Image
from dicom_io.recent import RecentFrames
from tests import builders
from tests.builders import Picture

FRAME_BYTES = 2 * 2 * 3


class Decoder:
    """Counts what it decodes."""

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def frame(self, recent: RecentFrames, number: int) -> NDArray[np.uint8]:
        """Ask for a frame that holds its number."""

        def decode() -> NDArray[np.uint8]:
            self.decoded.append(number)
            return np.full((2, 2, 3), number, np.uint8)

        return recent.get(number, decode)


def test_the_oldest_frames_go_when_the_budget_is_spent() -> None:
    recent, decoder = RecentFrames(2 * FRAME_BYTES), Decoder()
    for number in (1, 2, 1, 3, 1, 2):  # 1 is asked for again and again, so it is not the oldest
        assert decoder.frame(recent, number).tolist() == np.full((2, 2, 3), number).tolist()
    assert decoder.decoded == [1, 2, 3, 2]


def test_a_frame_beyond_the_budget_is_not_kept() -> None:
    recent, decoder = RecentFrames(FRAME_BYTES - 1), Decoder()
    for number in (1, 1):
        decoder.frame(recent, number)
    assert decoder.decoded == [1, 1]


def test_nobody_changes_what_another_one_sees() -> None:
    frame = Decoder().frame(RecentFrames(FRAME_BYTES), 1)
    with pytest.raises(ValueError, match="read-only"):
        frame[0, 0, 0] = 9


def test_frames_of_two_files_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """Also where both files hold the same UID."""
    recent = RecentFrames(1 << 20)
    seen = []
    for seed in (1, 2):
        path = builders.write(tmp_path / str(seed), Picture(), builders.tissue(seed=seed))
        seen.append(Image.open(path, recent).frame(0))
    assert not np.array_equal(*seen)
