"""What the content items of a report say, and whether each item is whole (PS3.3 C.17.3)."""

from collections.abc import Iterator, Mapping

from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.codes import Code
from dicom_io.errors import ObjectError
from dicom_io.sr_items import RELATIONS, content_items, decimal

# Where an item of each value type has its value (PS3.3 C.17.3)
_VALUES = {
    "CODE": "ConceptCodeSequence",
    "COMPOSITE": "ReferencedSOPSequence",
    "CONTAINER": "ContinuityOfContent",
    "DATE": "Date",
    "IMAGE": "ReferencedSOPSequence",
    "NUM": "MeasuredValueSequence",
    "SCOORD": "GraphicData",
    "TEXT": "TextValue",
    "TIME": "Time",
    "UIDREF": "UID",
}
Said = Mapping[str, list[str]]  # the values of a container's items by their concept
Expected = Mapping[Code, str | tuple[str, ...] | None]  # None: must not be said


# What the root says of every report: no person has looked at it
_ROOT = {
    "ValueType": "CONTAINER",
    "ContinuityOfContent": "SEPARATE",
    "CompletionFlag": "COMPLETE",
    "VerificationFlag": "UNVERIFIED",
    "PreliminaryFlag": "PRELIMINARY",
}


def check_items(ds: Dataset) -> None:
    """Raise ObjectError unless the root is a report's, and every item whole."""
    title = codes.REPORT.matches(ds.ConceptNameCodeSequence[0])
    if not title or any(ds[keyword].value != value for keyword, value in _ROOT.items()):
        raise ObjectError("the report does not say that it is one, and unverified")
    for item in content_items(ds):
        value = item.get(_VALUES[item.ValueType])
        named = len(item.ConceptNameCodeSequence) == 1
        if value in (None, "", []) or not named or item.RelationshipType not in RELATIONS:
            raise ObjectError("an item of the report is not whole")


def named(ds: Dataset, name: Code) -> Iterator[Dataset]:
    """Yield the items of a concept, at any depth."""
    return (i for i in content_items(ds) if name.matches(i.ConceptNameCodeSequence[0]))


def said(container: Dataset) -> Said:
    """Return what the items of a container say."""
    values: dict[str, list[str]] = {}
    for item in container.get("ContentSequence", ()):
        values.setdefault(_concept(item), []).append(_value(item))
    return values


def _value(item: Dataset) -> str:
    """Return an item's value, and the codes and numbers that belong to it: a side, limits."""
    below = [i for i in item.get("ContentSequence", ()) if i.ValueType in ("CODE", "NUM")]
    return " ".join([own_value(item), *(f"{_concept(i)}={_value(i)}" for i in below)])


def _concept(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def own_value(item: Dataset) -> str:
    """Return an item's value: a number with its unit, a code, or the text."""
    if item.ValueType == "CODE":
        return str(item.ConceptCodeSequence[0].CodeValue)
    if item.ValueType == "NUM":
        (measured,) = item.MeasuredValueSequence
        unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
        return f"{measured.NumericValue.original_string} {unit}"
    return str(item[_VALUES[item.ValueType]].value)


def compare(said: Said, expected: Expected, message: str) -> None:
    """Raise ObjectError unless each concept has exactly the values expected."""
    for name, value in expected.items():
        wanted = [value] if isinstance(value, str) else list(value or ())
        if said.get(name.value, []) != wanted:
            raise ObjectError(message)


def number(value: float, unit: Code) -> str:
    """Return a number as `said` words it."""
    return f"{decimal(value)} {unit.value}"


def site(place: Code, laterality: str | None) -> str:
    """Return a site and its side as `said` words them."""
    if laterality is None:
        return place.value
    return f"{place.value} {codes.LATERALITY.value}={codes.SIDES[laterality].value}"


def concept(item: Dataset) -> Dataset:
    """Return the code that names an item."""
    name: Dataset = item.ConceptNameCodeSequence[0]
    return name
