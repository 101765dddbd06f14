"""Studies of every kind, and what was found in them, for the pages about the result objects.

`cases` differ in what was read and found. `origins` changes a single input at a time: an element of
a result object that then changes comes from that input.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, get_args

from daemon.config_results import Results
from dicom_io.findings import (
    Evaluation,
    OperatingPoint,
    Reason,
    SideFinding,
)
from dicom_io.results import UidMaker
from tests import builders_objects as builders
from tests.builders_objects import SourceSpec

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
COPIED_SCHEME = "99SOURCE"  # of the sources' own procedure code, which the report copies
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

FULL_HEADER: Mapping[str, bytes] = {
    "IssuerOfPatientID": b"HOSPITAL",
    "PatientBirthTime": b"0102",
    "PatientAge": b"056Y",
    "PatientSize": b"1.7",
    "PatientWeight": b"70",
    "ReferringPhysicianName": b"Doctor",
    "TimezoneOffsetFromUTC": b"+0100",
    "LossyImageCompression": b"01",
    "LossyImageCompressionRatio": b"10",
    "LossyImageCompressionMethod": b"ISO_10918_1",
}
OTHER_HEADER: Mapping[str, bytes] = {
    **FULL_HEADER,
    "IssuerOfPatientID": b"OTHER",
    "PatientBirthTime": b"0203",
    "PatientAge": b"057Y",
    "PatientSize": b"1.8",
    "PatientWeight": b"80",
    "ReferringPhysicianName": b"Other",
    "TimezoneOffsetFromUTC": b"+0200",
    "LossyImageCompressionRatio": b"20",
    "LossyImageCompressionMethod": b"ISO_15444_1",
    "SpecificCharacterSet": b"ISO_IR 100",
    "PatientName": b"Other",
    "PatientID": b"AX-2",
    "PatientBirthDate": b"19800101",
    "PatientSex": b"O",
    "StudyDate": b"20250101",
    "StudyTime": b"01",
    "StudyID": b"2",
    "AccessionNumber": b"ACC43",
    "StudyDescription": b"US BREAST",
}
NO_HEADER: Mapping[str, bytes] = {
    "PatientName": b"",
    "PatientID": b"",
    "PatientBirthDate": b"",
    "PatientSex": b"",
    "StudyDate": b"",
    "StudyTime": b"",
    "ReferringPhysicianName": b"",
    "StudyID": b"",
    "AccessionNumber": b"",
    "StudyDescription": b"",
    "SpecificCharacterSet": b"",
}
WINDOW: Mapping[str, bytes] = {
    "RescaleSlope": b"1",
    "RescaleIntercept": b"0",
    "WindowCenter": b"100",
    "WindowWidth": b"200",
}
EVERYTHING = Results(presentation_state="on", secondary_capture="on")


@dataclass(frozen=True)
class Case:
    """One study, what was found in it, and the settings that its objects are built with."""

    specs: tuple[SourceSpec, ...] = (SourceSpec(),)
    header: Mapping[str, bytes] = field(default_factory=dict)  # raw elements of every source
    sop_class: str = ""  # of every source; "": by the specs
    procedure: bool = False  # the sources name their procedure
    study_uid: str = "1.2.3"
    places: tuple[tuple[int, tuple[int, ...]], ...] = ((0, (1,)),)  # of each node: source, frames
    first: int = 1  # number of the first node
    row: int = 3  # of the first node's upper edge
    points: int = 1  # every how manieth point of a contour is kept
    node: Mapping[str, Any] = field(default_factory=dict)  # fields of NodeFinding to replace
    findings: Mapping[str, Any] = field(default_factory=dict)  # fields of StudyFindings to replace
    reasons: tuple[Reason, ...] = ()  # the last source was left out, once for each
    settings: Results = EVERYTHING
    uid: UidMaker = builders.uid
    now: datetime = builders.NOW
    spacing: float | None = 0.2  # mm between two pixels of every source; None: not calibrated


def _version(number: int) -> Mapping[str, Any]:
    before = (COMPREHENSIVE_SR, f"1.2.9.{number}", f"1.2.8.{number}")
    return {"version": number, "replaces": number - 1, "predecessors": (before,)}


TWO_STILLS = Case(
    specs=(SourceSpec(), SourceSpec(number=2, laterality=None)),
    header=FULL_HEADER,
    places=((0, (1,)), (1, (1,))),
    findings=_version(2),
)
GREY = replace(
    TWO_STILLS,
    specs=tuple(replace(spec, photometric="MONOCHROME2") for spec in TWO_STILLS.specs),
    header={**FULL_HEADER, **WINDOW},
)
CINE = Case(specs=(SourceSpec(frames=4),), places=((0, (2, 3)),), header=FULL_HEADER)

ODD_CINE = replace(  # of a single-frame class: its frames cannot be named by number
    CINE,
    specs=(SourceSpec(frames=4, multiframe_class=False),),
    header={**FULL_HEADER, "NumberOfFrames": b"4"},
)


def cases() -> Iterator[Case]:
    """Yield studies of every kind, and one study in every setting."""
    yield TWO_STILLS
    yield CINE
    yield GREY
    yield replace(
        GREY, specs=(SourceSpec(photometric="MONOCHROME1"),), places=((0, (1,)),), header={}
    )
    yield replace(CINE, spacing=None, findings={"algorithm": _demonstration()})
    yield ODD_CINE
    yield Case(header=NO_HEADER, specs=(SourceSpec(laterality=None, calibrated=False),))
    yield Case(places=((0, (1,)), (0, (1,))), row=5, sop_class=SECONDARY_CAPTURE)  # nodes overlap
    yield Case(specs=(SourceSpec(), SourceSpec(series=2)), places=((0, (1,)), (1, (1,))))
    yield Case(places=(), procedure=True)
    yield Case(findings={"operating_point": OperatingPoint("plain", 0.5)})
    yield Case(findings={"operating_point": replace(builders.POINT, sensitivity_ci95=None)})
    yield Case(findings={"operating_point": replace(builders.POINT, specificity_ci95=None)})
    yield Case(places=(), findings={"not_evaluable": Reason.NO_B_MODE, "images": (), "sides": ()})
    yield from _evaluated()
    yield Case(specs=(SourceSpec(), SourceSpec(number=2, frames=3)), reasons=tuple(Reason))
    yield Case(
        specs=(SourceSpec(), SourceSpec(number=2, rows=0, calibrated=False)),
        reasons=(Reason.NO_IMAGE,),
    )
    yield from (replace(CINE, settings=settings) for settings in _settings())


def _evaluated() -> Iterator[Case]:
    for value in Evaluation:
        sides = tuple(SideFinding(side, (1,), 0.6, value) for side in ("R", "L", None))
        yield Case(findings={"sides": sides})
    limits = {"rule_in": builders.POINT, "rule_out": builders.POINT}
    yield Case(findings={**limits, "sides": (SideFinding("R", (1,), 0.6, Evaluation.SUSPECTED),)})
    yield Case(specs=(SourceSpec(laterality="L"),), node={"laterality": "L"})
    yield Case(node={"laterality": None})


def _demonstration() -> Any:
    return replace(builders.ALGORITHM, demonstration=True)


def _settings() -> Iterator[Results]:
    """Yield `EVERYTHING` with one setting changed, for every value of every form of an object."""
    for key, setting in Results.model_fields.items():
        if setting.default not in ("off", "auto", True):  # whether an object is made at all
            for value in get_args(setting.annotation) or (False, True):
                yield EVERYTHING.model_copy(update={key: value})


def origins() -> Mapping[str, Callable[[Case], Case]]:
    """Return, by its name, how each input of a result object is changed."""
    return {
        "SRC": _other_source,
        "FINDING": lambda case: replace(
            case,
            first=4,
            row=7,
            points=2,
            node={"laterality": "L"},
            places=(*((source, frames[:1]) for source, frames in case.places), (0, (1,))),
        ),
        "MODEL": lambda case: replace(case, findings={**case.findings, **_OTHER_MODEL}),
        "CONFIG": lambda case: replace(case, findings={**case.findings, "node_ae_title": "OTHER"}),
        "SOFTWARE": lambda case: replace(
            case, findings={**case.findings, "software_version": "9.9"}
        ),
        "VERSION": lambda case: replace(case, findings={**case.findings, **_version(3)}),
        "CLOCK": lambda case: replace(case, now=case.now + timedelta(days=1, seconds=1)),
        "UID": lambda case: replace(
            case, uid=lambda role, ordinal: builders.uid(f"again {role}", ordinal)
        ),
    }


def _other_source(case: Case) -> Case:
    """Return the case on images of another patient, size and, for stills, SOP class."""
    specs = tuple(replace(spec, rows=30, columns=40) for spec in case.specs)
    window = {keyword: value + b"0" for keyword, value in case.header.items() if keyword in WINDOW}
    stills = all(spec.frames == 1 for spec in specs)
    return replace(
        case,
        specs=specs,
        header={**case.header, **OTHER_HEADER, **window},
        study_uid="1.2.4",
        spacing=0.1,
        sop_class=SECONDARY_CAPTURE if stills else "",
    )


_OTHER_MODEL: Mapping[str, Any] = {
    "algorithm": replace(
        _demonstration(), name="Other", version="2", digest="f" * 64, architecture="Other"
    ),
    "device_uid": "1.2.6",
}
