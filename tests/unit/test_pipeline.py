"""From files to what the model saw, with a model that sees what the test says."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from daemon.analysis import Analysis
from daemon.frame_reader import FrameReader
from daemon.pipeline import Recipe, analyse, evenly, look
from dicom_io.findings import Calibration, Exclusion, Reason
from model.preprocess import Spec
from tests import builders
from tests.builders import SECONDARY_CAPTURE, Picture
from tests.builders_frames import JPEG_BASELINE, jpeg, jpeg_dataset
from tests.builders_frames import write as write_encapsulated
from tests.fakes import FakePredictor, disk

RECIPE = Recipe(Spec(width=64, height=64), cine_frames=30, tracking_root="node/1.2.3")
Files = list[tuple[str, Path]]


class Folder:
    """Files of one study."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.inputs: Files = []

    def add(
        self, sop: str = "1.2.3.1", frames: NDArray[np.uint8] | None = None, **changes: object
    ) -> None:
        """Write one more file."""
        path = self._path / f"{len(self.inputs)}.dcm"
        self.inputs.append(
            (sop, builders.write(path, Picture(sop=sop).but(**changes), frames)),
        )

    def read(self, predictor: FakePredictor | None = None, cine_frames: int = 30) -> Analysis:
        """Analyse them."""
        recipe = Recipe(RECIPE.spec, cine_frames, RECIPE.tracking_root)
        return analyse(self.inputs, predictor or FakePredictor(), recipe)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@given(st.integers(1, 2000), st.integers(1, 200))
def test_evenly_spread(count: int, most: int) -> None:
    found = evenly(count, most)
    assert found == sorted(set(found))
    assert len(found) == min(count, most)
    assert found[0] == 0
    if most > 1:
        assert found[-1] == count - 1
        assert len(set(np.diff(found))) <= 2  # steps differ by rounding only


def test_a_still_is_read_and_its_node_measured(folder: Folder) -> None:
    folder.add()
    found = folder.read(FakePredictor(lambda n: [disk(30, 40, 20, 0.7)]))
    (image,) = found.images
    assert (image.sop_instance_uid, image.frame_numbers) == ("1.2.3.1", (1,))
    assert (image.calibration, image.laterality) == (Calibration(0.2, 0.2), "R")
    assert image.notes == ()
    (node,) = found.nodes
    assert (node.number, node.laterality, node.score) == (1, "R", 0.7)
    assert (node.views[0].row, node.views[0].column, node.views[0].frame_number) == (30, 40, 1)
    assert node.measurements.calibrated
    assert node.measurements.long_axis == pytest.approx(4.0, abs=0.3)  # 20 pixels of 0.2 mm
    assert node.measurements.area == pytest.approx(np.pi * 4, rel=0.1)
    assert found.exclusions == ()


def test_without_calibration_sizes_are_pixels(folder: Folder) -> None:
    folder.add(mm=None)
    found = folder.read(FakePredictor(lambda n: [disk(30, 40, 20)]))
    assert found.images[0].calibration is None
    assert not found.nodes[0].measurements.calibrated
    assert found.nodes[0].measurements.long_axis == pytest.approx(20, abs=1.5)


def test_pixel_spacing_serves_where_no_region_is_declared(folder: Folder) -> None:
    folder.add(boxes=(), extra=(("PixelSpacing", [0.3, 0.4]),))
    assert folder.read().images[0].calibration == Calibration(0.3, 0.4)


def test_pixel_spacing_serves_where_the_region_has_no_scale(folder: Folder) -> None:
    folder.add(mm=None, extra=(("PixelSpacing", [0.3, 0.3]),))
    found = folder.read(FakePredictor(lambda n: [disk(30, 40, 20)]))
    assert found.images[0].calibration == Calibration(0.3, 0.3)
    assert found.nodes[0].measurements.long_axis == pytest.approx(6.0, abs=0.45)


def test_panels_of_two_scales_have_no_spacing_in_common(folder: Folder) -> None:
    """Each node is measured by its own panel; a SEG has one spacing for all its pixels."""
    folder.add(boxes=((0, 10, 76, 110), (80, 10, 160, 110)), mm=(0.1, 0.3))
    found = folder.read(FakePredictor(lambda n: [disk(30, (30, 120)[n], 20)]))
    assert found.images[0].calibration is None
    assert [node.measurements.calibrated for node in found.nodes] == [True, True]
    axes = [node.measurements.long_axis for node in found.nodes]
    assert axes == pytest.approx([2.0, 6.0], rel=0.08)


