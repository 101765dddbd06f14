"""Content items of a structured report (PS3.3 C.17.3), one function per value type."""

import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.codes import SOURCE, Code
from dicom_io.context import Source, plain
from dicom_io.contour import closed
from dicom_io.errors import ObjectError
from dicom_io.items import new_item, put
from dicom_io.seg_frames import reference

CONTAINS = "CONTAINS"
CONTEXT = "HAS OBS CONTEXT"
ACQUISITION = "HAS ACQ CONTEXT"
MODIFIER = "HAS CONCEPT MOD"
PROPERTY = "HAS PROPERTIES"
INFERRED = "INFERRED FROM"
SELECTED = "SELECTED FROM"
RELATIONS = frozenset({CONTAINS, CONTEXT, ACQUISITION, MODIFIER, PROPERTY, INFERRED, SELECTED})


def _item(
    value_type: str, relation: str | None, name: Code | None, children: Iterable[Dataset]
) -> Dataset:
    ds = new_item()
    if relation:
        put(ds, "RelationshipType", relation)
    put(ds, "ValueType", value_type)
    if name:
        put(ds, "ConceptNameCodeSequence", name)
    if items := list(children):
        ds.ContentSequence = items
    return ds


def container(
    name: Code,
    children: Iterable[Dataset],
    *,
    template: str | None = None,
    relation: str | None = CONTAINS,
) -> Dataset:
    """Return a CONTAINER; the root of a tree has no `relation`."""
    ds = _item("CONTAINER", relation, name, children)
    put(ds, "ContinuityOfContent", "SEPARATE")
    if template:
        used = new_item()
        put(used, "MappingResource", "DCMR")
        put(used, "TemplateIdentifier", template)
        ds.ContentTemplateSequence = [used]
    return ds


def code(relation: str, name: Code, value: Code, children: Iterable[Dataset] = ()) -> Dataset:
    """Return a CODE."""
    ds = _item("CODE", relation, name, children)
    put(ds, "ConceptCodeSequence", value)
    return ds


def text(relation: str, name: Code, value: str, children: Iterable[Dataset] = ()) -> Dataset:
    """Return a TEXT in plain ASCII."""
    ds = _item("TEXT", relation, name, children)
    ds.TextValue = plain(value)
    return ds


def number(
    relation: str, name: Code, value: float, unit: Code, children: Iterable[Dataset] = ()
) -> Dataset:
    """Return a NUM, rounded to four decimals (DS holds 16 characters)."""
    ds = _item("NUM", relation, name, children)
    measured = new_item()
    measured.NumericValue = decimal(value)
    put(measured, "MeasurementUnitsCodeSequence", unit)
    ds.MeasuredValueSequence = [measured]
    return ds


def decimal(value: float) -> str:
    """Return `value` with at most four decimals and never an exponent."""
    if not math.isfinite(value):
        raise ObjectError("a measurement is not a finite number")
    shown = format(round(Decimal(value), 4).normalize(), "f")
    return "0" if shown == "-0" else shown


def date(relation: str, name: Code, value: str) -> Dataset:
    """Return a DATE (VR DA)."""
    ds = _item("DATE", relation, name, ())
    ds.Date = value
    return ds


def time(relation: str, name: Code, value: str) -> Dataset:
    """Return a TIME (VR TM)."""
    ds = _item("TIME", relation, name, ())
    ds.Time = value
    return ds


def uid(relation: str, name: Code, value: str) -> Dataset:
    """Return a UIDREF."""
    ds = _item("UIDREF", relation, name, ())
    ds.UID = value
    return ds


def image(
    relation: str,
    name: Code,
    source: Source,
    frame_numbers: Sequence[int] = (),
    children: Iterable[Dataset] = (),
) -> Dataset:
    """Return an IMAGE, or a COMPOSITE where the instance has no pixels."""
    ds = _item("IMAGE" if source.rows else "COMPOSITE", relation, name, children)
    ds.ReferencedSOPSequence = [reference(source, *frame_numbers)]
    return ds


def polyline(
    relation: str, name: Code, contour: NDArray[np.float64], source: Source, frame_number: int
) -> Dataset:
    """Return a closed SCOORD POLYLINE on one frame (PS3.3 C.18.6).

    Parameters
    ----------
    contour
        (N, 2) columns and rows; the centre of the first pixel is 0.5.
    """
    ds = _item("SCOORD", relation, name, [image(SELECTED, SOURCE, source, [frame_number])])
    ds.GraphicType = "POLYLINE"
    ds.GraphicData = closed(contour, source).ravel().tolist()
    return ds


def content_items(ds: Dataset) -> Iterator[Dataset]:
    """Yield every content item of a report below its root, parents first."""
    for item in ds.get("ContentSequence", ()):
        yield item
        yield from content_items(item)
