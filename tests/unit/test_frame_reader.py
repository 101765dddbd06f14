"""Frames of a cine through the model: each picture is read once, and few frames are held."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daemon.frame_reader import FrameReader, Reading
from daemon.panels import Panel
from dicom_io.findings import Calibration
from model.measure import MARGIN_REACH_PX
from model.nodes import PredictedNode
from model.preprocess import Prepared, Spec
from tests.builders import tissue
from tests.fakes import disk

SPEC = Spec(width=64, height=64)
BOX = (20, 16, 148, 104)  # of a frame of 160 × 120
PANEL = Panel(BOX, Calibration(0.2, 0.2))


@dataclass
class Cine:
    """Decoded frames that stand in for `dicom_io.frames.Image`; counts those that are held."""

    pictures: Sequence[NDArray[np.uint8]]
    held: int = 0
    most_held: int = 0
    sop_instance_uid: str = "1.2.3.1"

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(self.pictures)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Return a frame of its own, as a decoder does."""
        frame = self.pictures[index].copy()
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        weakref.finalize(frame, self._dropped)
        return frame

    def _dropped(self) -> None:
        self.held -= 1


@dataclass
class Looking:
    """Sees a node whose place and score depend on every pixel of the network's image."""

    asked: list[tuple[int, int, int, int]] = field(default_factory=list)  # boxes
    batches: list[int] = field(default_factory=list)  # their sizes
    together: int = 4

    def predict(self, batch: Sequence[Prepared]) -> list[list[PredictedNode]]:
        """Answer by what is shown."""
        self.batches.append(len(batch))
        self.asked += [prepared.placement.source for prepared in batch]
        return [[_node(prepared)] for prepared in batch]


def _node(prepared: Prepared) -> PredictedNode:
    x0, y0, _, _ = prepared.placement.source
    seen = int(np.abs(prepared.tensor).astype(np.float64).sum() * 1e6)
    return disk(y0 + 10 + seen % 40, x0 + 10 + seen % 37, score=seen % 97 / 97)


@dataclass
class Spotting:
    """Sees a node exactly where a picture has a spot of full white."""

    asked: int = 0
    together: int = 4

    def predict(self, batch: Sequence[Prepared]) -> list[list[PredictedNode]]:
        """Answer by what is shown."""
        self.asked += len(batch)
        white = (1 - SPEC.mean) / SPEC.std
        return [[disk(40, 60)] if p.tensor.max() > 0.95 * white else [] for p in batch]


def read(image: Cine, predictor: Looking | Spotting, panels: Sequence[Panel] = (PANEL,)) -> Reading:
    """Read all frames."""
    return read_some(image, range(image.frame_count), predictor, panels)


def read_some(
    image: Cine,
    indices: Sequence[int],
    predictor: Looking | Spotting,
    panels: Sequence[Panel],
) -> Reading:
    """Read some frames of one image."""
    reader = FrameReader(predictor, SPEC)
    shown = reader.read(image, indices, panels)  # type: ignore[arg-type]
    reader.finish()
    return shown()


def told(reading: Reading) -> list[object]:
    """Return all that is said of the frames, masks and contours as bytes."""
    return [
        (panel, s.frame_number, s.row, s.column, s.node.score, s.mask.tobytes(), *_numbers(s.shape))
        for panel, frames in enumerate(reading.seen)
        for seen in frames
        for s in seen
    ]


def _numbers(shape: object) -> list[object]:
    return [v.tobytes() if isinstance(v, np.ndarray) else v for v in vars(shape).values()]


def asked_each_time(image: Cine, panels: Sequence[Panel] = (PANEL,)) -> list[object]:
    """Return what is said when every frame is read by itself."""
    alone = [read_some(image, [n], Looking(), panels) for n in range(image.frame_count)]
    return sorted(item for reading in alone for item in told(reading))  # type: ignore[type-var]


def ticking(picture: NDArray[np.uint8], count: int) -> list[NDArray[np.uint8]]:
    """Return a picture again and again, with a clock in the caption that runs."""
    frames = [picture.copy() for _ in range(count)]
    for number, frame in enumerate(frames):
        frame[1:6, 2 : 6 + 3 * number] = 250
    return frames


def test_a_frozen_cine_is_asked_about_once_though_its_clock_runs() -> None:
    image, model = Cine(ticking(tissue()[0], 20)), Looking()
    reading = read(image, model)
    assert model.asked == [BOX]
    assert reading.frames == list(range(1, 21))
    assert [s.frame_number for (s,) in reading.seen[0]] == reading.frames
    assert sorted(told(reading)) == asked_each_time(image)  # type: ignore[type-var]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=24))
