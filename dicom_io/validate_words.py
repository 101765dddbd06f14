"""The check of what a report says in words: limits, notes, and what was left out."""

from collections.abc import Iterator, Mapping, Sequence

from pydicom.dataset import Dataset

from dicom_io import codes, sr_text
from dicom_io.context import Source, plain
from dicom_io.errors import ObjectError
from dicom_io.findings import StudyFindings
from dicom_io.validate_items import Expected, Items, compare, concept, named, own_value, said


def check_words(items: Items, findings: StudyFindings) -> None:
    """Check that the limits are all there, and what was left out."""
    (limits,) = named(items, codes.LIMITS)
    stated = said(limits)
    if stated[codes.LIMIT.value] != [plain(words) for words in sr_text.limits(findings)]:
        raise ObjectError("the report does not state its limits")
    banner = plain(sr_text.demonstration()) if findings.algorithm.demonstration else None
    use = plain(findings.algorithm.intended_use)
    words: Expected = {codes.DEMONSTRATION: banner, codes.INTENDED_USE: use}
    compare(stated, words, "the report does not state what it is for")


def check_exclusions(items: Items, findings: StudyFindings, sources: Mapping[str, Source]) -> None:
    """Check what was left out; an image that could not even be read is told without reference."""
    left_out = [e for e in findings.exclusions if e.sop_instance_uid in sources]
    whole = {(e.reason, e.sop_instance_uid) for e in left_out if e.frame_number is None}
    wanted: set[tuple[str, str, int | None]] = set()
    for e in left_out:
        named_frame = sources[e.sop_instance_uid].names_frames
        frame = e.frame_number if (e.reason, e.sop_instance_uid) not in whole else None
        place = (e.sop_instance_uid, frame if named_frame else None)
        wanted.add((codes.reason(e.reason).value, *place))
    if set(_left_out(items)) != wanted:
        raise ObjectError("the report does not say what was left out")


def _left_out(items: Items) -> Iterator[tuple[str, str, int | None]]:
    """Yield reason, image and frame of what the report says was left out; None: all of it."""
    for section in named(items, codes.EXCLUSIONS):
        for item in section.ContentSequence:
            reason = own_value(item) if codes.EXCLUDED.means(concept(item)) else ""
            for image in item.ContentSequence:
                yield from ((reason, *place) for place in _places(image))


def _places(item: Dataset) -> Iterator[tuple[str, int | None]]:
    """Yield image and frame of each reference of an item."""
    for reference in item.get("ReferencedSOPSequence", ()):
        numbers = reference.get("ReferencedFrameNumber")
        frames = [numbers] if isinstance(numbers, int | None) else list(numbers)
        yield from ((str(reference.ReferencedSOPInstanceUID), frame) for frame in frames)


def check_notes(items: Items, findings: StudyFindings, sources: Sequence[Source]) -> None:
    """Check that everything noted on an image is told."""
    names = sr_text.image_names(sources)
    by_uid = {source.sop_instance_uid: source for source in sources}
    wanted = [
        plain(note)
        for image in findings.images
        for note in sr_text.image_notes(
            image, by_uid[image.sop_instance_uid], names[image.sop_instance_uid]
        )
    ]
    if [item.TextValue for item in named(items, codes.IMAGE_NOTE)] != wanted:
        raise ObjectError("the report lacks a note on an image")
