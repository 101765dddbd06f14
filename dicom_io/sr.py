"""The structured report: Comprehensive SR (or Comprehensive 3D SR) with TID 1500.

The content tree is written item by item, as the templates of PS3.16 order it; highdicom's own
classes demand at least one measurement group and know no report of a study without images.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from dicom_io import codes, sr_groups, sr_items, sr_text
from dicom_io.codes import Code
from dicom_io.context import MANUFACTURER, Source, Stamp, describe, plain, series_description
from dicom_io.errors import ObjectError
from dicom_io.findings import ImageRead, StudyFindings
from dicom_io.sr_items import ACQUISITION, CONTAINS, CONTEXT, INFERRED, MODIFIER
from dicom_io.verbatim import allowed_value

SERIES_NUMBER = 9001

_ULTRASOUND = ("1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3")  # and the retired forms


class SrClass(StrEnum):
    """Which storage class carries the same content."""

    COMPREHENSIVE = "comprehensive"  # accepted everywhere
    COMPREHENSIVE_3D = "comprehensive_3d"  # what IHE AI Results asks for

    @property
    def uid(self) -> str:
        """The SOP Class UID."""
        if self is SrClass.COMPREHENSIVE_3D:
            return Comprehensive3DSRStorage
        return ComprehensiveSRStorage


def report(
    findings: StudyFindings,
    sources: Sequence[Source],
    segmentations: Sequence[Dataset],
    sr_class: SrClass,
    uids: Mapping[str, str],
    side_uids: Sequence[str],
    when: Stamp,
) -> Dataset:
    """Return the report without its patient and study elements.

    Parameters
    ----------
    sources
        Every image of the study that was read or left out, in the study's order.
    segmentations
        The SEGs of the same version; listed as evidence, tied by tracking UID.
    uids
        `instance` and `series`.
    side_uids
        One tracking UID per side, or one for a study that is not evaluable.
    """
    ds = Dataset()
    described = {
        "SOPClassUID": sr_class.uid,
        "SOPInstanceUID": uids["instance"],
        "StudyInstanceUID": findings.study_instance_uid,
        "SeriesInstanceUID": uids["series"],
    }
    describe(ds, findings, described, when, SERIES_NUMBER)
    ds.Modality = "SR"
    ds.SeriesDescription = series_description(findings, "lymph nodes SR")
    ds.CodingSchemeIdentificationSequence = [codes.scheme_identification()]
    _document(ds, findings, sources, segmentations)
    ds.update(_tree(findings, sources, side_uids))
    return ds


def _document(
    ds: Dataset,
    findings: StudyFindings,
    sources: Sequence[Source],
    segmentations: Sequence[Dataset],
) -> None:
    """SR Document Series and General (PS3.3 C.17.1, C.17.2)."""
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.CompletionFlag = "COMPLETE"
    ds.VerificationFlag = "UNVERIFIED"
    ds.PreliminaryFlag = "PRELIMINARY"  # no person has looked at it
    ds.CurrentRequestedProcedureEvidenceSequence = [_evidence(findings, sources, segmentations)]
    if findings.predecessors:
        ds.PredecessorDocumentsSequence = [_predecessors(findings)]


def _evidence(
    findings: StudyFindings, sources: Sequence[Source], segmentations: Sequence[Dataset]
) -> Dataset:
    listed = [(s.series_instance_uid, s.sop_class_uid, s.sop_instance_uid) for s in sources]
    listed += [(s.SeriesInstanceUID, s.SOPClassUID, s.SOPInstanceUID) for s in segmentations]
    return _hierarchy(findings.study_instance_uid, listed)


def _predecessors(findings: StudyFindings) -> Dataset:
    """Return the reports replaced: (SOP class, instance, series), all of this study."""
    listed = []
    entries: tuple[tuple[str, ...], ...] = findings.predecessors
    for entry in entries:
        if len(entry) != 3:
            raise ObjectError("a replaced report is named by its SOP class, instance and series")
        sop_class, instance, series = entry
        listed.append((series, sop_class, instance))
    return _hierarchy(findings.study_instance_uid, listed)


def _hierarchy(study_uid: str, listed: Iterable[tuple[str, str, str]]) -> Dataset:
    """Return a Hierarchical SOP Instance Reference (PS3.3 table C.17-3)."""
    by_series: dict[str, list[Dataset]] = {}
    for series_uid, sop_class, instance in listed:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = instance
        by_series.setdefault(series_uid, []).append(item)
    ds = Dataset()
    ds.StudyInstanceUID = study_uid
    ds.ReferencedSeriesSequence = [_series(uid, items) for uid, items in by_series.items()]
    return ds


def _series(uid: str, items: list[Dataset]) -> Dataset:
    ds = Dataset()
    ds.SeriesInstanceUID = uid
    ds.ReferencedSOPSequence = items
    return ds


def _tree(findings: StudyFindings, sources: Sequence[Source], side_uids: Sequence[str]) -> Dataset:
    """Return TID 1500 Measurement Report; the template is extensible, our sections come last."""
    by_uid = {source.sop_instance_uid: source for source in sources}
    names = sr_text.image_names(sources)
    children = [
        sr_items.code(MODIFIER, codes.LANGUAGE, codes.ENGLISH),
        *_observer(findings),
        *_procedures(sources),
        *_library(findings, by_uid),
        *_measurements(findings, by_uid, names),
        *_evaluations(findings, side_uids),
        *sr_groups.operating_points(findings),
        sr_items.container(codes.LIMITS, _limits(findings, by_uid, names)),
    ]
    if left_out := sr_groups.exclusions(findings, by_uid, names):
        children.append(sr_items.container(codes.EXCLUSIONS, left_out))
    return sr_items.container(codes.REPORT, children, template="1500", relation=None)


def _observer(findings: StudyFindings) -> Iterator[Dataset]:
    """Yield TID 1004 Device Observer Identifying Attributes."""
    yield sr_items.code(CONTEXT, codes.OBSERVER_TYPE, codes.DEVICE)
    yield sr_items.uid(CONTEXT, codes.DEVICE_UID, findings.device_uid)
    yield sr_items.text(CONTEXT, codes.DEVICE_NAME, findings.node_ae_title)
    yield sr_items.text(CONTEXT, codes.DEVICE_MANUFACTURER, MANUFACTURER)
    model = f"AxNode {findings.software_version}"
    yield sr_items.text(CONTEXT, codes.DEVICE_MODEL, model)
    yield sr_items.text(CONTEXT, codes.DEVICE_SERIAL, findings.device_uid)


def _procedures(sources: Sequence[Source]) -> Iterator[Dataset]:
    """Yield the imaging procedures reported, not the algorithm (IHE AI Results)."""
    seen: dict[tuple[str, str], Code] = {}
    for source in sources:
        for item in source.ds.get("ProcedureCodeSequence") or ():
            code = _procedure(item)
            if code is not None:
                seen.setdefault((code.value, code.scheme), code)
    for value in list(seen.values()) or [codes.IMAGING_PROCEDURE]:
        yield sr_items.code(MODIFIER, codes.PROCEDURE_REPORTED, value)


def _procedure(item: Dataset) -> Code | None:
    """Return a source's procedure code, or None where it is incomplete or not ASCII."""
    keywords = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    values = [str(item.get(keyword) or "").strip() for keyword in keywords]
    if not all(value and plain(value) == value for value in values):
        return None
    if len(values[0]) > 16 or len(values[1]) > 16 or len(values[2]) > 64:
        return None
    return Code(*values)