def test_repeats_anywhere_say_what_asking_each_time_says(order: list[int]) -> None:
    pictures = tissue(4)
    image, model = Cine([pictures[n] for n in order]), Looking()
    reading = read(image, model)
    assert len(model.asked) == len(set(order))
    assert reading.frames == list(range(1, len(order) + 1))
    assert sorted(told(reading)) == asked_each_time(image)  # type: ignore[type-var]


@settings(deadline=None)
@given(st.integers(0, 19), st.integers(0, 19))
def test_a_node_on_one_frame_of_a_frozen_cine_is_never_lost(where: int, other: int) -> None:
    frames = ticking(tissue()[0] // 2, 20)
    for number in {where, other}:
        frames[number][40:60, 60:80] = 255
    model = Spotting()
    reading = read(Cine(frames), model)
    assert {n for n, seen in enumerate(reading.seen[0]) if seen} == {where, other}
    assert model.asked == 2  # with the spot, and without


@settings(deadline=None)
@given(
    x=st.integers(BOX[0] - MARGIN_REACH_PX, BOX[2] + MARGIN_REACH_PX - 1),
    y=st.integers(BOX[1] - MARGIN_REACH_PX, BOX[3] + MARGIN_REACH_PX - 1),
    channel=st.integers(0, 2),
)
def test_one_pixel_in_the_tissue_or_its_margin_makes_another_picture(
    x: int, y: int, channel: int
) -> None:
    changed = tissue()[0]
    changed[y, x, channel] ^= 1
    model = Looking()
    read(Cine([tissue()[0], changed]), model)
    assert len(model.asked) == 2


@pytest.mark.parametrize("place", [(0, 0), (7, 80), (60, 11), (112, 80), (60, 156)])
def test_a_pixel_beyond_the_margin_does_not(place: tuple[int, int]) -> None:
    changed = tissue()[0]
    changed[place] = 255
    model = Looking()
    read(Cine([tissue()[0], changed]), model)
    assert len(model.asked) == 1


def test_the_frozen_panel_of_a_dual_view_is_asked_about_once() -> None:
    """One side frozen while the other is live is how two views are compared."""
    left, right = Panel((0, 10, 70, 110), None), Panel((90, 10, 160, 110), None)
    frames = tissue(6)
    frames[:, :, :80] = frames[0, :, :80]
    image, model = Cine(frames), Looking()
    reading = read(image, model, (left, right))
    assert model.asked.count(left.box) == 1
    assert model.asked.count(right.box) == 6
    assert sorted(told(reading)) == asked_each_time(image, (left, right))  # type: ignore[type-var]


def test_panels_that_show_the_same_are_two() -> None:
    """A node lies where its panel is."""
    left, right = Panel((8, 10, 72, 110), None), Panel((88, 10, 152, 110), None)
    frames = tissue(1)
    frames[:, :, 80:] = frames[:, :, :80]
    image, model = Cine(frames), Looking()
    reading = read(image, model, (left, right))
    ((first,),), ((second,),) = reading.seen
    assert (first.column + 80, first.row) == (second.column, second.row)


def test_a_frozen_picture_in_colour_is_left_out_on_every_frame() -> None:
    picture = tissue()[0]
    picture[20:100, 30:140] = (220, 40, 20)
    model = Looking()
    reading = read(Cine(ticking(picture, 5)), model)
    assert [exclusion.frame_number for exclusion in reading.exclusions] == [1, 2, 3, 4, 5]
    assert (reading.frames, model.asked) == ([], [])


@pytest.mark.parametrize("count", [40, 120])
def test_no_more_frames_are_held_than_are_predicted_together(count: int) -> None:
    image = Cine(tissue(count))
    read(image, Looking())
    assert image.most_held == 4  # one batch
    assert image.held == 0


def test_of_a_frozen_cine_few_frames_are_held() -> None:
    image = Cine(ticking(tissue()[0], 40))
    read(image, Looking())
    assert image.most_held <= 3  # the first waits for the model; one goes while the next comes


@pytest.mark.parametrize(("together", "batches"), [(4, [4, 3]), (3, [3, 3, 1]), (16, [7])])
def test_frames_of_several_images_share_a_batch(together: int, batches: list[int]) -> None:
    pictures = tissue(7)
    images = [Cine(pictures[:1]), Cine(pictures[1:4]), Cine(pictures[4:])]
    model = Looking(together=together)
    reader = FrameReader(model, SPEC)
    shown = [
        reader.read(image, range(image.frame_count), (PANEL,))  # type: ignore[arg-type]
        for image in images
    ]
    reader.finish()
    assert model.batches == batches
    for image, reading in zip(images, shown, strict=True):
        assert sorted(told(reading())) == asked_each_time(image)  # type: ignore[type-var]
