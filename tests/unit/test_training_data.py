"""Datasets: the index, explicit splits, every kind of file, and the daemon's own preparation."""

import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon.commands.readers import readers
from daemon.pipeline import Recipe, analyse
from dicom_io.frames import Image as DicomImage
from model.errors import TrainingError
from model.preprocess import Prepared, Spec, normalise
from model.training import index
from model.training.config import Regions
from model.training.data import load_cache, with_regions
from sample_dicoms import __file__ as sample_dicoms
from tests import matrix
from tests.builders_net import SMALL_INPUT, dataset
from tests.matrix import Case

SAMPLES = Path(sample_dicoms).parent
READERS = readers()
HEADER = "image,mask,label,patient,split\n"


def _rows(folder: Path, text: str) -> list[index.Row]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.csv").write_text(text)
    return index.read_index(folder)


# the split column


def test_an_explicit_split_is_kept(tmp_path) -> None:
    rows = _rows(tmp_path, HEADER + "a,,0,p,test\nb,,1,q,train\nc,,1,p,test\nd,,0,r,validation\n")
    split = index.split_by_patient(rows, seed=3)
    lines = [[row.line for row in part] for part in (split.train, split.validation, split.test)]
    assert lines == [[3], [5], [2, 4]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "a,,0,p,test\nb,,1,p,train\n",
            r"csv:3: this patient is in train here and in test.*line 2",
        ),
        ("a,,0,p,test\nb,,1,q,\n", r"csv:3: split is blank here"),
        ("a,,0,p,dev\n", r"csv:2: split must be train, validation, test"),
    ],
)
def test_a_wrong_split_column_is_refused(tmp_path, text, says) -> None:
    with pytest.raises(TrainingError, match=says):
        index.split_by_patient(_rows(tmp_path, HEADER + text), seed=0)


def test_the_random_split_never_parts_a_patient(tmp_path) -> None:
    """Whatever the labels of the rows and the seed."""
    rng = np.random.default_rng(0)
    lines = [f"{n}.png,,{rng.integers(2)},p{rng.integers(30)}," for n in range(200)]
    rows = _rows(tmp_path, HEADER + "\n".join(lines) + "\n")
    for seed in range(20):
        split = index.split_by_patient(rows, seed)
        groups = [{r.patient for r in part} for part in (split.train, split.validation, split.test)]
        assert sum(len(group) for group in groups) == len(set.union(*groups))


def test_an_index_as_spreadsheets_write_it(tmp_path) -> None:
    (tmp_path / "index.csv").write_bytes(b"\xef\xbb\xbfimage,mask,label,patient\r\na.png,,1,p\r\n")
    assert index.read_index(tmp_path)[0].image.name == "a.png"
    (tmp_path / "index.csv").write_bytes(b"image,mask,label,patient\na.png,,1,M\xfcller\n")
    with pytest.raises(TrainingError, match="UTF-8"):
        index.read_index(tmp_path)


# kinds of files


def _index(path: Path, text: str) -> Path:
    path.mkdir(exist_ok=True)
    (path / "index.csv").write_text(text, encoding="utf-8")
    return path


def test_blanks_round_a_cell_are_no_part_of_it(tmp_path) -> None:
    """Or one patient would be two, and stand in two parts."""
    text = "image, mask , label,patient\n a.png ,,1,p1 \nb.png, m.png, 0 ,p1\n"
    one, two = index.read_index(_index(tmp_path, text))
    assert (one.patient, two.patient) == ("p1", "p1")
    assert (one.image.name, two.mask and two.mask.name, two.label) == ("a.png", "m.png", 0)


