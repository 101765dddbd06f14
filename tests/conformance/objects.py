"""Tables of what stands in the result objects, element by element, read from examples."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

# the standard's tables of IODs, modules and attributes, which no public name of highdicom gives
from highdicom._standard_utils import (
    get_iod_module_map,
    get_module_attribute_map,
    get_sop_class_iod_map,
)
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from tests.conformance.examples import Objects

Path = tuple[str, ...]  # keywords from the top level down

SHORT = {"seg": "SEG", "sr": "SR", "pr": "PR (colour)", "grey pr": "PR (grey)", "sc": "SC"}
COMMON_MODULES = (
    "patient",
    "general-study",
    "patient-study",
    "general-equipment",
    "enhanced-general-equipment",
    "sop-common",
)
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_TYPES = ("1", "1C", "2", "2C", "3")  # the strictest first
_MOST_VALUES = 4  # that a cell lists
_LONGEST = 70  # characters of a value that a cell shows
_ACRONYMS = {"sr": "SR", "sc": "SC", "sop": "SOP", "icc": "ICC"}

# What a reader needs beyond the value's source. A path that is no longer written fails the tests.
REMARKS: Mapping[str, str] = {
    "SpecificCharacterSet": "the source's; a misspelt term is respelt, an unknown one left out",
    "TimezoneOffsetFromUTC": "only where the source states it; our times are then in it",
    "DeviceSerialNumber": "the Device UID of node and bundle; another bundle, another UID",
    "SeriesDescription": "DEMONSTRATION first, where the bundle is one; then what and version",
    "ContributingEquipmentSequence": "the model, as IHE AI Results wants it",
    "ContributingEquipmentSequence/DeviceSerialNumber": "start of the bundle's digest",
    "ContributingEquipmentSequence/DeviceUID": "changes with the bundle",
    "ContributingEquipmentSequence/SoftwareVersions": "AxNode's version, the bundle's version",
    "CodingSchemeIdentificationSequence": "of 99AXNODE",
    "LossyImageCompression": "01 if any image used is lossy",
    "PatientOrientation": "unknown in ultrasound",
    "SegmentSequence": "one item for each lymph node",
    "SegmentSequence/TrackingUID": "the same in every object, and kept by later versions",
    "SegmentSequence/RecommendedDisplayCIELabValue": "six colours in turn",
    "SegmentsOverlap": "YES where two nodes share a pixel of one frame",
    "ReferencedSeriesSequence": "the images that show a node",
    "PredecessorDocumentsSequence": "the reports that a new version replaces",
    "CurrentRequestedProcedureEvidenceSequence": "every source image, and the SEGs",
    "ContentSequence": "the content tree, see its own table",
    "SOPClassUID": "see the SOP classes",
    "seg:SeriesNumber": "one more for each further SEG of the study",
    "sc:InstanceNumber": "counts the pictures",
    "sc:Rows": "those of the source, and a strip of words below",
    "pr:InstanceNumber": "counts the presentation states",
    "ICCProfile": "sRGB, as an input profile",
    "GraphicLayerSequence": "one item for each lymph node",
    "GraphicAnnotationSequence": "one item for each node and frame",
}


@dataclass
class Seen:
    """One attribute in all examples."""

    element: DataElement  # one of them
    parents: int = 0  # data sets or items that could hold it
    present: int = 0
    filled: int = 0
    values: set[str] = field(default_factory=set)

    @property
    def presence(self) -> str:
        """ALWAYS, VNAP (may be empty), ANAP (may be absent) or EMPTY, as PS3.2 has it."""
        if not self.filled:
            return "EMPTY"
        if self.present < self.parents:
            return "ANAP"
        return "ALWAYS" if self.filled == self.present else "VNAP"


def elements(ds: Dataset, path: Path = ()) -> Iterator[tuple[Path, DataElement]]:
    """Yield every element below a data set; of the content tree and of codes only the top."""
    is_code = "CodeValue" in ds
    for element in ds:
        if is_code and element.keyword in _CODE:
            continue
        here = (*path, element.keyword)
        yield here, element
        if element.VR == "SQ" and element.keyword != "ContentSequence":
            for item in element.value:
                yield from elements(item, here)


def survey(examples: Iterable[Dataset]) -> dict[Path, Seen]:
    """Count every attribute of the examples."""
    found: dict[Path, Seen] = {}
    holders: dict[Path, int] = {}
    for ds in examples:
        holders[()] = holders.get((), 0) + 1
        for path, element in elements(ds):
            seen = found.setdefault(path, Seen(element))
            seen.present += 1
            seen.filled += bool(element.value) or element.value == 0
            seen.values.update(shown(element))
            if element.VR == "SQ":
                holders[path] = holders.get(path, 0) + len(element.value)
    for path, seen in found.items():
        seen.parents = holders[path[:-1]]
    return found


def shown(element: DataElement) -> list[str]:
    """Return an element's value as text; of a sequence its codes, of bytes their hash."""
    if element.VR == "SQ":
        return [code(item) for item in element.value if "CodeValue" in item]
    if element.keyword == "ICCProfile":
        return [f"{len(element.value)} bytes"]  # some hold the moment of their making
    if isinstance(element.value, bytes):
        return [f"{len(element.value)} bytes, {hash(element.value):x}"]
    if element.VR == "AT":
        return [keyword_for_tag(Tag(element.value)) or str(element.value)]
    if element.VR == "UI" and UID(str(element.value)).name != str(element.value):
        return [f"{element.value} {UID(str(element.value)).name}"]
    if element.VM > 1:
        return ["\\".join(str(value) for value in element.value)]
    return [] if element.value in (None, "") else [str(element.value)]


