"""A report read back from its bytes: what `dicom_io.render` shows, and nothing it does not say."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import pydicom
from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.codes import Code
from dicom_io.errors import ObjectError

Rows = tuple[tuple[str, str], ...]  # label, value


@dataclass(frozen=True)
class Side:
    """The evaluation of one side of the body, or of a study that could not be read."""

    name: str
    score: str  # empty: none was given
    evaluation: str  # empty: no qualitative finding
    result: str  # "None segmented", a reason for not being evaluable, or empty
    comment: str


@dataclass(frozen=True)
class Node:
    """One row of the table of nodes; numbers carry their units."""

    name: str
    side: str  # "Right", "Left" or "unknown"
    where: str
    long_axis: str
    short_axis: str
    ratio: str
    area: str
    circularity: str
    margin: str
    frames: str
    score: str


@dataclass(frozen=True)
class Report:
    """Everything a reader sees."""

    title: str
    description: str
    demonstration: str  # empty: not a demonstration
    status: str
    patient: Rows
    sides: tuple[Side, ...]
    nodes: tuple[Node, ...]
    operating_point: Rows
    limits: tuple[str, ...]
    intended_use: str
    notes: tuple[str, ...]
    exclusions: tuple[str, ...]
    algorithm: Rows


def read(report: Dataset | bytes) -> Report:
    """Read a report of this product.

    Raises
    ------
    ObjectError
        The object is no structured report.
    """
    ds = report if isinstance(report, Dataset) else pydicom.dcmread(io.BytesIO(report))
    if "ContentSequence" not in ds:
        raise ObjectError("the object is not a structured report; give the SR file")
    groups = list(_groups(ds))
    limits = _first(ds, codes.LIMITS) or Dataset()
    return Report(
        title=_clean(ds.ConceptNameCodeSequence[0].CodeMeaning),
        description=_header(ds, "SeriesDescription"),
        demonstration=_text(limits, codes.DEMONSTRATION),
        status=f"{_header(ds, 'CompletionFlag')}, {_header(ds, 'VerificationFlag')}".lower(),
        patient=_patient(ds),
        sides=tuple(_side(group) for group in groups if not _first(group, codes.IMAGE_REGION)),
        nodes=tuple(_node(group) for group in groups if _first(group, codes.IMAGE_REGION)),
        operating_point=_operating_points(ds),
        limits=tuple(_value(item) for item in _all(limits, codes.LIMIT)),
        intended_use=_text(limits, codes.INTENDED_USE),
        notes=tuple(_value(item) for item in _all(limits, codes.IMAGE_NOTE)),
        exclusions=_exclusions(_first(ds, codes.EXCLUSIONS) or Dataset()),
        algorithm=_algorithm(groups[0]) if groups else (),
    )


def _all(ds: Dataset, name: Code) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", ()):
        concept = item.get("ConceptNameCodeSequence")
        if concept and name.matches(concept[0]):
            yield item


def _first(ds: Dataset, name: Code) -> Dataset | None:
    return next(_all(ds, name), None)


def _groups(ds: Dataset) -> Iterator[Dataset]:
    for section in (codes.IMAGING_MEASUREMENTS, codes.QUALITATIVE_EVALUATIONS):
        for container in _all(ds, section):
            yield from _all(container, codes.MEASUREMENT_GROUP)


def _value(item: Dataset) -> str:
    """Return the words of a TEXT, CODE or UIDREF item."""
    if "ConceptCodeSequence" in item:
        return _clean(item.ConceptCodeSequence[0].CodeMeaning)
    return _clean(item.get("TextValue") or item.get("UID") or "")


def _text(ds: Dataset, name: Code) -> str:
    item = _first(ds, name)
    return "" if item is None else _value(item)


def _number(ds: Dataset, name: Code, decimals: int, pixels: str = " px") -> str:
    item = _first(ds, name)
    if item is None:
        return ""
    measured = item.MeasuredValueSequence[0]
    units = {"mm": " mm", "mm2": " mm\u00b2", "{pixels}": pixels}
    unit = units.get(measured.MeasurementUnitsCodeSequence[0].CodeValue, "")
    return f"{float(measured.NumericValue):.{decimals}f}{unit}"


def _header(ds: Dataset, keyword: str) -> str:
    try:
        return _clean(str(ds.get(keyword, "")))
    except (LookupError, UnicodeError, ValueError):
        return "(cannot be shown)"


def _clean(value: str) -> str:
    """Drop what moves a cursor or a terminal: names come from anywhere."""
    return "".join(c if c.isprintable() else " " for c in str(value)).strip()


def _patient(ds: Dataset) -> Rows:
    labels = {
        "Patient": _header(ds, "PatientName").replace("^", " ").strip(),
        "Patient ID": _header(ds, "PatientID"),
        "Birth date": _date(_header(ds, "PatientBirthDate")),
        "Study": _header(ds, "StudyDescription"),
        "Study date": _date(_header(ds, "StudyDate")),
        "Accession number": _header(ds, "AccessionNumber"),
        "Report made": f"{_date(_header(ds, 'ContentDate'))} {_time(_header(ds, 'ContentTime'))}",
    }
    return tuple((label, value) for label, value in labels.items() if value.strip())


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:8]}" if len(value) == 8 else value


def _time(value: str) -> str:
    return f"{value[:2]}:{value[2:4]}" if len(value) >= 4 else value


def _side(group: Dataset) -> Side:
    return Side(
        name=_text(group, codes.TRACKING_IDENTIFIER),
        score=_number(group, codes.SCORE, 3),
        evaluation=_text(group, codes.METASTASIS),
        result=_text(group, codes.SEGMENTATION_RESULT) or _text(group, codes.EVALUABILITY),
        comment=_text(group, codes.COMMENT),
    )


def _node(group: Dataset) -> Node:
    site = _first(group, codes.FINDING_SITE) or Dataset()
    return Node(
        name=_text(group, codes.TRACKING_IDENTIFIER),
        side=_text(site, codes.LATERALITY) or "unknown",
        where=_text(group, codes.COMMENT),
        long_axis=_number(group, codes.LONG_AXIS, 1),
        short_axis=_number(group, codes.SHORT_AXIS, 1),
        ratio=_number(group, codes.AXIS_RATIO, 2),
        area=_number(group, codes.AREA, 1, " pixels"),
        circularity=_number(group, codes.CIRCULARITY, 2),
        margin=_number(group, codes.MARGIN_SHARPNESS, 2),
        frames=_number(group, codes.FRAMES_SEGMENTED, 0),
        score=_number(group, codes.SCORE, 3),
    )


def _operating_points(ds: Dataset) -> Rows:
    """Return the point scores are shown against, then those that an evaluation rests on."""
    rows = list(_operating_point(_first(ds, codes.OPERATING_POINT) or Dataset()))
    for name, words in ((codes.RULE_IN, "Rule-in"), (codes.RULE_OUT, "Rule-out")):
        if section := _first(ds, name):
            rows += [(f"{words}: {label.lower()}", v) for label, v in _operating_point(section)]
    return tuple(rows)


def _operating_point(section: Dataset) -> Rows:
    rows = [
        ("Name", _text(section, codes.OPERATING_POINT)),
        ("Threshold of the score", _number(section, codes.THRESHOLD, 3)),
        ("Sensitivity on the bundle's validation data", _with_interval(section, codes.SENSITIVITY)),
        ("Specificity on the bundle's validation data", _with_interval(section, codes.SPECIFICITY)),
        ("Prevalence in the training data", _number(section, codes.PREVALENCE, 3)),
    ]
    return tuple((label, value) for label, value in rows if value)


def _with_interval(section: Dataset, name: Code) -> str:
    value, item = _number(section, name, 3), _first(section, name) or Dataset()
    low, high = _number(item, codes.CI_LOWER, 3), _number(item, codes.CI_UPPER, 3)
    return f"{value} (95 % CI {low} to {high})" if value and low and high else value


def _exclusions(section: Dataset) -> tuple[str, ...]:
    return tuple(
        _text(item, codes.COMMENT) or _value(item) for item in _all(section, codes.EXCLUDED)
    )


def _algorithm(group: Dataset) -> Rows:
    rows = [
        ("Name", _text(group, codes.ALGORITHM_NAME)),
        ("Version", _text(group, codes.ALGORITHM_VERSION)),
        ("Manufacturer", _text(group, codes.ALGORITHM_MANUFACTURER)),
    ]
    rows += [("Parameter", _value(item)) for item in _all(group, codes.ALGORITHM_PARAMETERS)]
    return tuple((label, value) for label, value in rows if value)
