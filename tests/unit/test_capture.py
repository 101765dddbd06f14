"""Pictures as Secondary Capture: pixels exact, origin named, demonstration said."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_io.capture import capture
from dicom_io.errors import ObjectError
from tests.builders_objects import NOW, SourceSpec, findings, node, study, uid, view


@pytest.mark.parametrize("size", [(24, 36), (5, 7)])
def test_pixels_are_exact(tmp_path: Path, size: tuple[int, int]) -> None:
    sets, paths = study(tmp_path, SourceSpec(frames=3))
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)

    built = capture(findings(sets, demonstration=True), paths[0], 2, picture, uid, 1, NOW)

    ds = pydicom.dcmread(io.BytesIO(built.data))
    assert (ds.pixel_array == picture).all()
    assert (built.role, built.ordinal, ds.InstanceNumber) == ("sc", 1, 2)
    assert ds.SourceImageSequence[0].ReferencedFrameNumber == 2
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY"]
    assert ds.SeriesDescription.startswith("DEMONSTRATION ")
    assert ds.Manufacturer == "AxNode"


def test_pictures_share_a_series(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    built = [capture(findings(sets), paths[0], 1, picture, uid, n, NOW) for n in (0, 1)]
    assert len({b.series_instance_uid for b in built}) == 1
    assert len({b.sop_instance_uid for b in built}) == 2


@pytest.mark.parametrize("lossy", [True, False])
def test_lossy_stays_lossy(tmp_path: Path, lossy: bool) -> None:
    """A picture of a JPEG is not lossless, however it is stored."""
    sets, paths = study(tmp_path, SourceSpec())
    if lossy:
        sets[0].LossyImageCompression = "01"
        sets[0].LossyImageCompressionRatio = 12
        sets[0].save_as(paths[0])
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    ds = pydicom.dcmread(
        io.BytesIO(capture(findings(sets), paths[0], 1, picture, uid, 0, NOW).data)
    )
    assert ds.LossyImageCompression == ("01" if lossy else "00")
    assert ("LossyImageCompressionRatio" in ds) == lossy


@pytest.mark.parametrize("picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_other_arrays_are_refused(tmp_path: Path, picture: np.ndarray) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    with pytest.raises(ObjectError, match="RGB"):
        capture(findings(sets), paths[0], 1, picture, uid, 0, NOW)


@pytest.mark.parametrize(
    ("sides", "expected"), [(("L", "L"), "L"), (("L", "R"), ""), ((None,), ""), ((), "")]
)
def test_side_is_that_of_all_nodes(
    tmp_path: Path, sides: tuple[str | None, ...], expected: str
) -> None:
    """Stated where the nodes agree: the pictures share a series, and it has one Laterality."""
    sets, paths = study(tmp_path, SourceSpec(), SourceSpec(number=2))
    nodes = [node(n, view(sets[(n - 1) % 2]), side=side) for n, side in enumerate(sides, 1)]
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    for path in paths:
        built = capture(findings(sets, nodes), path, 1, picture, uid, 0, NOW)
        assert (pydicom.dcmread(io.BytesIO(built.data)).Laterality or "") == expected