def test_rows_of_nothing_are_passed_over_and_lines_are_those_of_the_file(tmp_path) -> None:
    text = "image,mask,label,patient\na.png,,1,p\n\n,,,\nb.png,,3,p\n"
    with pytest.raises(TrainingError, match=r"index\.csv:5: label must be"):
        index.read_index(_index(tmp_path, text))
    rows = index.read_index(_index(tmp_path, text.replace(",3,", ",0,")))
    assert [row.line for row in rows] == [2, 5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image;mask;label;patient\na.png;;1;p\n", "by semicolons: save it with commas"),
        ("Image,mask,label,patient\na.png,,1,p\n", "no column image; it has Image, mask"),
        ("image,mask,label,patient,label\na.png,,1,p,0\n", "two columns label"),
        ("image,mask,label,patient\na.png,,1,Doe, Jane\n", ":2: more cells than columns"),
        ("image,mask,label,patient\na.png,,1, \n", "patient must not be blank"),
        ("image,mask,label,patient\nx\\a.png,,1,p\n", "has a backslash: part folders by /"),
        ("image,mask,label,patient\n", "lists no image"),
    ],
)
def test_an_index_that_cannot_be_read_says_why(tmp_path, text, says) -> None:
    with pytest.raises(TrainingError, match=says):
        index.read_index(_index(tmp_path, text))


def test_jpeg_and_png_are_read_alike(tmp_path) -> None:
    grey = np.tile(np.arange(0, 250, 5, np.uint8), (40, 1))
    for name in ("a.png", "a.jpg"):
        Image.fromarray(grey).save(tmp_path / name, quality=98)
    png, jpeg = (READERS.image(tmp_path / name, None) for name in ("a.png", "a.jpg"))
    assert png.shape == jpeg.shape == (40, 50, 3)
    assert np.abs(png.astype(int) - jpeg).max() <= 3
    assert READERS.region(tmp_path / "a.png", None) is None


def test_files_that_would_be_misread_are_refused(tmp_path) -> None:
    deep, mask = tmp_path / "deep.png", tmp_path / "mask.jpg"
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(deep)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(mask)
    broken = tmp_path / "broken.png"
    broken.write_bytes(deep.read_bytes()[:-30])
    for path, frame, says in [(deep, None, "8 bits"), (deep, 2, "without frames"),
                              (broken, None, "not a readable picture"),
                              (tmp_path / "none.dcm", None, "cannot be opened")]:  # fmt: skip
        with pytest.raises(TrainingError, match=says):
            READERS.image(path, frame)
    with pytest.raises(TrainingError, match="save it as PNG"):
        READERS.mask(mask, None)


def test_one_frame_of_a_cine() -> None:
    cine = SAMPLES / "2-suspicious-cine-1.dcm"
    first, third = READERS.image(cine, 1), READERS.image(cine, 3)
    assert not np.array_equal(first, third)
    assert np.array_equal(first, READERS.image(cine, None))
    with pytest.raises(TrainingError, match="no frame 99"):
        READERS.image(cine, 99)


# masks as DICOM SEG


