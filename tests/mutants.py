"""Damage to a data set, one element or item at a time, each kind of place once."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

Undo = Callable[[], None]
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_STRUCTURE = ("RelationshipType", "ValueType", "ContinuityOfContent", "ConceptNameCodeSequence")
_OTHER_UID = "1.2.826.0.1.3680043.10.999.4711"


@dataclass(frozen=True)
class Mutant:
    """One way of damaging a data set."""

    name: str  # place and damage, the same in every run
    apply: Callable[[], Undo]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Damage the data set for the length of a `with` block."""
        undo = self.apply()
        try:
            yield
        finally:
            undo()


def mutants(ds: Dataset) -> Iterator[Mutant]:
    """Yield the mutants of a data set; of places that are alike, the first one's.

    Alike are the uses of one code in one sequence, what makes a content item of its value type,
    and items of a sequence that have no name of their own.
    """
    others = _next_codes(ds)
    seen: set[str] = set()
    for mutant in _of_item(ds, "", others):
        if mutant.name not in seen:
            seen.add(mutant.name)
            yield mutant


def write(original: Path, name: str) -> Path:
    """Write one mutant of a file beside it."""
    ds = pydicom.dcmread(io.BytesIO(original.read_bytes()))
    list(ds.iterall())  # decoded, so that places have their keywords
    (mutant,) = (m for m in mutants(ds) if m.name == name)
    copy = original.with_suffix(".mutant.dcm")
    with mutant.applied():
        ds.save_as(copy)
    return copy


def _of_item(ds: Dataset, path: str, others: dict[str, Dataset]) -> Iterator[Mutant]:
    for element in ds:
        place = f"{path}{element.keyword}"
        if element.keyword in _STRUCTURE and "ValueType" in ds:
            place = f"{ds.ValueType} {element.keyword}"
        yield Mutant(f"{place} dropped", _drop(ds, element.tag))
        if element.VR == "SQ":
            yield from _of_sequence(element, place, others)
        elif element.keyword not in _CODE and (value := _other(element)) is not None:
            yield Mutant(f"{place} altered", _set(element, value))


def _of_sequence(element: DataElement, place: str, others: dict[str, Dataset]) -> Iterator[Mutant]:
    items = element.value
    for index, item in enumerate(items):
        inner = f"{place}{_name(element.keyword, item)}"
        if "CodeValue" in item:
            inner = f"{element.keyword}[{item.CodeValue}]"
            yield Mutant(f"{inner} replaced", _swap(items, index, others[inner]))
        if len(items) > 1:
            yield Mutant(f"{inner} item removed", _remove(items, index))
        yield from _of_item(item, f"{inner}/", others)


def _name(keyword: str, item: Dataset) -> str:
    """Tell items of one sequence apart that mean different things."""
    if keyword != "ContentSequence":
        return ""
    template = "".join(
        f" {used.TemplateIdentifier}" for used in item.get("ContentTemplateSequence", ())
    )
    return f"[{item.ConceptNameCodeSequence[0].CodeValue}{template}]"


def _next_codes(ds: Dataset) -> dict[str, Dataset]:
    """Return another code for every code: the next of its sequence, or else the next of all."""
    every: dict[str, Dataset] = {}
    for element in ds.iterall():
        for item in element.value if element.VR == "SQ" else ():
            if "CodeValue" in item:
                every.setdefault(f"{element.keyword}[{item.CodeValue}]", item)
    return {name: _other_code(name, every) for name in every}


def _other_code(name: str, every: dict[str, Dataset]) -> Dataset:
    names = list(every)
    place = names.index(name)
    later = names[place + 1 :] + names[:place]
    kin = [other for other in later if other.split("[")[0] == name.split("[")[0]]
    return every[[*kin, *later][0]]


def _drop(ds: Dataset, tag: BaseTag) -> Callable[[], Undo]:
    def apply() -> Undo:
        element = ds[tag]
        del ds[tag]
        return lambda: ds.add(element)

    return apply


def _remove(items: list[Dataset], index: int) -> Callable[[], Undo]:
    def apply() -> Undo:
        item = items.pop(index)
        return lambda: items.insert(index, item)

    return apply


def _swap(items: list[Dataset], index: int, other: Dataset) -> Callable[[], Undo]:
    def apply() -> Undo:
        before, changed = items[index], Dataset()
        changed.update(before)
        for keyword in _CODE:
            changed[keyword] = other[keyword]
        items[index] = changed

        def undo() -> None:
            items[index] = before

        return undo

    return apply


def _set(element: DataElement, value: object) -> Callable[[], Undo]:
    def apply() -> Undo:
        before = element.value
        element.value = value
        return lambda: setattr(element, "value", before)

    return apply


def _other(element: DataElement) -> object:
    """Return a value of the same kind that is wrong here; None where any would be as good."""
    value = element.value
    if value in (None, "", b"") or element.VR in ("DA", "TM", "DT"):
        return None
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    first, *rest = value if element.VM > 1 else [value]
    changed = _changed(element.VR, first)
    return [changed, *rest] if rest else changed


def _changed(vr: str, value: Any) -> object:
    if vr == "UI":
        return _OTHER_UID
    if vr == "AT":
        return 0x00100010
    if vr in ("IS", "US", "UL", "SL"):
        return int(value) + 1
    if vr in ("DS", "FL", "FD"):
        return float(value) + 1
    return f"{str(value)[:10]}X"
