"""Damage of every kind to a SEG and a report, which one judge or another must notice."""

import multiprocessing
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_io import context, validate
from dicom_io.errors import ObjectError
from tests import matrix, mutants, readers
from tests.matrix import Case
from tests.validity import errors, evidence

pytestmark = pytest.mark.integration

_WORKERS = 2


def _check_of_production(case: Case, path: Path) -> bool:
    """Say whether our own check passes, as it must before an object is stored."""
    sources = [context.read_source(source) for source in case.paths]
    try:
        validate.check(path.read_bytes(), case.found, sources)
    except ObjectError:
        return False
    return True


def _highdicom(case: Case, path: Path) -> bool:
    """Say whether highdicom reads what was found, and report and SEG name each other."""
    ds = matrix.header(path)
    try:
        return _says_findings(case, ds) if ds.Modality == "SR" else _holds_masks(case, ds)
    except Exception:  # noqa: BLE001 - whatever a reader stumbles over, it has noticed
        return False


def _says_findings(case: Case, ds: Dataset) -> bool:
    report = hd.sr.ComprehensiveSR.from_dataset(ds)
    segs = [matrix.header(path) for path in case.segs]
    listed = {(x.SeriesInstanceUID, x.SOPClassUID, x.SOPInstanceUID) for x in (*case.sets, *segs)}
    same = readers.said(report) == readers.expected(case.found, case.sets)
    return same and set(evidence(ds)) == listed


def _holds_masks(case: Case, ds: Dataset) -> bool:
    named = (ds.SeriesInstanceUID, ds.SOPClassUID, ds.SOPInstanceUID)
    seg, _ = readers.read_by_highdicom(ds)
    return named in evidence(matrix.header(case.sr)) and all(
        np.array_equal(readers.mask_by_highdicom(seg, case, place, number), plane)
        for number, planes in matrix.drawn(case, ds).items()
        for place, plane in planes.items()
    )


def _dciodvfy(case: Case, path: Path) -> bool:
    """Say whether the standard's modules are kept, attribute by attribute."""
    return not errors(path)


_JUDGES: dict[str, Callable[[Case, Path], bool]] = {
    "our own check": _check_of_production,
    "highdicom": _highdicom,
    "dciodvfy": _dciodvfy,
}


def _noticed_by(case: Case, path: Path) -> str | None:
    return next((name for name, passes in _JUDGES.items() if not passes(case, path)), None)


def _judge(case: Case, original: Path, part: int) -> dict[str, str | None]:
    """Return who noticed each mutant; of every `_WORKERS` mutants, this judges one."""
    ds = matrix.header(original)
    list(ds.iterall())  # decoded, so that places have their keywords
    copy = original.with_suffix(f".{part}.dcm")
    verdicts = {}
    for number, mutant in enumerate(mutants.mutants(ds)):
        if number % _WORKERS == part:
            with mutant.applied():
                ds.save_as(copy)
            verdicts[mutant.name] = _noticed_by(case, copy)
    return verdicts


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Build a cine with two nodes in its second version; no judge objects to what is undamaged."""
    case = matrix.rich(tmp_path_factory.mktemp("rich"))
    assert [_noticed_by(case, path) for path in case.objects[:2]] == [None, None]
    return case


# Mutants that no judge needs to notice, and why. Everything else must be noticed.
_EQUIVALENT = {
    r"(InstanceCreation|Series)(Date|Time) dropped": "optional (type 3)",
    r"(ContributingEquipmentSequence/)?StationName .*": "optional; the AE title is in the report",
    r"SeriesDescription .*": "optional; what must be in it for a demonstration is checked",
    r"ContributingEquipmentSequence/Contribution(DateTime|Description) .*": "optional",
    r"SeriesInstanceUID altered": "any new series of a report is as good",
    r"(Series|Instance)Number altered": "any number is as good",
    r"PatientOrientation dropped": "type 2C; it has no value",
    r"ContentCreatorName dropped": "type 2; it has no value",
    r"BurnedInAnnotation dropped": "optional; where it is written it must be NO or YES",
    r"SegmentsOverlap dropped": "optional; where it is written it must be right",
    r"Dimension(Organization|Index)Sequence/DimensionOrganizationUID altered": (
        "one organization, whatever its UID"
    ),
    r"DimensionIndexSequence/DimensionDescriptionLabel .*": "optional words",
    r".*/FrameContentSequence/StackID altered": "one stack, whatever its name",
    r"Content(Label|Description) altered": "words for a list",
    r".*/AlgorithmSource .*": "optional; the manufacturer is named elsewhere",
    r".*/RecommendedDisplayCIELabValue .*": "optional; a colour is no finding",
    r".*/SliceThickness altered": "one plane has none; the number is a filler",
    r"PurposeOfReferenceCodeSequence\[121322\] replaced": "the one use of the reference is clear",
    r"DerivationCodeSequence\[113076\] replaced": "a SEG is derived by segmentation",
    r"CodingSchemeIdentificationSequence(/CodingScheme(Name|ResponsibleOrganization))? .*": (
        "optional; the designator of private codes says whose they are"
    ),
    r".*\[260753009\]/ContentSequence\[1110(18|19)\] item removed": "date and time of an image",
    r"ConceptNameCodeSequence\[111018\] replaced": "date of an image",
    r".*\[125007 1501\]/ContentSequence\[112040\]/UID altered": "a side's UID is new every time",
    r".*\[125007 1410\]/ContentSequence\[121106\].*": "words that repeat where the contour lies",
    r".*\[EXCLUDED\]/ContentSequence\[121106\].*": "words that repeat reason, image and frame",
    r".*\[IMAGE_NOTE\]/ContentSequence dropped": "the note names its image in words",
}
_GROUP = "ContentSequence[126010]/ContentSequence[125007 1410]"
_NUMBER = "/MeasuredValueSequence/NumericValue"


def _verdicts(case: Case, paths: Sequence[Path]) -> list[dict[str, str | None]]:
    """Return who noticed each mutant of each object."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_WORKERS, spawn) as pool:
        parts = [pool.map(partial(_judge, case, path), range(_WORKERS)) for path in paths]
        return [
            {name: judge for part in judged for name, judge in part.items()} for judged in parts
        ]