@pytest.fixture(scope="module", params=["none", "deflated"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Build a cine of five frames: node 1 lacks the first frame, node 2 the last."""
    levels = {
        "shape": "cine", "photometric": "RGB", "calibrated": True, "frame_of_reference": False,
        "nodes": 2, "seg_geometry": "viewer", "sr_class": "comprehensive",
        "seg_empty_frames": False, "seg_compression": request.param, "demonstration": False,
    }  # fmt: skip
    return matrix.build(tmp_path_factory.mktemp("seg"), levels)


def _expected(case: Case, frame: int) -> np.ndarray:
    mask = np.zeros((23, 35), bool)
    for node in case.found.nodes:
        for view in node.views:
            height, width = view.mask.shape
            if view.frame_number == frame:
                place = np.s_[view.row : view.row + height, view.column : view.column + width]
                mask[place] |= view.mask
    return mask


def test_a_seg_gives_all_its_segments_of_the_rows_frame(case: Case, tmp_path) -> None:
    shutil.copy(case.paths[0], tmp_path / "cine.dcm")
    shutil.copy(case.segs[0], tmp_path / "seg.dcm")
    lines = "".join(f"cine.dcm#{n},seg.dcm,1,p,\n" for n in range(1, 6))
    masks = [READERS.mask_of(row) for row in _rows(tmp_path, HEADER + lines)]
    for frame, mask in enumerate(masks, 1):
        assert mask is not None
        assert np.array_equal(mask, _expected(case, frame)), frame
    assert len({mask.tobytes() for mask in masks if mask is not None}) == 5


def test_a_frame_without_a_segment_is_empty(case: Case) -> None:
    assert not READERS.mask(case.segs[0], 6, case.paths[0]).any()


def test_a_seg_of_another_image_is_refused(case: Case) -> None:
    other = SAMPLES / "2-suspicious-cine-1.dcm"
    with pytest.raises(TrainingError, match=r"dcm of the dataset .*does not refer to the image"):
        READERS.mask(case.segs[0], 1, other)


def test_a_mask_that_is_no_seg_is_refused(case: Case, tmp_path) -> None:
    with pytest.raises(TrainingError, match="not a binary segmentation"):
        READERS.mask(case.paths[0], 1, case.paths[0])
    text = tmp_path / "seg.dcm"
    text.write_text("text")
    with pytest.raises(TrainingError, match="not a readable segmentation"):
        READERS.mask(text, 1, case.paths[0])
    with pytest.raises(TrainingError, match="a DICOM SEG needs a DICOM image"):
        READERS.mask(case.segs[0], None, tmp_path / "picture.png")


# the daemon's preparation


class Recorder:
    """Stands where the model stands, and keeps what it is given."""

    together = 4

    def __init__(self) -> None:
        self.seen: list[Prepared] = []

    def predict(self, batch: list[Prepared]) -> list[list[object]]:
        """Find nothing."""
        self.seen += batch
        return [[] for _ in batch]


@pytest.mark.parametrize(
    "name", ["1-benign-stills-1", "3-two-nodes-uncalibrated-1", "2-suspicious-cine-1"]
)
@pytest.mark.parametrize("spec", [Spec(), Spec(resize="letterbox")], ids=["stretch", "letterbox"])
def test_training_and_daemon_give_the_network_the_same(tmp_path, name, spec) -> None:
    """With and without declared regions; every frame of a cine."""
    path = SAMPLES / f"{name}.dcm"
    recorder = Recorder()
    analyse([("1.2", path)], recorder, Recipe(spec, 30, "root"))  # type: ignore[arg-type]
    frames = DicomImage.open(path).frame_count
    shutil.copy(path, tmp_path / "a.dcm")
    lines = "".join(f"a.dcm#{n},,,p,\n" for n in range(1, frames + 1))
    rows = with_regions(_rows(tmp_path, HEADER + lines), READERS)
    cache = load_cache(
        tmp_path / "c", rows, spec, Regions(), seed=0, readers=READERS, workers=0
    )  # fmt: skip
    assert len(recorder.seen) == frames
    for grey, prepared in zip(cache.images, recorder.seen, strict=True):
        assert np.array_equal(normalise(grey, spec), prepared.tensor)


# the cache


def test_a_cache_that_cannot_be_written_leaves_nothing(tmp_path) -> None:
    """A limit on the size of files is met as a full disk is: a write fails."""
    rows = index.read_index(dataset(tmp_path / "d", patients=4))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        with pytest.raises(TrainingError, match="make room"):
            load_cache(tmp_path / "c", rows, SMALL_INPUT, Regions(), seed=0, workers=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "c").iterdir()) == []
    assert len(load_cache(tmp_path / "c", rows, SMALL_INPUT, Regions(), seed=0, workers=0).images)


def test_a_tissue_box_outside_of_its_image_is_refused(tmp_path) -> None:
    rows = index.read_index(dataset(tmp_path / "d", patients=2))
    wrong = replace(rows[1], region=(500, 500, 600, 600))
    with pytest.raises(TrainingError, match=r"index.csv:3: .*correct the tissue box"):
        load_cache(tmp_path / "c", [wrong], SMALL_INPUT, Regions(), seed=0, workers=0)