def code(ds: Dataset) -> str:
    """Return a code sequence's item as PS3.16 writes it."""
    return f'({ds.CodeValue}, {ds.CodingSchemeDesignator}, "{ds.CodeMeaning}")'


def sources(objects: Objects, role: str) -> dict[Path, list[str]]:
    """Return, per attribute, the inputs that its value or presence comes from."""
    found: dict[Path, list[str]] = {}
    for origin, pairs in objects.pairs[role].items():
        changed = {path for pair in pairs for path in _different(*pair)}
        for path in changed:
            found.setdefault(path, []).append(origin)
    return found


def _different(a: Dataset, b: Dataset) -> Iterator[Path]:
    left, right = _values(a), _values(b)
    return (path for path in left.keys() | right.keys() if left.get(path) != right.get(path))


def _values(ds: Dataset) -> dict[Path, set[str]]:
    values: dict[Path, set[str]] = {}
    for path, element in elements(ds):
        values.setdefault(path, set()).update(shown(element))
    return values


@dataclass(frozen=True)
class Place:
    """Where the standard puts an attribute."""

    module: str
    type: str


@cache
def place(sop_class_uid: str, path: Path) -> Place | None:
    """Return the module of an IOD that asks for an attribute most strictly; None: no module."""
    iod = get_iod_module_map()[get_sop_class_iod_map()[sop_class_uid]]
    attributes = get_module_attribute_map()
    found = [
        Place(module["key"], item["type"])
        for module in iod
        for item in attributes[module["key"]]
        if item["keyword"] == path[-1] and tuple(item["path"]) == path[:-1]
    ]
    return min(found, key=lambda p: _TYPES.index(p.type), default=None)


def module_order(sop_class_uid: str) -> list[str]:
    """Return the modules of an IOD in the standard's order."""
    return [m["key"] for m in get_iod_module_map()[get_sop_class_iod_map()[sop_class_uid]]]


def module_title(key: str) -> str:
    """Return a module's name in words."""
    return " ".join(_ACRONYMS.get(word, word.capitalize()) for word in key.split("-"))


Came = Mapping[str, Mapping[Path, Sequence[str]]]  # kind, attribute: the inputs it comes from