def _unexplained(verdicts: dict[str, str | None]) -> list[str]:
    survivors = [name for name, judge in verdicts.items() if judge is None]
    return [name for name in survivors if not any(re.fullmatch(p, name) for p in _EQUIVALENT)]


def test_every_damage_is_noticed(rich: Case) -> None:
    """A reference, an attribute, a code, a number, a bit, a side: in the SEG and in the report.

    What only a validator of templates can know is shown to PixelMed's beside the matrix.
    """
    seg, report = _verdicts(rich, rich.objects[:2])

    assert _unexplained(seg) == []
    assert _unexplained(report) == [matrix.OUTSIDE_ITS_GROUP]
    survivors = [n for verdicts in (seg, report) for n, judge in verdicts.items() if judge is None]
    idle = [p for p in _EQUIVALENT if not any(re.fullmatch(p, name) for name in survivors)]
    assert idle == []
    # each judge is needed
    assert {judge for verdicts in (seg, report) for judge in verdicts.values()} == {*_JUDGES, None}
    assert (len(seg) > 200, len(report) > 700) == (True, True)


def test_dcmtk_notices_a_flipped_bit_and_a_broken_tree(rich: Case, tmp_path: Path) -> None:
    """The readers of the matrix that judge no mutant above can be red, too."""
    (seg,) = rich.segs
    wanted = matrix.stored(rich, matrix.header(seg))
    flipped = mutants.write(seg, "PixelData altered")
    assert np.array_equal(readers.frames_by_dcmtk(seg, tmp_path), wanted)
    assert (readers.frames_by_dcmtk(flipped, tmp_path) != wanted).sum() == 1
    assert readers.text_by_dcmtk([mutants.write(rich.sr, "CODE ValueType altered")]).returncode != 0


def test_dcmqi_notices_a_flipped_bit_and_a_number(tmp_path: Path) -> None:
    levels = {name: levels[0] for name, levels in {**matrix.SOURCES, **matrix.SETTINGS}.items()}
    case = matrix.build(tmp_path, {**levels, "nodes": 1, "seg_geometry": "volume"})
    (seg,) = case.segs
    (wanted,) = matrix.volumes(case, matrix.header(seg)).values()
    assert np.array_equal(readers.segments_by_dcmqi(seg)[1], wanted)
    flipped = readers.segments_by_dcmqi(mutants.write(seg, "PixelData altered"))[1]
    assert (flipped != wanted).sum() == 1
    altered = mutants.write(case.sr, f"{_GROUP}/ContentSequence[103339001]{_NUMBER} altered")
    read = readers.report_by_dcmqi(altered, tmp_path)
    assert read != readers.expected_by_dcmqi(case.found)
