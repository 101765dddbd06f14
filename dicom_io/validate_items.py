"""What the content items of a report say, and whether each item is whole (PS3.3 C.17.3)."""

from collections.abc import Iterator, Mapping, Sequence

from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.codes import Code
from dicom_io.errors import ObjectError
from dicom_io.items import codes_of, text_of
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
Items = Sequence[tuple[Code, Dataset]]  # each with the code that names it
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


def items_of(ds: Dataset) -> Items:
    """Return every item of a report below its root, parents first."""
    return [(concept(item), item) for item in content_items(ds)]


def check_items(ds: Dataset, items: Items) -> None:
    """Raise ObjectError unless the root is a report's, and every item below it whole."""
    title = codes.REPORT.means(concept(ds))
    if not title or any(ds[keyword].value != value for keyword, value in _ROOT.items()):
        raise ObjectError("the report does not say that it is one, and unverified")
    for _, item in items:
        value = item.get(_VALUES[text_of(item, "ValueType")])
        named = len(codes_of(item, "ConceptNameCodeSequence")) == 1
        related = text_of(item, "RelationshipType") in RELATIONS
        if value in (None, "", []) or not named or not related:
            raise ObjectError("an item of the report is not whole")


def named(items: Items, name: Code) -> Iterator[Dataset]:
    """Yield those of the items that are of a concept."""
    return (item for concept, item in items if name.means(concept))


def said(container: Dataset) -> Said:
    """Return what the items of a container say."""
    values: dict[str, list[str]] = {}
    for item in container.get("ContentSequence", ()):
        values.setdefault(_concept(item), []).append(_value(item))
    return values


def _value(item: Dataset) -> str:
    """Return an item's value, and the codes and numbers that belong to it: a side, limits."""
    below = [
        i for i in item.get("ContentSequence", ()) if text_of(i, "ValueType") in ("CODE", "NUM")
    ]
    return " ".join([own_value(item), *(f"{_concept(i)}={_value(i)}" for i in below)])


def _concept(item: Dataset) -> str:
    return concept(item).value


def own_value(item: Dataset) -> str:
    """Return an item's value: a number with its unit, a code, or the text."""
    value_type = text_of(item, "ValueType")
    if value_type == "CODE":
        return codes_of(item, "ConceptCodeSequence")[0].value
    if value_type == "NUM":
        (measured,) = item.MeasuredValueSequence
        unit = codes_of(measured, "MeasurementUnitsCodeSequence")[0].value
        return f"{measured.NumericValue.original_string} {unit}"
    return str(item[_VALUES[value_type]].value)


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


def concept(item: Dataset) -> Code:
    """Return the code that names an item."""
    return codes_of(item, "ConceptNameCodeSequence")[0]
