"""The segmentation: frames, references, geometry, and masks to the pixel."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io import results
from dicom_io.errors import ObjectError
from dicom_io.findings import Calibration, NodeFinding, NodeView, StudyFindings
from dicom_io.seg_frames import pack, unpack
from tests.builders_objects import NOW, SourceSpec, findings, node, study, uid, view, write

SEG_ONLY = results.ResultSettings(sr=False)


def build(
    found: StudyFindings, paths: Sequence[Path], settings: results.ResultSettings = SEG_ONLY
) -> list[Dataset]:
    built = results.build(found, paths, settings, uid, NOW)
    return [pydicom.dcmread(io.BytesIO(b.data)) for b in built]


def painted(views: Sequence[NodeView], rows: int, columns: int) -> NDArray[np.bool_]:
    plane = np.zeros((rows, columns), dtype=bool)
    for v in views:
        height, width = v.mask.shape
        plane[v.row : v.row + height, v.column : v.column + width] |= v.mask
    return plane


@pytest.mark.parametrize("size", [(24, 36), (7, 5), (9, 11)])
def test_masks_of_a_cine_read_back_to_the_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    """Highdicom and pydicom both read the masks found, also where a frame ends within a byte."""
    rows, columns = size
    sets, paths = study(tmp_path, SourceSpec(frames=9, rows=rows, columns=columns))
    views = [view(sets[0], n, 0, 0, 5) for n in (2, 3, 7)]
    other = [view(sets[0], n, rows - 2, columns - 5, 5) for n in (3, 9)]
    nodes = [node(1, *views), node(2, *other)]

    (seg,) = build(findings(sets, nodes), paths)

    wanted = {
        (n.number, v.frame_number): painted([v], rows, columns) for n in nodes for v in n.views
    }
    read = hd.seg.segread(io.BytesIO(_bytes(seg))).get_pixels_by_source_frame(
        source_sop_instance_uid=sets[0].SOPInstanceUID,
        source_frame_numbers=list(range(1, 10)),
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    for number in (1, 2):
        for frame in range(1, 10):
            expected = wanted.get((number, frame), np.zeros((rows, columns), dtype=bool))
            assert (expected == read[frame - 1, :, :, number - 1].astype(bool)).all()
    stored = np.atleast_3d(seg.pixel_array).astype(bool)
    keys = [(1, 2), (1, 3), (1, 7), (2, 3), (2, 9)]
    assert all((wanted[key] == plane).all() for key, plane in zip(keys, stored, strict=True))


def _bytes(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_once_lossy_always_lossy(tmp_path: Path) -> None:
    """PS3.3 C.7.6.1.1.5: with the ratio and the method that the source names."""
    sets, _ = study(tmp_path, SourceSpec())
    sets[0].LossyImageCompression = "01"
    sets[0].LossyImageCompressionRatio = [12.5, 3]
    sets[0].LossyImageCompressionMethod = ["ISO_10918_1", "ISO_15444_1"]
    path = write(sets[0], tmp_path / "lossy.dcm")
    (seg,) = build(findings(sets, [node(1, view(sets[0]))]), [path])
    assert seg.LossyImageCompression == "01"
    assert list(seg.LossyImageCompressionRatio) == [12.5, 3]
    assert list(seg.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_15444_1"]


def test_a_lossless_source_makes_a_lossless_seg(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    (seg,) = build(findings(sets, [node(1, view(sets[0]))]), paths)
    assert seg.LossyImageCompression == "00"
    assert "LossyImageCompressionRatio" not in seg
    assert "LossyImageCompressionMethod" not in seg


def test_stills_of_one_series_share_a_seg(tmp_path: Path) -> None:
    """Single-frame images are referenced without a frame number, each as its own source."""
    sets, paths = study(tmp_path, SourceSpec(), SourceSpec(number=2), SourceSpec(number=3))
    nodes = [node(1, view(sets[0])), node(2, view(sets[2]), calibrated=True)]

    (seg,) = build(findings(sets, nodes), paths)

    images = [
        g.DerivationImageSequence[0].SourceImageSequence[0]
        for g in seg.PerFrameFunctionalGroupsSequence
    ]
    assert [sets[0].SOPInstanceUID, sets[2].SOPInstanceUID] == [
        i.ReferencedSOPInstanceUID for i in images
    ]
    assert not any("ReferencedFrameNumber" in i for i in images)
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == sets[0].SeriesInstanceUID
    assert len(series.ReferencedInstanceSequence) == 2
    read = hd.seg.segread(io.BytesIO(_bytes(seg))).get_pixels_by_source_instance(
        [sets[0].SOPInstanceUID, sets[2].SOPInstanceUID], ignore_spatial_locations=True
    )
    assert (painted(nodes[0].views, 24, 36) == read[0, :, :, 0].astype(bool)).all()
    assert (painted(nodes[1].views, 24, 36) == read[1, :, :, 1].astype(bool)).all()


def test_cine_references_count_from_one(tmp_path: Path) -> None:
    """The stored position is the rank among shown frames and equals its dimension index."""
    sets, paths = study(tmp_path, SourceSpec(frames=6))
    (seg,) = build(findings(sets, [node(1, view(sets[0], 2), view(sets[0], 6))]), paths)

    groups = seg.PerFrameFunctionalGroupsSequence
    images = [g.DerivationImageSequence[0].SourceImageSequence[0] for g in groups]
    assert [i.ReferencedFrameNumber for i in images] == [2, 6]
    contents = [g.FrameContentSequence[0] for g in groups]
    assert [list(c.DimensionIndexValues) for c in contents] == [[1, 1], [1, 2]]
    assert [c.InStackPositionNumber for c in contents] == [1, 2]


def test_frames_of_a_single_frame_class_are_told_in_words(tmp_path: Path) -> None:
    """The standard forbids a frame number there, however many frames the instance has."""
    sets, paths = study(tmp_path, SourceSpec(frames=2, multiframe_class=False))
    sets[0].NumberOfFrames = 2
    write(sets[0], paths[0])
    (seg,) = build(findings(sets, [node(1, view(sets[0], 1), view(sets[0], 2))]), paths)
    groups = seg.PerFrameFunctionalGroupsSequence
    images = [g.DerivationImageSequence[0].SourceImageSequence[0] for g in groups]
    assert not any("ReferencedFrameNumber" in image for image in images)
    comments = [g.FrameContentSequence[0].FrameComments for g in groups]
    assert comments == [f"Frame {n} of the source image" for n in (1, 2)]


def test_one_seg_per_series_size_and_kind(tmp_path: Path) -> None:
    """Series, matrix size and still or cine separate; each SEG has a series of its own."""
    specs = [
        SourceSpec(),
        SourceSpec(series=2),
        SourceSpec(number=2, rows=30),
        SourceSpec(number=3, frames=3),
    ]
    sets, paths = study(tmp_path, *specs)
    nodes = [node(n, view(ds)) for n, ds in enumerate(sets, 1)]

    segs = build(findings(sets, nodes), paths)

    assert len({s.SeriesInstanceUID for s in segs}) == len({s.SOPInstanceUID for s in segs}) == 4
    assert [[x.SegmentLabel for x in s.SegmentSequence] for s in segs] == [
        ["Node 1"],
        ["Node 2"],
        ["Node 3"],
        ["Node 4"],
    ]


def test_segment_says_what_and_where(tmp_path: Path) -> None:
    """Codes, side, tracking, algorithm and an explicit colour."""
    sets, paths = study(tmp_path, SourceSpec())
    found = findings(sets, [node(1, view(sets[0]), side="L"), node(2, view(sets[0]), side=None)])
    (seg,) = build(found, paths)

    first, second = seg.SegmentSequence
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "59441001"
    region = first.AnatomicRegionSequence[0]
    assert region.CodeValue == "91470000"
    assert region.AnatomicRegionModifierSequence[0].CodeValue == "7771000"
    assert "AnatomicRegionModifierSequence" not in second.AnatomicRegionSequence[0]
    assert (first.TrackingID, first.TrackingUID) == ("Node 1", found.nodes[0].tracking_uid)
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert found.algorithm.digest in algorithm.AlgorithmParameters
    colours = {tuple(s.RecommendedDisplayCIELabValue) for s in seg.SegmentSequence}
    assert len(colours) == 2


def test_overlap_is_declared(tmp_path: Path) -> None:
    """SegmentsOverlap follows the masks."""
    sets, paths = study(tmp_path, SourceSpec())
    apart = [node(1, view(sets[0], row=0)), node(2, view(sets[0], row=12))]
    over = [node(1, view(sets[0], row=0)), node(2, view(sets[0], row=2))]
    # their boxes share a corner, where neither has a pixel
    near = [node(1, view(sets[0], row=0, column=4)), node(2, view(sets[0], row=5, column=12))]
    declared = [build(findings(sets, n), paths)[0].SegmentsOverlap for n in (apart, over, near)]
    assert declared == ["NO", "YES", "NO"]


def test_empty_frames_are_left_out(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec(frames=3))
    empty = replace(view(sets[0], 1), mask=np.zeros((6, 9), dtype=bool))
    (seg,) = build(findings(sets, [node(1, empty, view(sets[0], 2))]), paths)
    assert seg.NumberOfFrames == 1


def test_empty_frames_are_kept_where_asked_for(tmp_path: Path) -> None:
    """Every segment then has every frame that was read, and none that was not."""
    sets, paths = study(tmp_path, SourceSpec(frames=4), SourceSpec(number=2, frames=2))
    found = findings(sets, [node(1, view(sets[0], 2)), node(2, view(sets[0], 1))])
    cine, other = found.images
    found = replace(found, images=(replace(cine, frame_numbers=(1, 2, 4)), other))
    settings = replace(SEG_ONLY, seg_empty_frames=True)

    (seg,) = build(found, paths, settings)

    groups = seg.PerFrameFunctionalGroupsSequence
    places = [
        (
            int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber),
            image.ReferencedSOPInstanceUID,
            int(image.ReferencedFrameNumber),
        )
        for group in groups
        for image in group.DerivationImageSequence[0].SourceImageSequence
    ]
    read = [(sets[0].SOPInstanceUID, n) for n in (1, 2, 4)]
    read += [(sets[1].SOPInstanceUID, n) for n in (1, 2)]
    assert places == [(segment, *place) for segment in (1, 2) for place in read]
    drawn = [unpack(seg.PixelData, n, seg.Rows, seg.Columns).any() for n in range(len(groups))]
    assert [place for place, any_pixel in zip(places, drawn, strict=True) if any_pixel] == [
        (1, sets[0].SOPInstanceUID, 2),
        (2, sets[0].SOPInstanceUID, 1),
    ]


def test_a_deflated_seg_is_the_same_and_smaller(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec(frames=9))
    found = findings(sets, [node(1, *(view(sets[0], n) for n in range(1, 10)))])
    (plain,) = results.build(found, paths, SEG_ONLY, uid, NOW)
    settings = replace(SEG_ONLY, seg_compression="deflated")
    (small,) = results.build(found, paths, settings, uid, NOW)

    read = [pydicom.dcmread(io.BytesIO(b.data)) for b in (plain, small)]
    assert read[1].file_meta.TransferSyntaxUID.is_deflated
    assert read[0] == read[1]
    assert len(small.data) % 2 == 0
    assert len(small.data) < len(plain.data)


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        results.ResultSettings(seg_compression="zip")


@pytest.mark.parametrize(
    ("geometry", "orientation", "reference"),
    [("viewer", True, False), ("strict", False, False), ("volume", True, True)],
)
def test_geometry(tmp_path: Path, geometry: str, orientation: bool, reference: bool) -> None:
    """Each setting states what it says, and no more."""
    sets, paths = study(tmp_path, SourceSpec(frames=3))
    found = findings(sets, [node(1, view(sets[0], 1), view(sets[0], 3))])
    settings = results.ResultSettings(sr=False, seg_geometry=geometry)

    (seg,) = build(found, paths, settings)

    shared = seg.SharedFunctionalGroupsSequence[0]
    assert orientation == ("PlaneOrientationSequence" in shared)
    assert orientation == ("PixelMeasuresSequence" in shared)
    assert reference == ("FrameOfReferenceUID" in seg)
    if orientation:
        assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [0.2, 0.2]
    positions = [
        g.PlanePositionSequence[0].ImagePositionPatient[2]
        for g in seg.PerFrameFunctionalGroupsSequence
        if "PlanePositionSequence" in g
    ]
    assert positions == ([0, 1] if reference else [])


@pytest.mark.parametrize("spacings", [(None, None), (0.2, 0.3), (0.2, None)])
def test_spacing_is_stated_only_where_all_images_agree(
    tmp_path: Path, spacings: tuple[float | None, float | None]
) -> None:
    """Where images differ, or one is uncalibrated, a shared spacing would be wrong for some."""
    sets, paths = study(tmp_path, SourceSpec(), SourceSpec(number=2))
    found = findings(sets, [node(1, view(sets[0])), node(2, view(sets[1]))])
    images = tuple(
        replace(image, calibration=Calibration(s, s) if s else None)
        for image, s in zip(found.images, spacings, strict=True)
    )
    (seg,) = build(replace(found, images=images), paths)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert "PixelSpacing" not in measures
    assert measures.SliceThickness == 1


def test_no_node_no_seg(tmp_path: Path) -> None:
    """An empty SEG has no segment, which the standard does not allow."""
    sets, paths = study(tmp_path, SourceSpec())
    assert build(findings(sets), paths) == []


def _shifted(sets: Sequence[Dataset]) -> NodeFinding:
    return node(1, view(sets[0], row=20))


def _elsewhere(sets: Sequence[Dataset]) -> NodeFinding:
    return node(1, replace(view(sets[0]), sop_instance_uid="1.2.3"))


def _without_pixels(sets: Sequence[Dataset]) -> NodeFinding:
    return node(1, replace(view(sets[0]), mask=np.zeros((6, 9), dtype=bool)))


def _beyond_the_end(sets: Sequence[Dataset]) -> NodeFinding:
    return node(1, view(sets[0], 4))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (_shifted, "beyond its source frame"),
        (_elsewhere, "exactly one of the source images"),
        (_without_pixels, "no pixel"),
        (_beyond_the_end, "frame that does not exist"),
    ],
)
def test_findings_that_do_not_fit_are_refused(tmp_path: Path, wrong, message: str) -> None:  # type: ignore[no-untyped-def]
    sets, paths = study(tmp_path, SourceSpec(frames=3))
    with pytest.raises(ObjectError, match=message):
        build(findings(sets, [wrong(sets)]), paths)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (13, 7)])
@pytest.mark.parametrize("count", [1, 7, 8, 17])
def test_packing_round_trip(shape: tuple[int, int], count: int) -> None:
    """Bits follow each other across frames; the whole is even (PS3.5 8.1.1)."""
    planes = np.random.default_rng(count).random((count, *shape)) > 0.5
    packed = pack(((0, plane) for plane in planes), count, shape[0] * shape[1])
    assert len(packed) % 2 == 0
    read = [unpack(packed, n, *shape) for n in range(count)]
    assert (planes == np.array(read)).all()