def test_the_model_sees_the_declared_regions(folder: Folder) -> None:
    boxes = ((0, 10, 76, 110), (80, 10, 160, 110))
    folder.add(boxes=boxes)
    predictor = FakePredictor(lambda n: [disk(30, (30, 120)[n])])
    found = folder.read(predictor)
    assert tuple(predictor.regions) == boxes
    assert [node.views[0].column for node in found.nodes] == [30, 120]
    assert [node.number for node in found.nodes] == [1, 2]


def test_a_region_that_reaches_beyond_the_image_is_not_believed(folder: Folder) -> None:
    frame = np.zeros((1, 240, 320, 3), np.uint8)
    frame[:, 40:200, 60:260] = builders.tissue(1, 160, 200)
    folder.add(frames=frame, boxes=((0, 0, 800, 600),))
    predictor = FakePredictor()
    (image,) = folder.read(predictor).images
    assert image.calibration is None
    (box,) = predictor.regions
    assert box != (0, 0, 320, 240)
    assert np.abs(np.subtract(box, (60, 40, 260, 200))).max() <= 24


def test_a_cine_is_followed_and_its_largest_frame_measured(folder: Folder) -> None:
    folder.add(frames=builders.tissue(5))
    sizes, scores = (16, 18, 24, 18, 16), (0.2, 0.3, 0.4, 0.9, 0.1)
    predictor = FakePredictor(lambda n: [disk(30 + n, 40, sizes[n], scores[n])])
    (node,) = folder.read(predictor).nodes
    assert [view.frame_number for view in node.views] == [1, 2, 3, 4, 5]
    assert node.key_view == 2
    assert node.measurements.long_axis == pytest.approx(24 * 0.2, abs=0.3)
    assert node.score == 0.9
    assert predictor.batches == [4, 1]


def test_a_long_cine_is_sampled_and_says_so(folder: Folder) -> None:
    folder.add(frames=builders.tissue(9, 70, 70))
    found = folder.read(FakePredictor(lambda n: [disk(20, 20)]), cine_frames=5)
    assert found.images[0].frame_numbers == (1, 3, 5, 7, 9)
    assert found.images[0].notes == ("5 of 9 frames were read",)
    assert [view.frame_number for view in found.nodes[0].views] == [1, 3, 5, 7, 9]


def test_frames_are_predicted_in_batches(folder: Folder) -> None:
    folder.add(frames=builders.tissue(11, 70, 70))
    predictor = FakePredictor()
    folder.read(predictor)
    assert predictor.batches == [4, 4, 3]


def test_nodes_of_stills_stay_apart(folder: Folder) -> None:
    folder.add("1.2.3.1", number=1)
    folder.add("1.2.3.2", number=2)
    found = folder.read(FakePredictor(lambda n: [disk(30, 40)]))
    assert [node.views[0].sop_instance_uid for node in found.nodes] == ["1.2.3.1", "1.2.3.2"]
    assert len({node.tracking_uid for node in found.nodes}) == 2


def test_nodes_are_numbered_by_series_instance_and_place(folder: Folder) -> None:
    folder.add("1.2.3.9", series=2, number=1)
    folder.add("1.2.3.8", series=1, number=2)
    folder.add("1.2.3.7", series=1, number=1)
    found = folder.read(FakePredictor(lambda n: [disk(30, 100), disk(50, 10)]))
    order = [
        (node.number, node.views[0].sop_instance_uid, node.views[0].column) for node in found.nodes
    ]
    assert order == [
        (1, "1.2.3.7", 10),
        (2, "1.2.3.7", 100),
        (3, "1.2.3.8", 10),
        (4, "1.2.3.8", 100),
        (5, "1.2.3.9", 10),
        (6, "1.2.3.9", 100),
    ]


def test_tracking_uids_outlive_a_late_instance(folder: Folder) -> None:
    folder.add("1.2.3.5", number=5)
    predictor = FakePredictor(lambda n: [disk(30, 40), disk(30, 100)])
    before = [node.tracking_uid for node in folder.read(predictor).nodes]
    folder.add("1.2.3.4", number=4)
    after = folder.read(FakePredictor(lambda n: [disk(30, 40), disk(30, 100)])).nodes
    assert [node.number for node in after] == [1, 2, 3, 4]
    assert [node.tracking_uid for node in after[2:]] == before
    assert len({node.tracking_uid for node in after}) == 4


def test_tracking_uids_are_the_studys_own(folder: Folder) -> None:
    folder.add()
    sees = FakePredictor(lambda n: [disk(30, 40)])
    other = Recipe(RECIPE.spec, 30, "another node/1.2.3")
    one = folder.read(sees).nodes[0].tracking_uid
    assert one != analyse(folder.inputs, sees, other).nodes[0].tracking_uid


