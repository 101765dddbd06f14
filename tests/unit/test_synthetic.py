"""Arrays as DICOM ultrasound: pixels come back, headers validate, bytes repeat."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_io.facts import facts
from dicom_io.frames import Image, read_header
from dicom_io.regions import regions
from dicom_io.synthetic import Encoding, SyntheticImage, SyntheticRegion, dataset, file_bytes, uid
from dicom_io.uids import is_uid

BOX = (10, 8, 70, 56)
LOSSLESS = (Encoding.EXPLICIT, Encoding.RLE, Encoding.JPEG2000)


def _picture(encoding: Encoding, frames: int = 1) -> SyntheticImage:
    rng = np.random.default_rng(4)
    pixels = rng.integers(40, 90, (frames, 60, 80, 1), np.uint8).repeat(3, -1)
    pixels[:, 20:30, 20:40] = (200, 30, 20)  # a colour that a wrong photometric would change
    return SyntheticImage(
        patient=3,
        study="s",
        series=1,
        instance=2,
        laterality="L",
        frames=pixels,
        encoding=encoding,
        regions=(SyntheticRegion(BOX, 0.08, "tissue"),),
    )


def _written(tmp_path: Path, image: SyntheticImage) -> Path:
    path = tmp_path / "image.dcm"
    path.write_bytes(file_bytes(image, 1))
    return path


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("encoding", LOSSLESS)
def test_lossless_pixels_come_back(tmp_path: Path, encoding: Encoding, frames: int) -> None:
    image = _picture(encoding, frames)
    read = Image.open(_written(tmp_path, image))

    assert read.frame_count == frames
    for number in range(frames):
        assert np.array_equal(image.frames[number], read.frame(number))


def test_jpeg_pixels_come_back_nearly_and_say_that_they_are_lossy(tmp_path: Path) -> None:
    image = _picture(Encoding.JPEG)
    path = _written(tmp_path, image)
    apart = np.abs(Image.open(path).frame(0).astype(int) - image.frames[0])
    ds = read_header(path)

    assert apart.mean() < 6
    assert ds.LossyImageCompression == "01"
    assert ds.PhotometricInterpretation == "YBR_FULL_422"


@pytest.mark.parametrize("encoding", [Encoding.MONOCHROME, Encoding.PALETTE])
def test_grey_encodings_keep_the_grey(tmp_path: Path, encoding: Encoding) -> None:
    image = _picture(encoding)
    read = Image.open(_written(tmp_path, image)).frame(0).astype(int)

    assert np.abs(read[40:] - image.frames[0][40:].astype(int)).max() <= 8


@pytest.mark.parametrize("encoding", list(Encoding))
@pytest.mark.parametrize("frames", [1, 2])
def test_headers_validate(tmp_path: Path, encoding: Encoding, frames: int) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    path = _written(tmp_path, _picture(encoding, frames))
    result = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)

    assert "Error" not in result.stderr
    assert ("USMultiFrameImage" if frames > 1 else "USImage") in result.stderr


def test_side_region_and_spacing_are_readable(tmp_path: Path) -> None:
    ds = read_header(_written(tmp_path, _picture(Encoding.RLE)))
    (region,) = regions(ds, 60, 80)

    assert facts(ds).laterality == "L"
    assert region.box == BOX
    assert region.kind == "tissue"
    assert region.calibration is not None
    assert region.calibration.row_mm == pytest.approx(0.08)


def test_a_trace_is_no_tissue(tmp_path: Path) -> None:
    image = replace(_picture(Encoding.RLE), regions=(SyntheticRegion(BOX, None, "spectral"),))
    (region,) = regions(read_header(_written(tmp_path, image)), 60, 80)

    assert (region.kind, region.calibration) == ("other", None)


def test_without_regions_and_side_neither_is_stated(tmp_path: Path) -> None:
    image = replace(_picture(Encoding.RLE), regions=(), laterality="")
    ds = read_header(_written(tmp_path, image))

    assert "SequenceOfUltrasoundRegions" not in ds
    assert facts(ds).laterality is None


def test_the_same_image_gives_the_same_bytes() -> None:
    image = _picture(Encoding.JPEG2000)

    assert file_bytes(image, 1) == file_bytes(image, 1)


def test_uids_are_valid_and_tell_seed_study_series_and_instance_apart() -> None:
    image = _picture(Encoding.EXPLICIT)
    variants = [
        dataset(image, 1),
        dataset(image, 2),
        dataset(replace(image, study="t"), 1),
        dataset(replace(image, series=2), 1),
        dataset(replace(image, instance=3), 1),
    ]

    assert len({ds.SOPInstanceUID for ds in variants}) == len(variants)
    assert variants[0].StudyInstanceUID == variants[3].StudyInstanceUID
    assert variants[0].SeriesInstanceUID == variants[4].SeriesInstanceUID
    assert all(is_uid(ds.SOPInstanceUID) for ds in variants)
    assert uid("a", "bc") != uid("ab", "c")