def _library(findings: StudyFindings, sources: Mapping[str, Source]) -> Iterator[Dataset]:
    """Yield TID 1600 Image Library with the images that were read."""
    entries = []
    for image in findings.images:
        source = sources.get(image.sop_instance_uid)
        if source is None:
            raise ObjectError("an image that was read is not among the sources given")
        entries.append(
            sr_items.image(CONTAINS, codes.SOURCE, source, (), _descriptors(image, source))
        )
    if entries:
        group = sr_items.container(codes.IMAGE_LIBRARY_GROUP, entries)
        yield sr_items.container(codes.IMAGE_LIBRARY, [group])


def _descriptors(image: ImageRead, source: Source) -> Iterator[Dataset]:
    """Yield TID 1602 Image Library Entry Descriptors.

    It has no rows for ultrasound: spacing is worded as TID 1604 does, frames by their own code.
    """
    is_ultrasound = source.sop_class_uid.startswith(_ULTRASOUND)
    modality = codes.ULTRASOUND if is_ultrasound else codes.OTHER_MODALITY
    yield sr_items.code(ACQUISITION, codes.MODALITY, modality)
    if image.laterality:
        yield sr_items.code(ACQUISITION, codes.IMAGE_LATERALITY, codes.SIDES[image.laterality])
    if date := allowed_value(source.ds, "ContentDate"):
        yield sr_items.date(ACQUISITION, codes.CONTENT_DATE, date)
    if time := allowed_value(source.ds, "ContentTime"):
        yield sr_items.time(ACQUISITION, codes.CONTENT_TIME, time)
    if source.is_cine:
        yield sr_items.number(ACQUISITION, codes.NUMBER_OF_FRAMES, source.frame_count, codes.FRAMES)
    yield sr_items.number(ACQUISITION, codes.ROWS, source.rows, codes.PIXELS)
    yield sr_items.number(ACQUISITION, codes.COLUMNS, source.columns, codes.PIXELS)
    if image.calibration:
        across, down = image.calibration.column_mm, image.calibration.row_mm
        yield sr_items.number(ACQUISITION, codes.HORIZONTAL_SPACING, across, codes.MM)
        yield sr_items.number(ACQUISITION, codes.VERTICAL_SPACING, down, codes.MM)