def test_a_little_colour_is_filled_and_noted(folder: Folder) -> None:
    folder.add(frames=builders.in_colour(builders.tissue(), 0.1))
    (image,) = folder.read().images
    assert len(image.notes) == 1
    assert image.notes[0].startswith("colour overlay removed from up to 1")


def test_too_much_colour_leaves_the_image_out(folder: Folder) -> None:
    folder.add(frames=builders.in_colour(builders.tissue()))
    predictor = FakePredictor()
    found = folder.read(predictor)
    assert (found.images, predictor.regions) == ((), [])
    assert found.exclusions == (Exclusion("1.2.3.1", None, Reason.COLOUR_OVERLAY),)


def test_the_panel_in_colour_of_a_dual_view_is_left_out(folder: Folder) -> None:
    """B-mode beside colour Doppler is the commonest dual view of an axilla."""
    frames = builders.tissue(2)
    frames[:, 20:100, 90:150] = (220, 40, 20)
    folder.add(frames=frames, boxes=((0, 10, 76, 110), (80, 10, 160, 110)))
    predictor = FakePredictor(lambda n: [disk(30, 30)])
    found = folder.read(predictor)
    assert predictor.regions == [(0, 10, 76, 110)] * 2
    assert found.images[0].frame_numbers == (1, 2)
    assert found.images[0].notes == ("a panel covered by Doppler colour was left out",)
    assert [view.column for view in found.nodes[0].views] == [30, 30]
    assert found.exclusions == ()


def test_a_panel_in_colour_for_a_while_keeps_its_place(folder: Folder) -> None:
    frames = builders.tissue(3)
    frames[1, 20:100, 90:150] = (220, 40, 20)
    folder.add(frames=frames, boxes=((0, 10, 76, 110), (80, 10, 160, 110)))
    # the panels come left, right; left; left, right
    found = folder.read(FakePredictor(lambda n: [disk(30, 120 if n in (1, 4) else 30)]))
    tracks = [[(v.frame_number, v.column) for v in node.views] for node in found.nodes]
    assert tracks == [[(1, 30), (2, 30), (3, 30)], [(1, 120), (3, 120)]]


def test_frames_in_colour_are_left_out_one_by_one(folder: Folder) -> None:
    frames = builders.tissue(4)
    frames[1:3] = builders.in_colour(frames[1:3])
    folder.add(frames=frames)
    found = folder.read(FakePredictor(lambda n: [disk(30, 40)]))
    assert found.images[0].frame_numbers == (1, 4)
    assert found.exclusions == tuple(
        Exclusion("1.2.3.1", number, Reason.COLOUR_OVERLAY) for number in (2, 3)
    )
    assert [view.frame_number for view in found.nodes[0].views] == [1, 4]


def test_a_cine_in_colour_is_one_exclusion_and_shows_signs_of_life(folder: Folder) -> None:
    """A silent minute would be taken for a hang."""
    folder.add(frames=builders.in_colour(builders.tissue(6, 70, 70)))
    signs: list[None] = []
    found = analyse(folder.inputs, FakePredictor(), RECIPE, lambda: signs.append(None))
    assert found.exclusions == (Exclusion("1.2.3.1", None, Reason.COLOUR_OVERLAY),)
    assert len(signs) >= 1


def test_pictures_without_tissue_show_signs_of_life(folder: Folder, tmp_path: Path) -> None:
    """Hundreds of scanned forms take minutes, and no model is asked."""
    for number in range(4):
        black = np.zeros((1, 120, 160, 3), np.uint8)
        folder.add(f"1.2.3.{number}", black, boxes=(), sop_class=SECONDARY_CAPTURE)
    (tmp_path / "text.dcm").write_text("not DICOM, and not for a person either")
    folder.inputs += [("1.2.3.8", tmp_path / "text.dcm")] * 3
    signs: list[int] = []
    found = analyse(folder.inputs, FakePredictor(), RECIPE, lambda: signs.append(1))
    assert len(found.exclusions) == 7
    assert len(signs) >= 7 + 4  # each when it is opened, and each that opened when it is read


def test_a_doppler_trace_alone_is_no_b_mode(folder: Folder) -> None:
    ds = builders.dataset(Picture(), builders.tissue())
    region = ds.SequenceOfUltrasoundRegions[0]
    region.RegionSpatialFormat, region.RegionDataType = 3, 3
    folder.add(extra=(("SequenceOfUltrasoundRegions", [region]),))
    found = folder.read()
    assert found.exclusions == (Exclusion("1.2.3.1", None, Reason.NO_B_MODE),)


