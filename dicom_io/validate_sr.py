"""The check of a report: it is whole, says what was found, and nothing that may not be said."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydicom.dataset import Dataset

from dicom_io import codes, sr_text
from dicom_io.codes import Code
from dicom_io.context import MANUFACTURER, Source, plain
from dicom_io.contour import closed
from dicom_io.errors import ObjectError
from dicom_io.findings import (
    ImageRead,
    NodeFinding,
    OperatingPoint,
    SideFinding,
    StudyFindings,
)
from dicom_io.seg import algorithm_parameters
from dicom_io.validate_codes import procedures
from dicom_io.validate_items import (
    Expected,
    Items,
    Said,
    check_items,
    compare,
    concept,
    items_of,
    named,
    number,
    said,
    site,
)
from dicom_io.validate_words import check_exclusions, check_notes, check_words


def check_report(ds: Dataset, findings: StudyFindings, sources: Sequence[Source]) -> None:
    """Check the items, the evidence, and every number, side and limit."""
    by_uid = {source.sop_instance_uid: source for source in sources}
    items = items_of(ds)
    check_items(ds, items)
    _check_evidence(ds, findings, sources)
    stated = said(ds)
    compare(stated, _observer(findings), "the report does not say who made it")
    _check_procedures(stated, sources)
    _check_library(items, findings, by_uid)
    _check_groups(ds, items, findings, by_uid)
    check_words(items, findings)
    check_exclusions(items, findings, by_uid)
    check_notes(items, findings, sources)
    if findings.algorithm.demonstration and any(named(items, codes.METASTASIS)):
        raise ObjectError("a demonstration's report may carry no qualitative finding")


def _check_evidence(ds: Dataset, findings: StudyFindings, sources: Sequence[Source]) -> None:
    """Every instance that is referred to is listed, and every image that was given."""
    study = findings.study_instance_uid
    listed = set(_listed(ds.CurrentRequestedProcedureEvidenceSequence))
    given = {(study, s.series_instance_uid, s.sop_class_uid, s.sop_instance_uid) for s in sources}
    if not given <= listed:
        raise ObjectError("the report does not list its sources as evidence")
    replaced = set(_listed(ds.get("PredecessorDocumentsSequence", ())))
    wanted = {(study, series, sop_class, uid) for sop_class, uid, series in findings.predecessors}
    if replaced != wanted:
        raise ObjectError("the report does not name the reports that it replaces")


def _listed(studies: Sequence[Dataset]) -> Iterator[tuple[str, ...]]:
    """Yield study, series, SOP class and instance of a Hierarchical SOP Instance Reference."""
    for study in studies:
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                uids = (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
                yield tuple(map(str, (study.StudyInstanceUID, series.SeriesInstanceUID, *uids)))


def _observer(findings: StudyFindings) -> Expected:
    return {
        codes.LANGUAGE: codes.ENGLISH.value,
        codes.OBSERVER_TYPE: codes.DEVICE.value,
        codes.DEVICE_UID: findings.device_uid,
        codes.DEVICE_NAME: plain(findings.node_ae_title),
        codes.DEVICE_MANUFACTURER: MANUFACTURER,
        codes.DEVICE_MODEL: plain(f"AxNode {findings.software_version}"),
        codes.DEVICE_SERIAL: findings.device_uid,
    }


def _check_procedures(stated: Said, sources: Sequence[Source]) -> None:
    allowed = {code.value for source in sources for code in procedures(source)}
    reported = stated.get(codes.PROCEDURE_REPORTED.value)
    if not reported or not allowed.union({codes.IMAGING_PROCEDURE.value}).issuperset(reported):
        raise ObjectError("the report does not name the procedure of its sources")


def _check_library(items: Items, findings: StudyFindings, sources: Mapping[str, Source]) -> None:
    """Check that the images read are listed, with the spacing that sizes rest on."""
    groups = named(items, codes.IMAGE_LIBRARY_GROUP)
    entries = [entry for group in groups for entry in group.ContentSequence]
    listed = [entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for entry in entries]
    if listed != [image.sop_instance_uid for image in findings.images]:
        raise ObjectError("the report does not list the images that were read")
    for entry, image in zip(entries, findings.images, strict=True):
        described = _image(image, sources[image.sop_instance_uid])
        stated = said(entry)
        if not codes.SOURCE.means(concept(entry)) or codes.MODALITY.value not in stated:
            raise ObjectError("the report lists an image without saying what it is")
        compare(stated, described, "the report describes another image")


def _image(image: ImageRead, source: Source) -> Expected:
    known = image.calibration
    cine = number(source.frame_count, codes.FRAMES) if source.is_cine else None
    return {
        codes.IMAGE_LATERALITY: codes.SIDES[image.laterality].value if image.laterality else None,
        codes.NUMBER_OF_FRAMES: cine,
        codes.ROWS: number(source.rows, codes.PIXELS),
        codes.COLUMNS: number(source.columns, codes.PIXELS),
        codes.HORIZONTAL_SPACING: number(known.column_mm, codes.MM) if known else None,
        codes.VERTICAL_SPACING: number(known.row_mm, codes.MM) if known else None,
    }


def _check_groups(
    ds: Dataset,
    items: Items,
    findings: StudyFindings,
    sources: Mapping[str, Source],
) -> None:
    """One group per node with its contour; one per side, or the reason why there is none."""
    nodes = _groups(ds, items, codes.IMAGING_MEASUREMENTS, "1410", len(findings.nodes))
    for group, node in zip(nodes, findings.nodes, strict=True):
        _check_group(group, _node(node), findings)
        _check_contour(group, node, sources)
    expected = [_side(findings, side) for side in findings.sides]
    if findings.not_evaluable:
        expected = [{codes.EVALUABILITY: codes.reason(findings.not_evaluable).value}]
    sides = _groups(ds, items, codes.QUALITATIVE_EVALUATIONS, "1501", len(expected))
    for group, values in zip(sides, expected, strict=True):
        _check_group(group, values, findings)
    _check_points(items, findings)


def _groups(ds: Dataset, items: Items, section: Code, template: str, count: int) -> list[Dataset]:
    groups = [group for container in named(items, section) for group in container.ContentSequence]
    if len(groups) != count:
        raise ObjectError("the report lacks a node or side that was found, or has another")
    if [_template(ds), *map(_template, groups)] != ["1500"] + [template] * count:
        raise ObjectError("the report does not name the templates that it follows")
    return groups


def _check_group(
    group: Dataset, values: Mapping[Code, str | None], findings: StudyFindings
) -> None:
    stated = said(group)
    if len(stated.get(codes.TRACKING_UID.value, ())) != 1:
        raise ObjectError("a group of the report has no tracking UID")
    compare(stated, {**values, **_algorithm(findings)}, "a group is not what was found")


def _check_points(items: Items, findings: StudyFindings) -> None:
    points = {
        codes.OPERATING_POINT: findings.operating_point,
        codes.RULE_IN: findings.rule_in,
        codes.RULE_OUT: findings.rule_out,
    }
    for name, point in points.items():
        stated = [item for item in named(items, name) if item.ValueType == "CONTAINER"]
        if len(stated) != (point is not None):
            raise ObjectError("the report lacks an operating point, or has another")
        if point is not None:
            compare(said(stated[0]), _operating_point(point), "an operating point is another one")


def _template(container: Dataset) -> str:
    (used,) = container.ContentTemplateSequence
    return str(used.TemplateIdentifier) if used.MappingResource == "DCMR" else ""


def _algorithm(findings: StudyFindings) -> Expected:
    used = findings.algorithm
    return {
        codes.ALGORITHM_NAME: plain(used.name),
        codes.ALGORITHM_VERSION: plain(used.version),
        codes.ALGORITHM_MANUFACTURER: MANUFACTURER,
        codes.ALGORITHM_PARAMETERS: algorithm_parameters(findings),
        codes.ALGORITHM_FAMILY: codes.ARTIFICIAL_INTELLIGENCE.value,
    }


def _side(findings: StudyFindings, side: SideFinding) -> dict[Code, str | None]:
    evaluation = codes.EVALUATIONS[side.evaluation].value if side.evaluation else None
    return {
        codes.FINDING_SITE: site(codes.AXILLA, side.laterality),
        codes.TRACKING_IDENTIFIER: sr_text.side_name(side.laterality),
        codes.NODE_COUNT: number(len(side.node_numbers), codes.COUNT),
        codes.SCORE: None if side.score is None else number(side.score, codes.ZERO_TO_ONE),
        codes.METASTASIS: evaluation,
        codes.COMMENT: plain(sr_text.side_comment(findings, side)),
    }


def _node(node: NodeFinding) -> dict[Code, str | None]:
    m = node.measurements
    length, area = (codes.MM, codes.MM2) if m.calibrated else (codes.PIXELS, codes.PIXELS)
    return {
        codes.TRACKING_IDENTIFIER: node.label,
        codes.TRACKING_UID: node.tracking_uid,
        codes.FINDING: codes.LYMPH_NODE.value,
        codes.FINDING_SITE: site(codes.AXILLARY_NODE, node.laterality),
        codes.LONG_AXIS: number(m.long_axis, length),
        codes.SHORT_AXIS: number(m.short_axis, length),
        codes.AXIS_RATIO: number(m.axis_ratio, codes.RATIO),
        codes.AREA: number(m.area, area),
        codes.CIRCULARITY: number(m.circularity, codes.RATIO),
        codes.MARGIN_SHARPNESS: number(m.margin_sharpness, codes.ZERO_TO_ONE),
        codes.SCORE: number(node.score, codes.ZERO_TO_ONE),
        codes.FRAMES_SEGMENTED: number(len(set(_drawn(node))), codes.FRAMES),
    }


def _drawn(node: NodeFinding) -> Iterator[tuple[str, int]]:
    return ((v.sop_instance_uid, v.frame_number) for v in node.views if v.mask.any())


def _operating_point(point: OperatingPoint) -> Expected:
    return {
        codes.OPERATING_POINT: plain(point.name),
        codes.THRESHOLD: _numbers(point.threshold),
        codes.SENSITIVITY: _numbers(point.sensitivity, point.sensitivity_ci95),
        codes.SPECIFICITY: _numbers(point.specificity, point.specificity_ci95),
        codes.PREVALENCE: _numbers(point.prevalence),
    }


def _numbers(value: float | None, interval: tuple[float, float] | None = None) -> str | None:
    if value is None:
        return None
    words = [number(value, codes.ZERO_TO_ONE)]
    for bound, limit in zip((codes.CI_LOWER, codes.CI_UPPER), interval or (), strict=False):
        words.append(f"{bound.value}={number(limit, codes.ZERO_TO_ONE)}")
    return " ".join(words)


def _check_contour(group: Dataset, node: NodeFinding, sources: Mapping[str, Source]) -> None:
    view = node.views[node.key_view]
    source = sources[view.sop_instance_uid]
    (region,) = named(items_of(group), codes.IMAGE_REGION)
    (image,) = region.ContentSequence[0].ReferencedSOPSequence
    place = (image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber"))
    frame = view.frame_number if source.names_frames else None
    points = np.array(region.GraphicData, dtype=np.float32)
    same = np.array_equal(points, closed(view.contour, source).ravel().astype(np.float32))
    if place != (source.sop_instance_uid, frame) or region.GraphicType != "POLYLINE" or not same:
        raise ObjectError("a contour in the report is not the one that was found")
