"""The structured report: what it says, to what it refers, and what it must never say."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_io import results, sr_items, sr_text
from dicom_io.errors import ObjectError
from dicom_io.findings import Evaluation, Exclusion, Reason, SideFinding, StudyFindings
from dicom_io.sr_items import content_items
from tests.builders_objects import (
    NOW,
    POINT,
    SourceSpec,
    findings,
    node,
    raw,
    study,
    uid,
    view,
    write,
)

SR_ONLY = results.ResultSettings(seg=False)


def build(
    found: StudyFindings, paths: Sequence[Path], settings: results.ResultSettings = SR_ONLY
) -> Dataset:
    return pydicom.dcmread(io.BytesIO(results.build(found, paths, settings, uid, NOW)[-1].data))


def named(ds: Dataset, code: str) -> Iterator[Dataset]:
    return (i for i in content_items(ds) if i.ConceptNameCodeSequence[0].CodeValue == code)


def number(ds: Dataset, code: str) -> tuple[float, str]:
    (item,) = named(ds, code)
    measured = item.MeasuredValueSequence[0]
    return float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue


def words(ds: Dataset) -> str:
    return "\n".join(i.TextValue for i in content_items(ds) if i.ValueType == "TEXT")


def test_highdicom_reads_the_nodes(tmp_path: Path) -> None:
    """An independent reader finds each planar group: contour, site, tracking and numbers."""
    sets, paths = study(tmp_path, SourceSpec(frames=4))
    nodes = [node(1, view(sets[0], 2), view(sets[0], 3)), node(2, view(sets[0], 4))]
    found = findings(sets, nodes)
    (built,) = results.build(found, paths, SR_ONLY, uid, NOW)

    report = hd.sr.srread(io.BytesIO(built.data))
    groups = report.content.get_planar_roi_measurement_groups()

    assert [g.tracking_uid for g in groups] == [n.tracking_uid for n in nodes]
    assert [g.tracking_identifier for g in groups] == ["Node 1", "Node 2"]
    first = groups[0]
    assert first.finding_type == codes.SCT.LymphNode
    assert first.finding_sites[0].topographical_modifier is None
    assert first.finding_sites[0].laterality == codes.SCT.Right
    assert first.roi.graphic_type.value == "POLYLINE"
    key = nodes[0].views[nodes[0].key_view]
    assert np.allclose(first.roi.value, key.contour, atol=1e-4)
    values = {m.name.value: (m.value, m.unit.value) for m in first.get_measurements()}
    assert values["103339001"] == (12.5, "mm")
    assert values["103340004"] == (6.25, "mm")
    assert values["42798000"] == (61.4, "mm2")
    assert values["SCORE"] == (0.6125, "{0:1}")
    assert report.content.get_image_measurement_groups() == []


def test_groups_without_a_contour_stand_apart(tmp_path: Path) -> None:
    """A side's group among the nodes' stops OHIF 3.13, which reads a contour of each."""
    sets, paths = study(tmp_path, SourceSpec())
    report = build(findings(sets, [node(1, view(sets[0]))]), paths)
    (measured,) = named(report, "126010")
    (evaluated,) = named(report, "C0034375")
    (of_node,), (of_side,) = measured.ContentSequence, evaluated.ContentSequence
    assert any(item.ValueType == "SCOORD" for item in of_node.ContentSequence)
    assert of_side.ContentSequence[0].TextValue == "Right axilla"


def test_nothing_measured_is_no_empty_section(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    report = build(findings(sets), paths)
    assert list(named(report, "126010")) == []
    assert len(list(named(report, "C0034375"))) == 1


def test_the_score_is_among_the_first_five_numbers(tmp_path: Path) -> None:
    """OHIF lists no more."""
    sets, paths = study(tmp_path, SourceSpec())
    report = build(findings(sets, [node(1, view(sets[0]))]), paths)
    (measured,) = named(report, "126010")
    numbers = [i for i in measured.ContentSequence[0].ContentSequence if i.ValueType == "NUM"]
    first = [item.ConceptNameCodeSequence[0].CodeMeaning for item in numbers[:5]]
    assert "AI score for axillary lymph node metastasis" in first


def test_the_limits_of_an_evaluation_are_told_with_it(tmp_path: Path) -> None:
    """Without them a score above the operating point that reads indeterminate looks wrong."""
    sets, paths = study(tmp_path, SourceSpec())
    nodes = [node(n, view(sets[0])) for n in (1, 2)]
    side = SideFinding("R", (1, 2), 0.5, Evaluation.INDETERMINATE)
    limits = {"rule_in": replace(POINT, threshold=0.8), "rule_out": replace(POINT, threshold=0.1)}
    found = replace(findings(sets, nodes), sides=(side,), aggregation="mean", **limits)
    report = build(found, paths)
    said = words(report)
    assert "The score is the mean of Node 1, Node 2. Declared limits: suspected from 0.800" in said
    assert "NOT suspected below 0.100; otherwise indeterminate." in said
    thresholds = [
        float(item.MeasuredValueSequence[0].NumericValue) for item in named(report, "THRESHOLD")
    ]
    assert thresholds == [0.45, 0.8, 0.1]


def test_contour_lies_on_the_frame_that_was_measured(tmp_path: Path) -> None:
    """The region refers to the key view: image, and frame where there are several."""
    sets, paths = study(tmp_path, SourceSpec(frames=4), SourceSpec(number=2))
    nodes = [node(1, view(sets[0], 2), view(sets[0], 3)), node(2, view(sets[1]))]
    report = build(findings(sets, nodes), paths)

    regions = [i.ContentSequence[0].ReferencedSOPSequence[0] for i in named(report, "111030")]
    assert [r.ReferencedSOPInstanceUID for r in regions] == [ds.SOPInstanceUID for ds in sets]
    assert [r.get("ReferencedFrameNumber") for r in regions] == [3, None]


def test_contours_are_closed_and_inside_the_image(tmp_path: Path) -> None:
    """An open or overlong contour is closed, clipped and thinned."""
    sets, paths = study(tmp_path, SourceSpec())
    angle = np.linspace(0, 2 * np.pi, 20000, endpoint=False)
    contour = np.stack([18 + 30 * np.cos(angle), 12 + 5 * np.sin(angle)], axis=1)
    wide = replace(view(sets[0]), contour=contour)
    report = build(findings(sets, [node(1, wide)]), paths)

    (region,) = named(report, "111030")
    points = np.array(region.GraphicData).reshape(-1, 2)
    assert np.array_equal(points[0], points[-1])
    assert points.min() >= 0
    assert points[:, 0].max() <= 36
    assert len(points) <= 4001


def test_a_contour_of_two_points_is_refused(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    line = replace(view(sets[0]), contour=np.zeros((2, 2)))
    with pytest.raises(ObjectError, match="three points"):
        build(findings(sets, [node(1, line)]), paths)


def test_uncalibrated_measurements_are_in_pixels_and_say_so(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec(calibrated=False))
    found = findings(sets, [node(1, view(sets[0]), calibrated=False)], calibrated=False)
    report = build(found, paths)

    assert number(report, "103339001") == (12.5, "{pixels}")
    assert number(report, "42798000") == (61.4, "{pixels}")
    assert "No physical calibration was found for the images of Node 1" in words(report)


def test_private_codes_are_identified(tmp_path: Path) -> None:
    """The score has a code of our own, since none of DICOM's means it."""
    sets, paths = study(tmp_path, SourceSpec())
    report = build(findings(sets, [node(1, view(sets[0]))]), paths)
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99AXNODE"
    concepts = [i.ConceptNameCodeSequence[0] for i in content_items(report)]
    scores = [c for c in concepts if c.CodeValue == "SCORE"]
    assert {c.CodingSchemeDesignator for c in scores} == {"99AXNODE"}
    assert all(len(c.CodeValue) <= 16 and len(c.CodeMeaning) <= 64 for c in concepts)
    assert not any(c.CodeValue in ("111047", "122157") for c in concepts)


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        (Evaluation.SUSPECTED, "415684004"),
        (Evaluation.NOT_SUSPECTED, "428263003"),
        (Evaluation.INDETERMINATE, "82334004"),
    ],
)
def test_three_way_evaluation(tmp_path: Path, evaluation: Evaluation, expected: str) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    found = findings(sets, [node(1, view(sets[0]))])
    report = build(replace(found, sides=(SideFinding("R", (1,), 0.6, evaluation),)), paths)
    (item,) = named(report, "111330")
    assert item.ConceptCodeSequence[0].CodeValue == expected