def attribute_table(objects: Objects, role: str, came: Came) -> str:
    """Return the attributes of one kind of object, without the modules that all kinds share."""
    sop_class = str(objects.examples[role][0].SOPClassUID)
    rows = _Rows(survey(objects.examples[role]), came[role], sop_class, role)
    own = [key for key in (*module_order(sop_class), "") if key not in COMMON_MODULES]
    return "\n\n".join(part for key in own if (part := rows.module(key)))


def common_table(objects: Objects, came: Came) -> str:
    """Return the attributes of the modules that every object has."""
    every = [ds for role in objects.examples for ds in objects.examples[role]]
    together: dict[Path, list[str]] = {}
    for by_path in came.values():
        for path, origins in by_path.items():
            held = together.setdefault(path, [])
            held += [origin for origin in origins if origin not in held]
    rows = _Rows(survey(every), together, str(objects.examples["seg"][0].SOPClassUID))
    return "\n\n".join(part for key in COMMON_MODULES if (part := rows.module(key)))


@dataclass(frozen=True)
class _Rows:
    """The rows of one table."""

    found: Mapping[Path, Seen]
    came_from: Mapping[Path, Sequence[str]]
    sop_class: str
    role: str = ""

    def module(self, key: str) -> str:
        """Return one module's table; empty if nothing of it is written."""
        paths = [path for path in self.found if self._module(path) == key]
        if not paths:
            return ""
        title = module_title(key) if key else "In no module of the IOD (Standard Extended)"
        head = f"**{title}**\n\n| Attribute | Tag | VR | Type | Presence | Value |\n"
        lines = [self._row(path) for path in sorted(paths, key=_by_tag)]
        return head + "|---|---|---|---|---|---|\n" + "\n".join(lines)

    def _module(self, path: Path) -> str:
        found = place(self.sop_class, path[:1])
        return found.module if found else ""

    def _row(self, path: Path) -> str:
        seen = self.found[path]
        at = place(self.sop_class, path)
        tag = seen.element.tag
        name = ">" * (len(path) - 1) + " " * (len(path) > 1) + path[-1]
        cells = (name, f"({tag.group:04X},{tag.element:04X})", seen.element.VR)
        cells += (at.type if at else "-", seen.presence, self._value(path, seen))
        return f"| {' | '.join(cells)} |"

    def _value(self, path: Path, seen: Seen) -> str:
        origins = self.came_from.get(path, ())
        parts = [", ".join(origins)] if origins and seen.element.VR != "SQ" else []
        if _lists_values(seen, origins):
            values = sorted(seen.values)
            parts.append(" or ".join(f"`{value}`" for value in values))
        parts += filter(None, (REMARKS.get(key) for key in remark_keys(self.role, path)))
        return "; ".join(parts)


def remark_keys(role: str, path: Path) -> tuple[str, str]:
    """Return the keys under which `REMARKS` may hold a word on an attribute."""
    return "/".join(path), f"{role}:{'/'.join(path)}"


def _lists_values(seen: Seen, origins: Sequence[str]) -> bool:
    """Whether the values are few, short, and the product's own."""
    if not 0 < len(seen.values) <= _MOST_VALUES or isinstance(seen.element.value, bytes):
        return False
    if any(len(value) > _LONGEST for value in seen.values):
        return False
    counted = any(character.isdigit() for value in seen.values for character in value)
    terms = seen.element.VR == "CS" and not counted and "SRC" not in origins
    return not origins or terms or seen.element.VR == "SQ"


def _by_tag(path: Path) -> list[BaseTag]:
    return [Tag(tag_for_keyword(keyword) or 0) for keyword in path]


def outside_iod(objects: Objects) -> list[str]:
    """Return the attributes that no module of their object's IOD names, as `role: path`."""
    strays = []
    for role, examples in objects.examples.items():
        for ds in examples:
            for path, _ in elements(ds):
                if place(str(ds.SOPClassUID), path) is None:
                    strays.append(f"{role}: {'/'.join(path)}")
    return sorted(set(strays))
