"""Result objects in every form the product writes them, for the pages that describe them."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage as GREY_STATE

from daemon.analysis import Analysis, Frame
from daemon.build import build_objects
from daemon.pictures import to_send
from dicom_io.codes import Code
from dicom_io.findings import Calibration, Exclusion, NodeFinding, StudyFindings
from dicom_io.results import BuiltObject
from tests import builders_objects as builders
from tests.builders_objects import SourceSpec
from tests.conformance.cases import (
    CINE,
    COPIED_SCHEME,
    EVERYTHING,
    GREY,
    ODD_CINE,
    TWO_STILLS,
    Case,
    cases,
    origins,
)

_VOLUME = EVERYTHING.model_copy(update={"seg_geometry": "volume"})
# What is rebuilt with which inputs changed; the last two hold a few elements that others lack.
_BASES = (
    *((case, tuple(origins())) for case in (TWO_STILLS, CINE, GREY)),
    (ODD_CINE, ("FINDING",)),
    (
        replace(CINE, settings=EVERYTHING.model_copy(update={"seg_geometry": "volume"})),
        ("FINDING", "UID"),
    ),
)


def objects(case: Case, folder: Path) -> list[BuiltObject]:
    """Build every result object of a case; its sources are written to `folder`."""
    sets = [_source(case, spec) for spec in case.specs]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [builders.write(ds, folder / f"{number}.dcm") for number, ds in enumerate(sets)]
    found = _findings(case, sets)
    sizes = {str(ds.SOPInstanceUID): (ds.Rows, ds.Columns, 3) for ds in sets}
    shown = to_send(Analysis(found.images, found.nodes, found.exclusions), "always")
    frames = [Frame(uid, number, np.zeros(sizes[uid], np.uint8)) for uid, number in shown]
    return list(build_objects(found, paths, frames, case.settings, case.uid, case.now))


def _source(case: Case, spec: SourceSpec) -> Dataset:
    ds = builders.source(case.study_uid, spec)
    for keyword, value in case.header.items():
        if value:
            builders.raw(ds, keyword, value)
        else:
            del ds[keyword]
    if case.sop_class:
        ds.SOPClassUID = case.sop_class
    if case.procedure:
        ds.ProcedureCodeSequence = [Code("1", COPIED_SCHEME, "Copied").item()]
    return ds


def _findings(case: Case, sets: Sequence[Dataset]) -> StudyFindings:
    nodes = [_node(case, sets, number) for number in range(len(case.places))]
    read = sets[: len(sets) - bool(case.reasons)]
    found = builders.findings(read, nodes)
    spacing = Calibration(case.spacing, case.spacing) if case.spacing else None
    images = tuple(
        replace(image, calibration=spacing, laterality=ds.get("Laterality"))
        for image, ds in zip(found.images, read, strict=True)
    )
    left_out = tuple(_exclusions(case, sets[-1]))
    return replace(found, **{"images": images, "exclusions": left_out, **case.findings})


def _node(case: Case, sets: Sequence[Dataset], index: int) -> NodeFinding:
    place, frames = case.places[index]
    row = case.row + 2 * index
    views = [builders.view(sets[place], frame, row=row) for frame in frames]
    views = [replace(view, contour=view.contour[:: case.points]) for view in views]
    made = builders.node(case.first + index, *views, calibrated=case.spacing is not None)
    return replace(made, **case.node)


def _exclusions(case: Case, ds: Dataset) -> Iterator[Exclusion]:
    """Yield one exclusion a reason, of the whole image and of single frames in turn."""
    for number, reason in zip(count(), case.reasons, strict=False):
        frame = number % 3 + 1 if ds.get("NumberOfFrames") and number else None
        yield Exclusion(str(ds.SOPInstanceUID), frame, reason)


def read(built: BuiltObject) -> Dataset:
    """Read an object back."""
    return pydicom.dcmread(io.BytesIO(built.data))


@dataclass(frozen=True)
class Objects:
    """Every example by its kind, and the pairs that differ in one input."""

    examples: Mapping[str, Sequence[Dataset]]
    pairs: Mapping[str, Mapping[str, Sequence[tuple[Dataset, Dataset]]]]  # kind, origin
    built: Sequence[BuiltObject]


def kind(built: BuiltObject) -> str:
    """Return an object's role; the two classes of presentation states are two kinds."""
    return "grey pr" if built.sop_class_uid == GREY_STATE else built.role


def make(folder: Path) -> Objects:
    """Build all examples in a folder."""
    number = map(str, count())
    every = [built for case in cases() for built in objects(case, folder / next(number))]
    pairs: dict[str, dict[str, list[tuple[Dataset, Dataset]]]] = {}
    for case, changes in _BASES:
        plain = _by_identity(objects(case, folder / next(number)))
        for origin in changes:
            changed = _by_identity(objects(origins()[origin](case), folder / next(number)))
            # a node more makes a picture more, which has nothing to be compared with
            for key, ds in plain.items():
                pairs.setdefault(key[0], {}).setdefault(origin, []).append((ds, changed[key]))
    examples: dict[str, list[Dataset]] = {}
    for built in every:
        examples.setdefault(kind(built), []).append(read(built))
    return Objects(examples, pairs, every)


def _by_identity(built: Sequence[BuiltObject]) -> dict[tuple[str, int], Dataset]:
    return {(kind(one), one.ordinal): read(one) for one in built}