def test_without_an_evaluation_there_is_none(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    report = build(findings(sets, [node(1, view(sets[0]))]), paths)
    assert list(named(report, "111330")) == []


def test_a_demonstration_never_evaluates(tmp_path: Path) -> None:
    """A demonstration bundle with an evaluation is a fault, and nothing is built."""
    sets, paths = study(tmp_path, SourceSpec())
    found = findings(sets, [node(1, view(sets[0]))], demonstration=True)
    wrong = replace(found, sides=(SideFinding("R", (1,), 0.6, Evaluation.SUSPECTED),))
    with pytest.raises(ObjectError, match="demonstration"):
        build(wrong, paths)


def test_a_demonstration_says_so(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    report = build(findings(sets, [node(1, view(sets[0]))], demonstration=True), paths)
    assert report.SeriesDescription.startswith("DEMONSTRATION ")
    (banner,) = named(report, "DEMONSTRATION")
    assert banner.TextValue.startswith("DEMONSTRATION.")


def test_no_node_reads_none_segmented(tmp_path: Path) -> None:
    """Never as a negative finding."""
    sets, paths = study(tmp_path, SourceSpec())
    report = build(findings(sets), paths)
    (item,) = named(report, "SEGM_RESULT")
    assert item.ConceptCodeSequence[0].CodeMeaning == "None segmented"
    assert "no negative finding" in words(report)
    assert list(named(report, "SCORE")) == list(named(report, "111330")) == []


def test_a_study_that_could_not_be_read_has_a_report(tmp_path: Path) -> None:
    """The reason is coded and in words, and every image left out is referred to."""
    sets, paths = study(tmp_path, SourceSpec(), SourceSpec(number=2, frames=5))
    left_out = (
        Exclusion(str(sets[0].SOPInstanceUID), None, Reason.NO_B_MODE),
        *(Exclusion(str(sets[1].SOPInstanceUID), n, Reason.COLOUR_OVERLAY) for n in (1, 2, 3, 5)),
    )
    found = replace(
        findings(sets), images=(), sides=(), exclusions=left_out, not_evaluable=Reason.NO_B_MODE
    )
    report = build(found, paths)

    (why,) = named(report, "EVALUABILITY")
    assert why.ConceptCodeSequence[0].CodeValue == "NO_B_MODE"
    assert "Not evaluable: no B-mode tissue region on the image." in words(report)
    assert "frames 1-3, 5: Doppler colour covers too much" in words(report)
    first, second = named(report, "EXCLUDED")
    references = [i.ContentSequence[1].ReferencedSOPSequence[0] for i in (first, second)]
    assert [r.get("ReferencedFrameNumber") for r in references] == [None, [1, 2, 3, 5]]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_code_that_fits(tmp_path: Path, reason: Reason) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    report = build(replace(findings(sets), images=(), sides=(), not_evaluable=reason), paths)
    (why,) = named(report, "EVALUABILITY")
    value = why.ConceptCodeSequence[0]
    assert len(value.CodeValue) <= 16
    assert value.CodeMeaning == reason.words


def test_evidence_lists_images_and_segs(tmp_path: Path) -> None:
    """Whatever the tree refers to is evidence, and so is the SEG, tied by the tracking UID."""
    sets, paths = study(tmp_path, SourceSpec(), SourceSpec(series=2))
    found = findings(sets, [node(1, view(sets[0]))])
    built = results.build(found, paths, results.ResultSettings(), uid, NOW)
    seg, report = (pydicom.dcmread(io.BytesIO(b.data)) for b in built)

    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    listed = {
        (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert {(ds.SeriesInstanceUID, ds.SOPInstanceUID) for ds in (*sets, seg)} == listed
    assert evidence.StudyInstanceUID == sets[0].StudyInstanceUID
    tracked = {i.UID for i in named(report, "112040")}
    assert seg.SegmentSequence[0].TrackingUID in tracked


def test_a_later_version_names_its_predecessor(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    before = ("1.2.840.10008.5.1.4.1.1.88.33", "1.2.3.4", "1.2.3")
    found = replace(findings(sets), version=3, predecessors=(before,), replaces=2)  # type: ignore[arg-type]
    report = build(found, paths)

    series = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    item = series.ReferencedSOPSequence[0]
    assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == before[:2]
    assert series.SeriesInstanceUID == before[2]
    assert "it replaces version 2" in words(report)
    assert "v3 (replaces v2)" in report.SeriesDescription


def test_a_version_whose_predecessors_were_never_built_replaces_nothing(tmp_path: Path) -> None:
    """Version 1 was parked: nobody has it, and nobody must look for it."""
    sets, paths = study(tmp_path, SourceSpec())
    report = build(replace(findings(sets), version=2), paths)
    assert "replaces" not in words(report)
    assert "PredecessorDocumentsSequence" not in report
    assert report.SeriesDescription.endswith(" v2")


def test_a_predecessor_without_series_is_refused(tmp_path: Path) -> None:
    """The standard wants the series; a report without it would not validate."""
    sets, paths = study(tmp_path, SourceSpec())
    found = replace(findings(sets), version=2, predecessors=(("1.2.3", "1.2.4"),))
    with pytest.raises(ObjectError, match="series"):
        build(found, paths)


def test_the_document_is_complete_and_not_verified(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    report = build(findings(sets), paths)
    flags = (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag)
    assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")


def test_the_observer_is_the_device(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    found = findings(sets)
    report = hd.sr.srread(
        io.BytesIO(results.build(found, paths, SR_ONLY, uid, NOW)[0].data)
    ).content
    (context,) = report.get_observer_contexts()
    attributes = context.observer_identifying_attributes
    assert attributes.uid == found.device_uid
    assert (attributes.name, attributes.manufacturer_name) == ("AXNODE", "AxNode")


def test_operating_point_is_told_with_its_interval(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    report = build(findings(sets), paths)
    assert number(report, "THRESHOLD") == (0.45, "{0:1}")
    assert number(report, "SENSITIVITY") == (0.57, "{0:1}")
    bounds = [float(i.MeasuredValueSequence[0].NumericValue) for i in named(report, "CI95_LOWER")]
    assert bounds == [0.5, 0.88]


def test_the_procedure_is_the_sources_own(tmp_path: Path) -> None:
    """The imaging procedure, not the algorithm; a fallback where the source has none."""
    sets, paths = study(tmp_path, SourceSpec())
    fallback = next(named(build(findings(sets), paths), "121058"))
    assert fallback.ConceptCodeSequence[0].CodeValue == "363679005"
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator = "USAX", "99LOCAL"
    procedure.CodeMeaning = "US axilla"
    sets[0].ProcedureCodeSequence = [procedure]
    write(sets[0], paths[0])
    (own,) = named(build(findings(sets), paths), "121058")
    assert own.ConceptCodeSequence[0].CodeMeaning == "US axilla"


def test_a_procedure_that_is_not_ascii_falls_back(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator = "USAX", "99LOCAL"
    raw(procedure, "CodeMeaning", "\u8d85\u97f3\u6ce2".encode())
    sets[0].ProcedureCodeSequence = [procedure]
    write(sets[0], paths[0])
    (item,) = named(build(findings(sets), paths), "121058")
    assert item.ConceptCodeSequence[0].CodeValue == "363679005"


def test_class_is_a_setting(tmp_path: Path) -> None:
    """Both classes carry the same tree."""
    sets, paths = study(tmp_path, SourceSpec())
    found = findings(sets, [node(1, view(sets[0]))])
    plain = build(found, paths)
    spatial = build(found, paths, replace(SR_ONLY, sr_class="comprehensive_3d"))
    assert plain.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
    assert spatial.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert plain.ContentSequence == spatial.ContentSequence


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="flat"):
        results.ResultSettings(seg_geometry="flat")


def test_unknown_side_is_said_and_not_guessed(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec(laterality=None))
    report = build(findings(sets, [node(1, view(sets[0]), side=None)]), paths)
    assert list(named(report, "272741003")) == []
    assert "it was not guessed" in words(report)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.00001, "0"),
        (1e-9, "0"),
        (12.50, "12.5"),
        (1e7, "10000000"),
        (0.61249, "0.6125"),
    ],
)
def test_decimals(value: float, expected: str) -> None:
    """No exponent, no more than four decimals."""
    assert sr_items.decimal(value) == expected


def test_a_measurement_that_is_no_number_is_refused() -> None:
    with pytest.raises(ObjectError):
        sr_items.decimal(float("nan"))


@pytest.mark.parametrize(
    ("numbers", "expected"), [((1,), "1"), ((3, 1, 2), "1-3"), ((1, 2, 4, 4, 6, 7), "1-2, 4, 6-7")]
)
def test_ranges(numbers: tuple[int, ...], expected: str) -> None:
    assert sr_text.ranges(numbers) == expected


def test_the_image_library_says_what_each_image_is(tmp_path: Path) -> None:
    """Side, time and frames as the source states them; what it does not state is left out."""
    sets, paths = study(tmp_path, SourceSpec(frames=4), SourceSpec(number=2, laterality=None))
    del sets[1].ContentDate
    sets[1].ContentTime = "25 past"
    write(sets[1], paths[1])
    found = findings(sets)
    sides = [replace(image, laterality=s) for image, s in zip(found.images, "R ", strict=True)]
    found = replace(found, images=(sides[0], replace(sides[1], laterality=None)))
    report = build(found, paths)

    cine, still = [
        {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in entry.ContentSequence}
        for entry in named(report, "260753009")
        if entry.RelationshipType == "CONTAINS"
    ]
    assert cine["Image Laterality"].ConceptCodeSequence[0].CodeMeaning == "Right"
    assert cine["Content Date"].Date == "20260304"
    assert cine["Content Time"].Time == "050607"
    assert cine["Number of Frames"].MeasuredValueSequence[0].NumericValue == 4
    assert set(still) == {
        "Modality",
        "Pixel Data Rows",
        "Pixel Data Columns",
        "Horizontal Pixel Spacing",
        "Vertical Pixel Spacing",
    }