def test_a_black_picture_without_regions_is_no_b_mode(folder: Folder) -> None:
    folder.add(frames=np.zeros((1, 120, 160, 3), np.uint8), boxes=(), sop_class=SECONDARY_CAPTURE)
    assert folder.read().exclusions == (Exclusion("1.2.3.1", None, Reason.NO_B_MODE),)


def test_a_region_too_small_to_read_is_said_to_be(folder: Folder) -> None:
    folder.add(boxes=((0, 0, 50, 110),))
    assert folder.read().exclusions == (Exclusion("1.2.3.1", None, Reason.TOO_SMALL),)


def test_a_file_that_is_none_is_an_exclusion_and_the_others_are_read(
    folder: Folder, tmp_path: Path
) -> None:
    (tmp_path / "text.dcm").write_text("not DICOM, and not for a person either")
    folder.inputs.append(("1.2.3.8", tmp_path / "text.dcm"))
    folder.add()
    found = folder.read()
    assert [image.sop_instance_uid for image in found.images] == ["1.2.3.1"]
    assert found.exclusions == (Exclusion("1.2.3.8", None, Reason.UNDECODABLE),)


def test_a_frame_that_cannot_be_decoded_is_an_exclusion(folder: Folder) -> None:
    folder.add()
    _, path = folder.inputs[0]
    path.write_bytes(path.read_bytes()[:-5000])
    found = folder.read()
    assert found.images == ()
    assert [(e.sop_instance_uid, e.reason) for e in found.exclusions] == [
        ("1.2.3.1", Reason.UNDECODABLE)
    ]


def test_a_damaged_frame_leaves_out_itself_alone(folder: Folder, tmp_path: Path) -> None:
    """A cine cut short is the commonest damage: the frames before it can still be read."""
    frames = [jpeg(frame, transform=True) for frame in builders.tissue(5)]
    frames[1] = frames[1][:2] + bytes(len(frames[1]) - 2)
    ds = jpeg_dataset(frames, 120, 160, SOPInstanceUID="1.2.3.1")
    path = write_encapsulated(tmp_path / "cine.dcm", ds, JPEG_BASELINE)
    folder.inputs.append(("1.2.3.1", path))
    found = folder.read(FakePredictor(lambda n: [disk(30, 40)]))
    assert found.images[0].frame_numbers == (1, 3, 4, 5)
    assert found.exclusions == (Exclusion("1.2.3.1", 2, Reason.UNDECODABLE),)
    assert [view.frame_number for view in found.nodes[0].views] == [1, 3, 4, 5]


def test_an_image_that_group_0002_alone_names_is_reported_by_that_name(
    folder: Folder, tmp_path: Path
) -> None:
    for sop in ("1.2.3.1", "1.2.3.2"):
        path = builders.nameless(tmp_path / f"{sop}.dcm", Picture(sop=sop))
        folder.inputs.append((sop, path))
    found = folder.read(FakePredictor(lambda n: [disk(30, 40)]))
    assert [image.sop_instance_uid for image in found.images] == ["1.2.3.1", "1.2.3.2"]
    assert [node.views[0].sop_instance_uid for node in found.nodes] == ["1.2.3.1", "1.2.3.2"]
    assert len({node.tracking_uid for node in found.nodes}) == 2


def test_no_node_is_an_answer(folder: Folder) -> None:
    folder.add(laterality="")
    found = folder.read()
    assert (len(found.images), found.nodes, found.images[0].laterality) == (1, (), None)


def test_frames_of_several_studies_share_a_batch(tmp_path: Path) -> None:
    """And each study gets what was seen on its own."""
    folders = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        folders.append(Folder(tmp_path / str(number)))
    for number, folder in enumerate(folders):
        for image in range(number + 1):
            folder.add(sop=f"1.2.{number}.{image}")
    predictor = FakePredictor(lambda n: [disk(30, 40, 20, n / 10)], together=4)
    reader = FrameReader(predictor, RECIPE.spec)
    waiting = [look(folder.inputs, reader, RECIPE) for folder in folders]
    reader.finish()
    found = [analysis() for analysis in waiting]
    assert predictor.batches == [4, 2]
    assert [[image.sop_instance_uid for image in each.images] for each in found] == [
        [f"1.2.{number}.{image}" for image in range(number + 1)] for number in range(3)
    ]
    scores = [[node.score for node in each.nodes] for each in found]
    assert scores == [[0.0], [0.1, 0.2], [0.3, 0.4, 0.5]]
