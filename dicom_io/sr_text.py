"""The plain words of the report: conditions and limits, notes, exclusions. ASCII, no decisions."""

from collections.abc import Iterator, Mapping, Sequence

from dicom_io.context import Source
from dicom_io.findings import ImageRead, NodeView, SideFinding, StudyFindings

_SIDE_WORDS = {"R": "Right axilla", "L": "Left axilla"}


def side_name(laterality: str | None) -> str:
    """Return the name of a side; an unknown side is said to be unknown, never guessed."""
    return _SIDE_WORDS.get(laterality or "", "Axilla, side unknown")


def image_names(sources: Sequence[Source]) -> Mapping[str, str]:
    """Return, per SOP Instance UID, how a reader finds the image: series and image number."""
    return {source.sop_instance_uid: _image_name(source, n) for n, source in enumerate(sources, 1)}


def _image_name(source: Source, position: int) -> str:
    kind = "Cine" if source.is_cine else "Image"
    series, number = (_integer(source, k) for k in ("SeriesNumber", "InstanceNumber"))
    if series is None or number is None:
        return f"{kind} {position} of the study"
    return f"{kind} {number} of series {series}"


def _integer(source: Source, keyword: str) -> int | None:
    try:
        return int(source.ds[keyword].value)
    except (KeyError, TypeError, ValueError):
        return None


def demonstration() -> str:
    """Return the banner of a bundle that was not made for patients."""
    return (
        "DEMONSTRATION. The model is a demonstration and was not made for clinical use. "
        "Contours, measurements and scores here say nothing about a patient."
    )


def limits(findings: StudyFindings) -> Iterator[str]:
    """Yield the conditions under which the report may be read, one sentence group each."""
    yield (
        "Research use only. This is not a medical device; its output must not be used for "
        "diagnosis, screening or treatment."
    )
    yield (
        "The report was made by software and no person has verified it. The score is the output of "
        "a model between 0 and 1; it is not a diagnosis."
    )
    if findings.replaces is not None:
        yield f"Version {findings.version} of the report; it replaces version {findings.replaces}."
    yield from _segmentation_limits(findings)
    if uncalibrated := [node.label for node in findings.nodes if not node.measurements.calibrated]:
        yield (
            f"No physical calibration was found for the images of {', '.join(uncalibrated)}: "
            "these measurements are in pixels, not millimetres."
        )
    if any(side.laterality is None for side in findings.sides):
        yield "The images do not state the side of the body; it was not guessed."


def _segmentation_limits(findings: StudyFindings) -> Iterator[str]:
    if findings.not_evaluable:
        yield (
            "The study was not evaluated. Nothing in this report says whether lymph nodes are "
            "present or normal."
        )
    elif not findings.nodes:
        yield (
            "No lymph node was segmented. This is no negative finding: it says neither that there "
            "is no lymph node nor that there is no metastasis."
        )
    else:
        yield (
            "Lymph nodes that were not segmented are not in this report. Findings on different "
            "still images may be the same lymph node."
        )


def not_evaluable(findings: StudyFindings) -> str:
    """Return why nothing was evaluated; only where `findings.not_evaluable` is set."""
    words = findings.not_evaluable.words if findings.not_evaluable else ""
    more = " Images and their reasons are listed under images and frames left out."
    return f"Not evaluable: {words}.{more if len(findings.exclusions) > 1 else ''}"


def side_comment(findings: StudyFindings, side: SideFinding) -> str:
    """Return what a side's score rests on, and how it was evaluated."""
    if not side.node_numbers:
        return "None segmented. No score is given."
    which = ", ".join(f"Node {number}" for number in side.node_numbers)
    if len(side.node_numbers) == 1:
        words = f"The score is that of {which}."
    else:
        how = {"max": "highest", "mean": "mean"}[findings.aggregation]
        words = f"The score is the {how} of {which}."
    return f"{words} {_rules(findings)}" if side.evaluation else words


def _rules(findings: StudyFindings) -> str:
    """Return when a score is called suspected, not suspected, or neither."""
    upper, lower = findings.rule_in, findings.rule_out
    parts = []
    if upper:
        parts.append(f"suspected from {upper.threshold:.3f} on")
    if lower:
        parts.append(f"NOT suspected below {lower.threshold:.3f}")
    if not parts:
        return "Indeterminate always: the bundle declares neither a rule-in nor a rule-out point."
    return f"Declared limits: {', '.join(parts)}; otherwise indeterminate."


def image_notes(image: ImageRead, source: Source, name: str) -> Iterator[str]:
    """Yield what a reader should know about one image that was read."""
    seen = len(image.frame_numbers)
    if source.is_cine:
        yield f"{name}: {seen} of {source.frame_count} frames were read."
    if image.calibration is None:
        yield f"{name}: no physical calibration."
    yield from (f"{name}: {note}" for note in image.notes)


def where(source: Source, name: str, view: NodeView) -> str:
    """Return on which image, and frame of a cine, a node was measured."""
    return f"{name}, frame {view.frame_number}" if source.is_cine else name


def exclusion(name: str, words: str, frame_numbers: Sequence[int]) -> str:
    """Return which image or frames were left out, and why."""
    if not frame_numbers:
        return f"{name}: {words}."
    noun = "frame" if len(frame_numbers) == 1 else "frames"
    return f"{name}, {noun} {ranges(frame_numbers)}: {words}."


def ranges(numbers: Sequence[int]) -> str:
    """Return `1-3, 7` for 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for value in sorted(set(numbers)):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
