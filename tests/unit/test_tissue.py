import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from dicom_io.frames import Image
from dicom_io.regions import b_mode_boxes, regions
from model import tissue
from tests.acceptance.us_dicom_expected import EXPECTED
from tests.builders_frames import us_dicom

RNG_SEED = 20_240_611


def screen(rows: int = 480, columns: int = 640) -> NDArray[np.uint8]:
    """Draw a black screen with text at the left and top, a grey bar and a ruler; no tissue."""
    image = PilImage.new("RGB", (columns, rows))
    draw = ImageDraw.Draw(image)
    for line in range(8):
        draw.text((4, 10 + 14 * line), f"Gn {line} 60 dB", fill=(230, 230, 230))
    draw.text((columns // 2, 4), "HOSPITAL  MI 1.1  TIS 0.2", fill=(230, 230, 230))
    draw.rectangle((columns - 20, 40, columns - 10, 140), fill=(180, 180, 180))
    for tick in range(20, rows, 20):
        draw.line((columns - 5, tick, columns, tick), fill=(255, 255, 255))
    return np.array(image)


def speckle(height: int, width: int, seed: int = RNG_SEED) -> NDArray[np.uint8]:
    """Grey Rayleigh noise, (height, width, 3), darker with depth."""
    noise = np.random.default_rng(seed).rayleigh(40, (height, width))
    noise *= np.linspace(1.6, 0.6, height)[:, None]
    return np.repeat(np.clip(noise, 8, 255).astype(np.uint8)[..., None], 3, axis=2)


def near(found: tuple[tuple[int, ...], ...], expected: list[tuple[int, ...]], within: int) -> bool:
    return len(found) == len(expected) and bool(
        np.abs(np.array(found) - np.array(expected)).max() <= within
    )


def test_a_rectangle_of_tissue_is_found_without_text_and_bars():
    frame = screen()
    frame[60:420, 140:560] = speckle(360, 420)
    assert near(tissue.tissue_boxes(frame), [(140, 60, 560, 420)], within=12)


def test_a_fan_is_found():
    frame = screen()
    y, x = np.mgrid[:480, :640]
    radius = np.hypot(x - 320, y + 40)
    fan = (radius > 90) & (radius < 460) & (np.abs(x - 320) < 0.6 * (y + 40))
    frame[fan] = speckle(480, 640)[fan]
    columns, rows = fan.any(axis=0).nonzero()[0], fan.any(axis=1).nonzero()[0]
    expected = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    assert near(tissue.tissue_boxes(frame), [expected], within=40)


def test_two_views_side_by_side_are_two_boxes():
    frame = screen()
    frame[80:400, 120:350] = speckle(320, 230)
    frame[80:400, 370:600] = speckle(320, 230, seed=1)
    found = tissue.tissue_boxes(frame)
    assert near(found, [(120, 80, 350, 400), (370, 80, 600, 400)], within=12)


def test_a_dark_band_does_not_cut_a_picture_in_two():
    frame = screen()
    frame[60:420, 140:560] = speckle(360, 420)
    frame[200:260, 140:560] = 0
    assert near(tissue.tissue_boxes(frame), [(140, 60, 560, 420)], within=12)


@pytest.mark.parametrize("frame", [np.zeros((480, 640, 3), np.uint8), screen()])
def test_a_screen_without_tissue_has_no_box(frame: NDArray[np.uint8]):
    assert tissue.tissue_boxes(frame) == ()


def test_an_even_grey_screen_has_no_box():
    assert tissue.tissue_boxes(np.full((30, 40, 3), 90, np.uint8)) == ()


@pytest.mark.parametrize("name", sorted(n for n, e in EXPECTED.items() if e.decodes))
def test_real_files_show_as_many_pictures_as_expected(name: str):
    image = Image.open(us_dicom() / name)
    frame = image.frame(0)
    declared = b_mode_boxes(regions(image.header, image.rows, image.columns))
    boxes = [one.box for one in declared] or tissue.tissue_boxes(frame)
    assert len(boxes) == EXPECTED[name].tissue_boxes
    shares = [tissue.colour_fraction(one, boxes[0]) for one in image.frames()]
    hidden = tuple((at, "colour_overlay") for at, s in enumerate(shares, 1) if s > 0.25)
    assert hidden == EXPECTED[name].excluded_frames


@pytest.mark.parametrize("name", ["nema_US1_RLE.dcm", "nema_US1_J2KI.dcm"])
def test_a_real_screen_is_cut_to_its_tissue(name: str):
    """Read off the picture: the tissue spans columns 14..623 and rows 108..336."""
    found = tissue.tissue_boxes(Image.open(us_dicom() / name).frame(0))
    assert near(found, [(14, 108, 623, 336)], within=10)


def test_text_of_a_small_screen_is_not_tissue():
    """Read off the picture: tissue spans columns 7..312, rows 54..168; text fills rows 12..51."""
    image = Image.open(us_dicom() / "pydicom_examples_rgb_color.dcm")
    assert near(tissue.tissue_boxes(image.frame(0)), [(7, 54, 312, 168)], within=16)


def test_panels_that_touch_are_parted_at_the_seam():
    """Read off the picture: ALOKA's panels meet at column 336, as its regions declare."""
    found = tissue.tissue_boxes(Image.open(us_dicom() / "aloka_implLE_segpalette16.dcm").frame(0))
    assert len(found) == 2
    assert abs(found[0][2] - 336) <= 8


def test_trim_cuts_the_text_off_a_region_that_is_the_whole_screen():
    frame = screen()
    frame[60:420, 140:560] = speckle(360, 420)
    x0, y0, x1, y1 = tissue.trim(frame, (0, 20, 640, 470))
    assert (y0, y1) == (20, 470)
    assert abs(x0 - 140) <= 20
    assert abs(x1 - 560) <= 20


def test_trim_leaves_a_region_that_shows_little():
    frame = screen()
    frame[60:120, 300:380] = speckle(60, 80)
    assert tissue.trim(frame, (120, 20, 620, 470)) == (120, 20, 620, 470)


def coloured(colour: tuple[int, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    frame = speckle(200, 300)
    hidden = np.zeros((200, 300), bool)
    hidden[60:120, 100:180] = True
    frame[hidden] = colour
    return frame, hidden


@pytest.mark.parametrize(
    "colour",
    [(200, 30, 20), (30, 40, 200), (230, 120, 0), (250, 240, 40), (0, 230, 40), (70, 0, 0)],
)
def test_drawn_colours_are_overlay(colour: tuple[int, int, int]):
    frame, hidden = coloured(colour)
    assert np.array_equal(tissue.colour_overlay(frame), hidden)
    assert tissue.colour_fraction(frame, (100, 60, 180, 120)) == 1.0
    assert tissue.colour_fraction(frame) == pytest.approx(hidden.mean())


@pytest.mark.parametrize("tint", [(1.0, 0.85, 0.55), (0.65, 0.8, 1.0)])
def test_a_tint_of_the_whole_picture_is_no_overlay(tint: tuple[float, float, float]):
    frame, hidden = coloured((20, 40, 230))
    tinted = (speckle(200, 300) * np.array(tint)).astype(np.uint8)
    tinted[hidden] = frame[hidden]
    found = tissue.colour_overlay(tinted)
    assert found[~hidden].mean() < 0.01
    assert found[hidden].mean() > 0.9


def test_chroma_noise_of_jpeg_is_no_overlay():
    frame = speckle(200, 300).astype(int)
    noise = np.random.default_rng(1).integers(-10, 11, frame.shape)
    assert not tissue.colour_overlay(np.clip(frame + noise, 0, 255).astype(np.uint8)).any()


def test_overlay_is_filled_from_the_grey_around_it():
    ramp = np.repeat(np.linspace(60, 180, 300)[None], 201, axis=0)
    frame = np.repeat(np.rint(ramp)[..., None], 3, axis=2).astype(np.uint8)
    frame[70:130, 100:160] = (250, 140, 0)
    grey = tissue.grey_without_overlay(frame)
    assert (grey.shape, grey.dtype) == ((201, 300), np.uint8)
    assert int(np.abs(grey[70:130, 100:160] - ramp[70:130, 100:160]).max()) < 25
    assert np.array_equal(grey[:60], np.rint(ramp[:60]).astype(np.uint8))


def test_the_blurred_edge_of_an_overlay_is_filled_too():
    frame = np.full((60, 80, 3), 100, np.uint8)
    frame[20:40, 20:40] = (250, 140, 0)
    frame[19, 20:40] = (112, 102, 92)  # a smoothed edge, too pale to count as colour
    frame[19, 20:40, 0] += 8
    grey = tissue.grey_without_overlay(frame)
    assert int(np.abs(grey[15:45, 15:45].astype(int) - 100).max()) == 0


def test_without_overlay_it_is_plain_luma():
    frame = speckle(50, 60)
    frame[..., 0] += 2
    assert np.array_equal(tissue.grey_without_overlay(frame), tissue.luma(frame))


def test_a_frame_all_in_colour_gives_black_and_no_error():
    frame = np.full((9, 7, 3), (250, 0, 0), np.uint8)
    assert int(tissue.grey_without_overlay(frame).max()) == 0
