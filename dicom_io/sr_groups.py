"""The measurement groups of the report: one per node (TID 1410), one per side (TID 1501)."""

from collections.abc import Iterator, Mapping

from pydicom.dataset import Dataset

from dicom_io import codes, sr_items, sr_text
from dicom_io.codes import Code
from dicom_io.context import MANUFACTURER, Source
from dicom_io.errors import ObjectError
from dicom_io.findings import (
    NodeFinding,
    OperatingPoint,
    Reason,
    SideFinding,
    StudyFindings,
)
from dicom_io.seg import algorithm_parameters
from dicom_io.sr_items import CONTAINS, CONTEXT, INFERRED, MODIFIER, PROPERTY


def node_group(
    findings: StudyFindings,
    node: NodeFinding,
    sources: Mapping[str, Source],
    names: Mapping[str, str],
) -> Dataset:
    """Return the planar group of one node, its contour on the frame that was measured."""
    key = node.views[node.key_view]
    source = sources.get(key.sop_instance_uid)
    if source is None:
        raise ObjectError(f"the image of {node.label} is not among the sources given")
    region = sr_items.polyline(CONTAINS, codes.IMAGE_REGION, key.contour, source, key.frame_number)
    children = [
        *_tracking(node.label, node.tracking_uid),
        sr_items.code(CONTAINS, codes.FINDING, codes.LYMPH_NODE),
        _site(codes.AXILLARY_NODE, node.laterality),
        *algorithm(findings),
        region,
        *_measurements(node),
        sr_items.text(
            CONTAINS, codes.COMMENT, sr_text.where(source, names[key.sop_instance_uid], key)
        ),
    ]
    return sr_items.container(codes.MEASUREMENT_GROUP, children, template="1410")


def _measurements(node: NodeFinding) -> Iterator[Dataset]:
    """Yield NUM items; lengths in pixels where the image is not calibrated."""
    m = node.measurements
    length, area = (codes.MM, codes.MM2) if m.calibrated else (codes.PIXELS, codes.PIXELS)
    yield _number(codes.SCORE, node.score, codes.ZERO_TO_ONE)  # OHIF lists the first five
    yield _number(codes.LONG_AXIS, m.long_axis, length)
    yield _number(codes.SHORT_AXIS, m.short_axis, length)
    yield _number(codes.AREA, m.area, area)
    yield _number(codes.AXIS_RATIO, m.axis_ratio, codes.RATIO)
    yield _number(codes.CIRCULARITY, m.circularity, codes.RATIO)
    yield _number(codes.MARGIN_SHARPNESS, m.margin_sharpness, codes.ZERO_TO_ONE)
    frames = {(v.sop_instance_uid, v.frame_number) for v in node.views if v.mask.any()}
    yield _number(codes.FRAMES_SEGMENTED, len(frames), codes.FRAMES)


def side_group(findings: StudyFindings, side: SideFinding, tracking_uid: str) -> Dataset:
    """Return the evaluation of one side of the body.

    Raises
    ------
    ObjectError
        A demonstration bundle's finding carries a three-way evaluation, which must never be sent.
    """
    if findings.algorithm.demonstration and side.evaluation:
        raise ObjectError("a demonstration bundle may not evaluate a side; remove the evaluation")
    children = [
        *_tracking(sr_text.side_name(side.laterality), tracking_uid),
        _site(codes.AXILLA, side.laterality),
        *algorithm(findings),
        *_side_values(side),
        sr_items.text(CONTAINS, codes.COMMENT, sr_text.side_comment(findings, side)),
    ]
    return sr_items.container(codes.MEASUREMENT_GROUP, children, template="1501")


def _side_values(side: SideFinding) -> Iterator[Dataset]:
    if side.score is not None:
        yield _number(codes.SCORE, side.score, codes.ZERO_TO_ONE)
    yield _number(codes.NODE_COUNT, len(side.node_numbers), codes.COUNT)
    if not side.node_numbers:
        # "none segmented", never a negative finding
        yield sr_items.code(CONTAINS, codes.SEGMENTATION_RESULT, codes.NONE_SEGMENTED)
    if side.evaluation:
        value = codes.EVALUATIONS[side.evaluation]
        yield sr_items.code(CONTAINS, codes.METASTASIS, value)


