"""Tables of the content tree, of the codes written, and of what SEG geometries differ in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_io import codes
from dicom_io.codes import Code
from dicom_io.findings import Reason
from dicom_io.seg import Geometry
from tests.builders_objects import PREFIX
from tests.conformance.cases import COPIED_SCHEME, EVERYTHING, TWO_STILLS
from tests.conformance.examples import Objects, objects, read
from tests.conformance.objects import SHORT, code, elements, shown

Key = tuple[str, ...]  # relation, value type, concept and template of an item

_MOST_VALUES = 4  # that a cell lists

# Where the template that orders a group of items is not written as TemplateIdentifier.
_UNNAMED_TEMPLATES = {
    "121049": "TID 1204",
    "121005": "TID 1002",
    "121012": "TID 1004",
    "111028": "TID 1600",
    "121139": "TID 1602",
    "111026": "TID 1604",
    "111001": "TID 4019",
}


@dataclass
class Item:
    """A content item as all reports together have it."""

    value_type: str
    relation: str
    name: str
    name_value: str
    counts: list[int] = field(default_factory=list)  # in each parent that there was
    values: set[str] = field(default_factory=set)
    templates: set[str] = field(default_factory=set)
    children: dict[Key, "Item"] = field(default_factory=dict)
    parents: int = 0  # items of the parent


def tree(reports: Sequence[Dataset]) -> Item:
    """Merge the content trees of several reports into one."""
    root = _item(reports[0])
    _merge(root, reports)
    return root


def _item(ds: Dataset) -> Item:
    name = ds.ConceptNameCodeSequence[0]
    relation = str(ds.get("RelationshipType", ""))
    return Item(str(ds.ValueType), relation, code(name), str(name.CodeValue))


def _merge(item: Item, sets: Sequence[Dataset]) -> None:
    """Fold data sets that are all occurrences of one item, and all that is below them."""
    by_key: dict[Key, list[list[Dataset]]] = {}
    last: dict[Key, int] = {}  # place among the siblings, which orders them as they stand
    for ds in sets:
        item.values.update(_values(ds))
        item.templates.update(_templates(ds))
        own: dict[Key, list[Dataset]] = {}
        for place, child in enumerate(ds.get("ContentSequence", ())):
            key = _key(child)
            last[key] = max(last.get(key, 0), place)
            own.setdefault(key, []).append(child)
        for key, children in own.items():
            by_key.setdefault(key, []).append(children)
    for key in sorted(by_key, key=last.__getitem__):
        _add_child(item, key, by_key[key], len(sets))


def _add_child(item: Item, key: Key, found: Sequence[list[Dataset]], parents: int) -> None:
    made = item.children[key] = _item(found[0][0])
    made.parents = parents
    made.counts = [len(children) for children in found]
    _merge(made, [child for children in found for child in children])


def _key(ds: Dataset) -> Key:
    name = ds.ConceptNameCodeSequence[0]
    return (
        str(ds.get("RelationshipType", "")),
        str(ds.ValueType),
        str(name.CodeValue),
        *_templates(ds),
    )


def _templates(ds: Dataset) -> list[str]:
    return [f"TID {item.TemplateIdentifier}" for item in ds.get("ContentTemplateSequence", ())]


def _values(ds: Dataset) -> Iterator[str]:
    """Yield what may stand in an item: its code, its unit, its kind of graphic."""
    if ds.ValueType == "CODE":
        item = ds.ConceptCodeSequence[0]
        copied = item.CodingSchemeDesignator == COPIED_SCHEME
        yield "a code copied from the sources" if copied else code(item)
    elif ds.ValueType == "NUM":
        yield code(ds.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0])
    elif ds.ValueType == "SCOORD":
        yield f"{ds.GraphicType}, closed"


def content_table(reports: Sequence[Dataset]) -> str:
    """Return the content tree as a table, one row an item."""
    lines = [
        "| Item | Relation | VT | n | Value or unit | Template |",
        "|---|---|---|---|---|---|",
        *_lines(tree(reports), 0),
    ]
    return "\n".join(lines)


def _lines(item: Item, depth: int) -> Iterator[str]:
    name = ">" * depth + " " * bool(depth) + item.name
    values = " or ".join(sorted(item.values))
    if len(item.values) > _MOST_VALUES:
        values = f"one of {len(item.values)} codes, see 9.3"
    template = ", ".join(sorted(item.templates)) or _UNNAMED_TEMPLATES.get(item.name_value, "")
    cells = (name, item.relation, item.value_type, cardinality(item), values, template)
    yield f"| {' | '.join(cells)} |"
    for child in item.children.values():
        yield from _lines(child, depth + 1)


def cardinality(item: Item) -> str:
    """Return how often an item stands in its parent, as far as the examples show."""
    if not item.counts:
        return "1"
    least = min(item.counts) if len(item.counts) == item.parents else 0
    most = max(item.counts)
    return str(least) if least == most else f"{least}-{most if most == 1 else 'n'}"


def declared_codes() -> list[Code]:
    """Return every concept that `dicom_io.codes` declares."""
    declared: list[Code] = [codes.reason(why) for why in Reason]
    for value in vars(codes).values():
        held = value.values() if isinstance(value, Mapping) else [value]
        declared += [one for one in held if isinstance(one, Code)]
    return declared


def written_codes(objects_: Objects) -> dict[tuple[str, str], dict[str, set[str]]]:
    """Return (scheme, value) of every code written, with the roles and the meanings it has."""
    written: dict[tuple[str, str], dict[str, set[str]]] = {}
    for role, examples in objects_.examples.items():
        for item in (item for ds in examples for item in _code_items(ds)):
            key = (str(item.CodingSchemeDesignator), str(item.CodeValue))
            entry = written.setdefault(key, {"roles": set(), "meanings": set()})
            entry["roles"].add(role)
            entry["meanings"].add(str(item.CodeMeaning))
    return written


def _code_items(ds: Dataset) -> Iterator[Dataset]:
    if "CodeValue" in ds:
        yield ds
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from _code_items(item)


def code_table(objects_: Objects, *, private: bool) -> str:
    """Return the codes written, private or not, with the objects that hold them."""
    lines = ["| Code | Scheme | Meaning | Written in |", "|---|---|---|---|"]
    for (scheme, value), entry in sorted(written_codes(objects_).items()):
        if (scheme == codes.PRIVATE_SCHEME) is private and scheme != COPIED_SCHEME:
            (meaning,) = entry["meanings"]
            roles = ", ".join(SHORT[role] for role in SHORT if role in entry["roles"])
            lines.append(f"| `{value}` | {scheme} | {meaning} | {roles} |")
    return "\n".join(lines)


def geometry_table(folder: Path) -> str:
    """Return what SEGs of the three geometries differ in, calibrated and not."""
    columns = [
        (geometry.value, spacing, _elements_of(folder, geometry, spacing))
        for geometry in Geometry
        for spacing in (0.2, None)
    ]
    heads = [f"`{name}`, {'mm' if spacing else 'pixels'}" for name, spacing, _ in columns]
    every = {path: None for *_, found in columns for path in found}
    lines = [f"| Attribute | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for path in every:
        cells = [found.get(path, "-") for *_, found in columns]
        if len(set(cells)) > 1:
            lines.append(f"| {'/'.join(path[-2:])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _elements_of(
    folder: Path, geometry: Geometry, spacing: float | None
) -> dict[tuple[str, ...], str]:
    settings = EVERYTHING.model_copy(update={"seg_geometry": geometry.value})
    case = replace(TWO_STILLS, settings=settings, spacing=spacing)
    (seg,) = (read(built) for built in objects(case, folder) if built.role == "seg")
    found: dict[tuple[str, ...], dict[str, None]] = {}
    for path, element in elements(seg):
        if element.VR != "SQ":
            generated = str(element.value).startswith(PREFIX)
            values = ["generated UID"] if generated else shown(element) or ["empty"]
            found.setdefault(path, {}).update(dict.fromkeys(values))
    return {path: ", ".join(values) for path, values in found.items()}
