"""Presentation states: contours in place, pixels shown as before, nothing drawn that misleads."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from PIL import Image, ImageCms
from pydicom.dataset import Dataset
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    GrayscaleSoftcopyPresentationStateStorage,
)

from dicom_io import context, results, validate
from dicom_io.contour import closed
from dicom_io.errors import ObjectError
from dicom_io.findings import Calibration, NodeFinding, NodeView, StudyFindings
from dicom_io.presentation import presentation_states
from tests.builders_objects import NOW, SourceSpec, findings, node, study, uid, view, write

GREY, COLOUR = GrayscaleSoftcopyPresentationStateStorage, ColorSoftcopyPresentationStateStorage


def build(found: StudyFindings, paths: list[Path]) -> list[Dataset]:
    sources = [context.read_source(path) for path in paths]
    built = presentation_states(found, sources, uid, NOW)
    assert [b.role for b in built] == ["pr"] * len(built)
    assert [b.ordinal for b in built] == list(range(len(built)))
    return [pydicom.dcmread(io.BytesIO(b.data)) for b in built]


def drawn(state: Dataset) -> dict[tuple[str, int, str], list[np.ndarray]]:
    """Return the points of each graphic by image, frame and tracking UID."""
    graphics: dict[tuple[str, int, str], list[np.ndarray]] = {}
    for item in state.GraphicAnnotationSequence:
        (image,) = item.ReferencedImageSequence
        for graphic in item.GraphicObjectSequence:
            points = np.array(graphic.GraphicData).reshape(-1, 2)
            assert len(points) == graphic.NumberOfGraphicPoints
            number = image.get("ReferencedFrameNumber", 0)
            key = (str(image.ReferencedSOPInstanceUID), int(number), str(graphic.TrackingUID))
            graphics.setdefault(key, []).append(points)
    return graphics


def captions(state: Dataset) -> list[str]:
    return [
        text.UnformattedTextValue
        for item in state.GraphicAnnotationSequence
        for text in item.TextObjectSequence
    ]


def test_contours_lie_on_the_frames_they_were_found_on(tmp_path: Path) -> None:
    """Frames 2 and 4 of a cine: two graphics, exactly the contours; nothing on the others."""
    sets, paths = study(tmp_path, SourceSpec(frames=5))
    views = [view(sets[0], 4, row=9), view(sets[0], 2)]

    (state,) = build(findings(sets, [node(1, *views)]), paths)

    image = str(sets[0].SOPInstanceUID)
    graphics = drawn(state)
    assert list(graphics) == [(image, frame, uid("tracking", 1)) for frame in (2, 4)]
    for v in views:
        (points,) = graphics[image, v.frame_number, uid("tracking", 1)]
        assert np.allclose(points, v.contour, atol=1e-5)
        assert (points[0] == points[-1]).all()


def test_stills_share_a_state_and_name_no_frame(tmp_path: Path) -> None:
    """Images without a node are not in it."""
    sets, paths = study(tmp_path, *(SourceSpec(number=n) for n in (1, 2, 3)))
    nodes = [node(1, view(sets[0])), node(2, view(sets[2])), node(3, view(sets[2], row=12))]

    (state,) = build(findings(sets, nodes), paths)

    first, last = (str(sets[n].SOPInstanceUID) for n in (0, 2))
    assert list(drawn(state)) == [
        (first, 0, uid("tracking", 1)),
        (last, 0, uid("tracking", 2)),
        (last, 0, uid("tracking", 3)),
    ]
    (series,) = state.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == sets[0].SeriesInstanceUID
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedImageSequence] == [first, last]


def test_parts_of_a_node_on_one_frame_have_one_caption(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    parts = [view(sets[0]), view(sets[0], row=12, column=20)]
    (state,) = build(findings(sets, [node(1, *parts)]), paths)
    ((points),) = drawn(state).values()
    assert len(points) == 2
    assert captions(state) == ["Node 1  12.5 x 6.2 mm"]


def test_a_frame_without_a_pixel_of_the_node_gets_nothing(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec(frames=3))
    lost = view(sets[0], 3)
    lost = replace(lost, mask=np.zeros_like(lost.mask))
    (state,) = build(findings(sets, [node(1, view(sets[0], 1), lost)]), paths)
    assert [key[1] for key in drawn(state)] == [1]


def test_size_is_told_on_the_frame_that_was_measured(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec(frames=3))
    views = [view(sets[0], frame) for frame in (1, 2, 3)]  # measured on the middle one
    (state,) = build(findings(sets, [node(1, *views, calibrated=False)]), paths)
    assert captions(state) == ["Node 1", "Node 1  12.5 x 6.2 px", "Node 1"]


@pytest.mark.parametrize("row", [0, 3, 17, 200, 590])
@pytest.mark.parametrize("column", [0, 780])
def test_captions_stay_inside_the_image_and_off_the_node(
    tmp_path: Path, row: int, column: int
) -> None:
    sets, paths = study(tmp_path, SourceSpec(rows=600, columns=800))
    v = view(sets[0], row=row, column=column)
    (state,) = build(findings(sets, [node(1, v)]), paths)
    text = state.GraphicAnnotationSequence[0].TextObjectSequence[0]
    (left, top), (right, bottom) = (
        text.BoundingBoxTopLeftHandCorner,
        text.BoundingBoxBottomRightHandCorner,
    )
    assert 0 <= left < right <= 800
    assert 0 <= top < bottom <= 600
    # the corners went through 32 bits
    assert bottom <= v.contour[:, 1].min() + 1e-3 or top >= v.contour[:, 1].max() - 1e-3


@pytest.mark.parametrize(
    ("photometric", "sop_class"),
    [
        ("RGB", COLOUR),
        ("YBR_FULL", COLOUR),
        ("YBR_FULL_422", COLOUR),
        ("PALETTE COLOR", COLOUR),
        ("MONOCHROME1", GREY),
        ("MONOCHROME2", GREY),
    ],
)
def test_class_follows_the_pixels(tmp_path: Path, photometric: str, sop_class: str) -> None:
    sets, paths = study(tmp_path, SourceSpec(photometric=photometric))
    (state,) = build(findings(sets, [node(1, view(sets[0]))]), paths)
    assert state.SOPClassUID == sop_class
    assert ("ICCProfile" in state) == (sop_class == COLOUR)
    shape = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}.get(photometric)
    assert state.get("PresentationLUTShape") == shape


def grey(folder: Path, *changes: dict[str, object]) -> tuple[list[Dataset], list[Path]]:
    """Write monochrome stills of one series, each with its own attributes of display."""
    specs = [SourceSpec(photometric="MONOCHROME2", number=n) for n in range(1, len(changes) + 1)]
    sets, paths = study(folder, *specs)
    for ds, path, change in zip(sets, paths, changes, strict=True):
        for keyword, value in change.items():
            setattr(ds, keyword, value)
        write(ds, path)
    return sets, paths


def test_window_and_rescale_are_repeated(tmp_path: Path) -> None:
    """A presentation state replaces them: what it does not say is not applied."""
    sets, paths = grey(
        tmp_path,
        {
            "WindowCenter": [90, 40],
            "WindowWidth": [120, 80],
            "VOILUTFunction": "SIGMOID",
            "RescaleSlope": 2,
            "RescaleIntercept": -10,
            "RescaleType": "US",
        },
    )
    (state,) = build(findings(sets, [node(1, view(sets[0]))]), paths)
    (voi,) = state.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction) == (90, 120, "SIGMOID")
    assert (state.RescaleSlope, state.RescaleIntercept) == (2, -10)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"WindowCenter": 90},
        {"WindowCenter": 90, "WindowWidth": 0},
        {"RescaleSlope": 0, "RescaleIntercept": 4},
    ],
)
def test_half_a_window_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    sets, paths = grey(tmp_path, change)
    (state,) = build(findings(sets, [node(1, view(sets[0]))]), paths)
    assert "SoftcopyVOILUTSequence" not in state
    assert "RescaleSlope" not in state


def test_images_shown_differently_have_states_of_their_own(tmp_path: Path) -> None:
    windows: list[dict[str, object]] = [
        {},
        {"WindowCenter": 90, "WindowWidth": 50},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {},
    ]
    sets, paths = grey(tmp_path, *windows)
    nodes = [node(n, view(ds)) for n, ds in enumerate(sets, 1)]
    states = build(findings(sets, nodes), paths)
    assert [len(drawn(state)) for state in states] == [2, 1, 1]
    assert len({state.SeriesInstanceUID for state in states}) == 1
    assert len({state.SOPInstanceUID for state in states}) == 3
    assert [state.InstanceNumber for state in states] == [1, 2, 3]


def test_still_and_cine_have_states_of_their_own(tmp_path: Path) -> None:
    """One state may show images of one SOP class only (PS3.4 N.1.1), and of one series here."""
    sets, paths = study(
        tmp_path, SourceSpec(), SourceSpec(number=2, frames=2), SourceSpec(series=2)
    )
    nodes = [node(n, view(ds)) for n, ds in enumerate(sets, 1)]
    states = build(findings(sets, nodes), paths)
    assert [len(state.ReferencedSeriesSequence[0].ReferencedImageSequence) for state in states] == [
        1,
        1,
        1,
    ]


def _table(keyword: str) -> dict[str, object]:
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [256, 0, 8], list(range(256))
    lut["LUTDescriptor"].VR = lut["LUTData"].VR = "US"
    lut.ModalityLUTType = "US"
    return {keyword: [lut]}


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_where_one_node_cannot_be_drawn_there_is_no_state(tmp_path: Path, keyword: str) -> None:
    """An image shown through a table; a state without its node would hide a finding."""
    sets, paths = grey(tmp_path, _table(keyword), {})
    nodes = [node(n, view(ds)) for n, ds in enumerate(sets, 1)]
    assert build(findings(sets, nodes), paths) == []
    assert len(build(findings(sets, nodes[1:]), paths)) == 1


def test_a_frame_that_cannot_be_named_is_not_drawn_on(tmp_path: Path) -> None:
    """In a single-frame class with two frames the contour would lie on both."""
    sets, paths = study(tmp_path, SourceSpec(frames=2, multiframe_class=False))
    sets[0].NumberOfFrames = 2
    write(sets[0], paths[0])
    assert build(findings(sets, [node(1, view(sets[0], 2))]), paths) == []


def test_no_node_no_state(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    assert build(findings(sets), paths) == []


def test_a_node_on_an_unknown_image_is_refused(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec(), SourceSpec(number=2))
    with pytest.raises(ObjectError, match="Node 1 is not among the sources"):
        build(findings(sets, [node(1, view(sets[1]))]), paths[:1])


def test_whole_image_is_displayed_in_its_own_shape(tmp_path: Path) -> None:
    """One area per size and shape of pixel: calibrated, said by the image, or square."""
    sets, paths = study(
        tmp_path,
        SourceSpec(),
        SourceSpec(number=2),
        SourceSpec(number=3, rows=40),
        SourceSpec(number=4),
        SourceSpec(number=5),
    )
    sets[4].PixelAspectRatio = [4, 3]
    write(sets[4], paths[4])
    found = findings(sets, [node(n, view(ds)) for n, ds in enumerate(sets, 1)])
    images = list(found.images)
    images[0] = images[1] = replace(images[0], calibration=Calibration(0.2, 0.1))
    images[1] = replace(images[1], sop_instance_uid=str(sets[1].SOPInstanceUID))
    images[2:] = [replace(image, calibration=None) for image in images[2:]]

    (state,) = build(replace(found, images=tuple(images)), paths)

    areas = [
        (
            [
                sets.index(s)
                for i in area.ReferencedImageSequence
                for s in sets
                if s.SOPInstanceUID == i.ReferencedSOPInstanceUID
            ],
            list(area.DisplayedAreaTopLeftHandCorner),
            list(area.DisplayedAreaBottomRightHandCorner),
            [float(v) for v in area.get("PresentationPixelSpacing", ())],
            list(area.get("PresentationPixelAspectRatio", ())),
        )
        for area in state.DisplayedAreaSelectionSequence
    ]
    assert areas == [
        ([0, 1], [1, 1], [36, 24], [0.2, 0.1], []),
        ([2], [1, 1], [36, 40], [], [1, 1]),
        ([3], [1, 1], [36, 24], [], [1, 1]),
        ([4], [1, 1], [36, 24], [], [4, 3]),
    ]


def test_layers_have_the_colours_of_the_segments(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    nodes = [node(n, view(sets[0], row=n)) for n in range(1, 9)]
    found = findings(sets, nodes)
    (state,) = build(found, paths)
    (built,) = results.build(found, paths, results.ResultSettings(sr=False), uid, NOW)
    seg = pydicom.dcmread(io.BytesIO(built.data))
    layers = state.GraphicLayerSequence
    assert [list(layer.GraphicLayerRecommendedDisplayCIELabValue) for layer in layers] == [
        list(segment.RecommendedDisplayCIELabValue) for segment in seg.SegmentSequence
    ]
    assert [item.GraphicLayer for item in state.GraphicAnnotationSequence] == [
        layer.GraphicLayer for layer in layers
    ]
    assert [layer.GraphicLayerOrder for layer in layers] == list(range(1, 9))


@pytest.mark.parametrize("demonstration", [True, False])
def test_a_demonstration_says_so_wherever_it_is_seen(tmp_path: Path, demonstration: bool) -> None:
    sets, paths = study(tmp_path, SourceSpec(frames=2))
    found = findings(
        sets, [node(1, view(sets[0], 1), view(sets[0], 2))], demonstration=demonstration
    )
    (state,) = build(found, paths)
    words = [state.SeriesDescription, state.ContentDescription, *captions(state)]
    assert ["DEMONSTRATION" in text for text in words] == [demonstration] * 4


@pytest.mark.parametrize(
    ("sides", "expected"), [(("L", "L"), "L"), (("L", "R"), ""), (("L", None), ""), ((None,), "")]
)
def test_all_states_of_the_series_say_one_side(
    tmp_path: Path, sides: tuple[str | None, ...], expected: str
) -> None:
    """Laterality belongs to the series, so it cannot differ between its objects."""
    sets, paths = study(tmp_path, SourceSpec(), SourceSpec(number=2, frames=2))
    nodes = [node(n, view(sets[n - 1]), side=side) for n, side in enumerate(sides, 1)]
    states = build(findings(sets, nodes), paths)
    assert [state.Laterality or "" for state in states] == [expected] * len(sides)


def test_contours_are_clipped_thinned_and_closed(tmp_path: Path) -> None:
    """Sixteen bits of length hold 8191 points, and nothing may lie outside the image."""
    sets, paths = study(tmp_path, SourceSpec())
    angle = np.linspace(0, 2 * np.pi, 20000, endpoint=False)
    wide = np.stack([18 + 30 * np.cos(angle), 12 + 5 * np.sin(angle)], axis=1)
    (state,) = build(findings(sets, [node(1, replace(view(sets[0]), contour=wide))]), paths)
    ((points,),) = drawn(state).values()
    assert len(points) <= 4001
    assert (points.min(axis=0) >= 0).all()
    assert (points.max(axis=0) <= [36, 24]).all()
    assert (points[0] == points[-1]).all()


def test_profile_is_srgb_of_an_input_device(tmp_path: Path) -> None:
    """Colour management must not change the image: our profile to sRGB is the identity."""
    sets, paths = study(tmp_path, SourceSpec())
    (state,) = build(findings(sets, [node(1, view(sets[0]))]), paths)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(state.ICCProfile))
    assert (profile.profile.device_class, profile.profile.xcolor_space) == ("scnr", "RGB ")
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    to_srgb = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    shown = ImageCms.applyTransform(Image.fromarray(pixels), to_srgb)
    assert shown is not None
    assert np.abs(np.asarray(shown).astype(int) - pixels).max() <= 1


def test_highdicom_writes_the_same_graphics(tmp_path: Path) -> None:
    """An independent writer, with checks of its own, comes to the same items."""
    sets, paths = study(tmp_path, SourceSpec(frames=3))
    found = findings(sets, [node(1, view(sets[0], 2))])
    (state,) = build(found, paths)
    (ours,) = state.GraphicAnnotationSequence
    text = ours.TextObjectSequence[0]
    layer = hd.pr.GraphicLayer("NODE 1", order=1, description="Node 1")
    graphic = hd.pr.GraphicObject(
        graphic_type="POLYLINE",
        graphic_data=closed(found.nodes[0].views[0].contour, context.source_of(sets[0])),
        units="PIXEL",
        is_filled=False,
        tracking_id="Node 1",
        tracking_uid=uid("tracking", 1),
    )
    caption = hd.pr.TextObject(
        text.UnformattedTextValue,
        units="PIXEL",
        bounding_box=(*text.BoundingBoxTopLeftHandCorner, *text.BoundingBoxBottomRightHandCorner),
        text_justification="LEFT",
    )
    item = hd.pr.GraphicAnnotation(
        [sets[0]],
        layer,
        referenced_frame_number=2,
        graphic_objects=[graphic],
        text_objects=[caption],
    )
    theirs = hd.pr.ColorSoftcopyPresentationState(
        [sets[0]],
        uid("x", 0),
        1,
        uid("x", 1),
        1,
        "A",
        "B",
        "1",
        "1",
        "LYMPH_NODES",
        graphic_annotations=[item],
        graphic_layers=[layer],
        icc_profile=state.ICCProfile,
    )

    buffer = io.BytesIO()
    theirs.save_as(buffer)
    written = pydicom.dcmread(io.BytesIO(buffer.getvalue()))
    assert written.GraphicAnnotationSequence[0] == ours
    assert written.ReferencedSeriesSequence == state.ReferencedSeriesSequence


def _move_a_point(ds: Dataset) -> None:
    graphic = ds.GraphicAnnotationSequence[0].GraphicObjectSequence[0]
    graphic.GraphicData = [graphic.GraphicData[0] + 1, *graphic.GraphicData[1:]]


def _other_frame(ds: Dataset) -> None:
    ds.GraphicAnnotationSequence[0].ReferencedImageSequence[0].ReferencedFrameNumber = 1


def _missing_frame(ds: Dataset) -> None:
    ds.GraphicAnnotationSequence[0].ReferencedImageSequence[0].ReferencedFrameNumber = 9


def _lost_frame(ds: Dataset) -> None:
    del ds.GraphicAnnotationSequence[0]


def _nothing_drawn(ds: Dataset) -> None:
    ds.GraphicAnnotationSequence = []


def _other_node(ds: Dataset) -> None:
    for item in ds.GraphicAnnotationSequence:
        item.GraphicObjectSequence[0].TrackingUID = "1.2.3"


def _no_layer(ds: Dataset) -> None:
    del ds.GraphicLayerSequence


def _other_count(ds: Dataset) -> None:
    ds.GraphicAnnotationSequence[0].GraphicObjectSequence[0].NumberOfGraphicPoints = 3


def _foreign_image(ds: Dataset) -> None:
    ds.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def _foreign_area(ds: Dataset) -> None:
    area = ds.DisplayedAreaSelectionSequence[0]
    area.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_move_a_point, "not the contour that was found"),
        (_other_frame, "not the contour that was found"),
        (_lost_frame, "not the contour that was found"),
        (_nothing_drawn, "not the contour that was found"),
        (_other_node, "not the contour that was found"),
        (_no_layer, "layer that does not exist"),
        (_other_count, "as many points"),
        (_missing_frame, "frame that does not exist"),
        (_foreign_image, "not among its sources"),
        (_foreign_area, "not among its sources"),
    ],
)
def test_a_damaged_state_is_refused(
    tmp_path: Path, damage: Callable[[Dataset], None], message: str
) -> None:
    sets, paths = study(tmp_path, SourceSpec(frames=4))
    found = findings(sets, [_two_frames(sets[0])])
    sources = [context.read_source(path) for path in paths]
    (built,) = presentation_states(found, sources, uid, NOW)
    validate.check(built.data, found, sources)
    ds = pydicom.dcmread(io.BytesIO(built.data))
    damage(ds)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    with pytest.raises(ObjectError, match=message):
        validate.check(buffer.getvalue(), found, sources)


def _two_frames(ds: Dataset) -> NodeFinding:
    views: list[NodeView] = [view(ds, 2), view(ds, 3, row=5)]
    return node(1, *views)