def not_evaluable_group(findings: StudyFindings, tracking_uid: str) -> Dataset:
    """Return the group of a study that could not be read: the reason coded and in words."""
    if findings.not_evaluable is None:
        raise ObjectError("a study that was evaluated has no reason for not being evaluable")
    why = codes.reason(findings.not_evaluable)
    children = [
        *_tracking("Study", tracking_uid),
        *algorithm(findings),
        sr_items.code(CONTAINS, codes.EVALUABILITY, why),
        sr_items.text(CONTAINS, codes.COMMENT, sr_text.not_evaluable(findings)),
    ]
    return sr_items.container(codes.MEASUREMENT_GROUP, children, template="1501")


def operating_points(findings: StudyFindings) -> Iterator[Dataset]:
    """Yield the point that scores are shown against, and those that an evaluation rests on."""
    yield _operating_point(codes.OPERATING_POINT, findings.operating_point)
    if findings.rule_in:
        yield _operating_point(codes.RULE_IN, findings.rule_in)
    if findings.rule_out:
        yield _operating_point(codes.RULE_OUT, findings.rule_out)


def _operating_point(name: Code, point: OperatingPoint) -> Dataset:
    """Return a declared threshold and what was measured at it."""
    children = [
        sr_items.text(CONTAINS, codes.OPERATING_POINT, point.name),
        _number(codes.THRESHOLD, point.threshold, codes.ZERO_TO_ONE),
    ]
    if point.sensitivity is not None:
        children.append(_measured(codes.SENSITIVITY, point.sensitivity, point.sensitivity_ci95))
    if point.specificity is not None:
        children.append(_measured(codes.SPECIFICITY, point.specificity, point.specificity_ci95))
    if point.prevalence is not None:
        children.append(_number(codes.PREVALENCE, point.prevalence, codes.ZERO_TO_ONE))
    return sr_items.container(name, children)


def _measured(name: Code, value: float, interval: tuple[float, float] | None) -> Dataset:
    bounds: list[Dataset] = []
    if interval:
        for bound, limit in zip((codes.CI_LOWER, codes.CI_UPPER), interval, strict=True):
            bounds.append(sr_items.number(PROPERTY, bound, limit, codes.ZERO_TO_ONE))
    return sr_items.number(CONTAINS, name, value, codes.ZERO_TO_ONE, bounds)


def _number(name: Code, value: float, unit: Code) -> Dataset:
    return sr_items.number(CONTAINS, name, value, unit)


def _tracking(identifier: str, uid: str) -> list[Dataset]:
    return [
        sr_items.text(CONTEXT, codes.TRACKING_IDENTIFIER, identifier),
        sr_items.uid(CONTEXT, codes.TRACKING_UID, uid),
    ]


def _site(site: Code, laterality: str | None) -> Dataset:
    children: list[Dataset] = []
    if laterality:
        children = [sr_items.code(MODIFIER, codes.LATERALITY, codes.SIDES[laterality])]
    return sr_items.code(MODIFIER, codes.FINDING_SITE, site, children)


def algorithm(findings: StudyFindings) -> Iterator[Dataset]:
    """Yield TID 4019 Algorithm Identification."""
    used = findings.algorithm
    yield sr_items.text(MODIFIER, codes.ALGORITHM_NAME, used.name)
    yield sr_items.text(MODIFIER, codes.ALGORITHM_VERSION, used.version)
    yield sr_items.text(MODIFIER, codes.ALGORITHM_MANUFACTURER, MANUFACTURER)
    for parameter in algorithm_parameters(findings):
        yield sr_items.text(MODIFIER, codes.ALGORITHM_PARAMETERS, parameter)
    yield sr_items.code(MODIFIER, codes.ALGORITHM_FAMILY, codes.ARTIFICIAL_INTELLIGENCE)


def exclusions(
    findings: StudyFindings, sources: Mapping[str, Source], names: Mapping[str, str]
) -> list[Dataset]:
    """Return one coded item per image and reason, its frames together, in the study's order."""
    grouped: dict[tuple[str, Reason], list[int | None]] = {}
    for left_out in findings.exclusions:
        key = (left_out.sop_instance_uid, left_out.reason)
        grouped.setdefault(key, []).append(left_out.frame_number)
    return [
        _exclusion(why, frames, sources.get(uid), names.get(uid, "Image"))
        for (uid, why), frames in grouped.items()
    ]


def _exclusion(why: Reason, frames: list[int | None], source: Source | None, name: str) -> Dataset:
    numbers = [] if None in frames else sorted({n for n in frames if n is not None})
    words = sr_text.exclusion(name, why.words, numbers)
    children = [sr_items.text(PROPERTY, codes.COMMENT, words)]
    if source:
        children.append(sr_items.image(INFERRED, codes.SOURCE, source, numbers))
    return sr_items.code(CONTAINS, codes.EXCLUDED, codes.reason(why), children)