def _measurements(
    findings: StudyFindings, sources: Mapping[str, Source], names: Mapping[str, str]
) -> Iterator[Dataset]:
    """Yield the nodes' groups; a group without a contour among them stops OHIF 3.13."""
    groups = [sr_groups.node_group(findings, node, sources, names) for node in findings.nodes]
    if groups:
        yield sr_items.container(codes.IMAGING_MEASUREMENTS, groups)


def _evaluations(findings: StudyFindings, side_uids: Sequence[str]) -> Iterator[Dataset]:
    """Yield what is said of a side, or of the study as a whole."""
    if findings.not_evaluable:
        groups = [sr_groups.not_evaluable_group(findings, side_uids[0])]
    else:
        sides = zip(findings.sides, side_uids, strict=len(findings.sides) > 0)
        groups = [sr_groups.side_group(findings, side, uid) for side, uid in sides]
    if not groups and not findings.nodes:
        raise ObjectError("a report needs a side, a node or a reason for not being evaluable")
    if groups:
        yield sr_items.container(codes.QUALITATIVE_EVALUATIONS, groups)


def _limits(
    findings: StudyFindings, sources: Mapping[str, Source], names: Mapping[str, str]
) -> Iterator[Dataset]:
    if findings.algorithm.demonstration:
        yield sr_items.text(CONTAINS, codes.DEMONSTRATION, sr_text.demonstration())
    for sentence in sr_text.limits(findings):
        yield sr_items.text(CONTAINS, codes.LIMIT, sentence)
    yield sr_items.text(CONTAINS, codes.INTENDED_USE, findings.algorithm.intended_use)
    for image in findings.images:
        source = sources[image.sop_instance_uid]
        for note in sr_text.image_notes(image, source, names[image.sop_instance_uid]):
            origin = sr_items.image(INFERRED, codes.SOURCE, source)
            yield sr_items.text(CONTAINS, codes.IMAGE_NOTE, note, [origin])
