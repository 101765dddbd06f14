import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from dicom_io.findings import Calibration
from dicom_io.frames import read_header
from dicom_io.regions import Region, b_mode_boxes, calibration, regions
from tests.acceptance.us_dicom_expected import EXPECTED
from tests.builders_frames import us_dicom


def region(box: tuple[int, int, int, int], **attributes: object) -> Dataset:
    """Declare a region; `box` holds the first and the last pixel, as in the attributes."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = box[0], box[1]
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box[2], box[3]
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = 0.01, 0.02
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def found(*items: Dataset, rows: int = 480, columns: int = 640) -> tuple[Region, ...]:
    ds = Dataset()
    ds.SequenceOfUltrasoundRegions = Sequence(items)
    return regions(ds, rows, columns)


def test_a_tissue_region_has_box_and_anisotropic_spacing():
    expected = Region((10, 20, 110, 220), "tissue", Calibration(0.2, 0.1), clamped=False)
    assert found(region((10, 20, 109, 219))) == (expected,)


def test_negative_deltas_are_lengths():
    (only,) = found(region((10, 20, 109, 219), PhysicalDeltaX=-0.01, PhysicalDeltaY=-0.02))
    assert only.calibration == Calibration(0.2, 0.1)


@pytest.mark.parametrize(
    ("box", "expected", "trusted"),
    [
        ((0, 0, 639, 479), (0, 0, 640, 480), True),
        ((0, 0, 640, 480), (0, 0, 640, 480), True),  # a size instead of the last pixel
        ((0, 0, 641, 479), (0, 0, 640, 480), False),
        ((84, 31, 1190, 414), (84, 31, 640, 415), False),
        ((0, 0, 639, 900), (0, 0, 640, 480), False),
    ],
)
def test_boxes_are_clamped_and_deltas_beyond_the_image_not_trusted(
    box: tuple[int, int, int, int], expected: tuple[int, int, int, int], trusted: bool
):
    (only,) = found(region(box))
    assert only.box == expected
    assert (only.calibration is not None, only.clamped) == (trusted, not trusted)


@pytest.mark.parametrize(
    "box", [(10, 10, 10, 10), (50, 10, 20, 60), (700, 10, 800, 60), (10, 10, 14, 400)]
)
def test_degenerate_boxes_are_ignored(box: tuple[int, int, int, int]):
    assert found(region(box)) == ()


def test_an_item_without_a_box_is_ignored():
    item = region((0, 0, 99, 99))
    del item.RegionLocationMaxX1
    assert found(item) == ()


@pytest.mark.parametrize(
    ("spatial", "data", "kind"),
    [
        (1, 1, "tissue"),
        (1, 2, "colour"),
        (2, 1, "other"),
        (3, 3, "other"),
        (4, 10, "other"),
        (0, 0, "other"),
        (1, 13, "other"),
    ],
)
def test_kinds(spatial: int, data: int, kind: str):
    (only,) = found(region((0, 0, 99, 99), RegionSpatialFormat=spatial, RegionDataType=data))
    assert only.kind == kind


@pytest.mark.parametrize(
    "attributes",
    [
        {"PhysicalUnitsXDirection": 4},
        {"PhysicalDeltaX": 0.0},
        {"PhysicalDeltaX": 1e9},
        {"PhysicalDeltaX": 0.5, "PhysicalDeltaY": 0.0005},
    ],
)
def test_spacing_that_is_no_length_is_none(attributes: dict[str, object]):
    (only,) = found(region((0, 0, 99, 99), **attributes))
    assert only.calibration is None


def test_no_sequence_declares_nothing():
    assert regions(Dataset(), 480, 640) == ()


def test_panels_stay_apart_and_a_colour_box_within_is_no_picture():
    left, right = region((0, 0, 319, 400)), region((320, 0, 639, 400))
    colour = region((50, 50, 150, 150), RegionDataType=2)
    boxes = [one.box for one in b_mode_boxes(found(left, right, colour))]
    assert boxes == [(0, 0, 320, 401), (320, 0, 640, 401)]


def test_a_colour_region_without_tissue_is_the_picture():
    (only,) = b_mode_boxes(found(region((50, 50, 350, 350), RegionDataType=2)))
    assert only.kind == "colour"


def test_a_region_declared_twice_is_one_picture():
    twice = region((0, 0, 319, 400)), region((0, 0, 319, 400))
    assert len(b_mode_boxes(found(*twice))) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [(["0.1", "0.2"], Calibration(0.1, 0.2)), (["0", "0"], None), (["0.1"], None), (None, None)],
)
def test_pixel_spacing_is_the_fallback(value: list[str] | None, expected: Calibration | None):
    ds = Dataset()
    if value is not None:
        ds.PixelSpacing = value
    assert calibration(ds) == expected


def test_imager_pixel_spacing_is_not_used():
    ds = Dataset()
    ds.ImagerPixelSpacing = ["0.1", "0.1"]
    assert calibration(ds) is None


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_real_files(name: str):
    ds = read_header(us_dicom() / name)
    boxes = b_mode_boxes(regions(ds, ds.Rows, ds.Columns))
    expected = EXPECTED[name]
    assert any(one.calibration for one in boxes) == expected.calibrated
    assert len(boxes) in (0, expected.tissue_boxes)  # 0: none declared, found in the pixels
