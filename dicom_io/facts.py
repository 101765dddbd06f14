"""What an instance says about itself: body part, side, descriptions; whether it is ours to read.

The side is never guessed: two sides named anywhere in one instance make it unknown. Nothing here
logs or raises with a value in it.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset

from .header import integer, items, text

Code = tuple[str, str]  # code value, coding scheme designator


@dataclass(frozen=True)
class InstanceFacts:
    """The attributes of one instance that decide what is done with it."""

    modality: str  # e.g. "US"
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    series_number: int | None
    instance_number: int | None
    frame_of_reference_uid: str  # "" in most ultrasound
    body_part: str  # BodyPartExamined as it stands
    study_description: str  # as they stand
    series_description: str
    anatomic_codes: tuple[Code, ...]  # regions, structures, their modifiers, procedures
    descriptions: tuple[str, ...]  # free texts and code meanings, decoded
    laterality: str | None  # "R", "L" or None: unknown or contradictory


# The SNOMED RT codes of older equipment and the SNOMED CT codes they became (PS3.16 annex L).
_RT_TO_CT = {
    "T-D8104": "91470000",
    "T-C4710": "68171009",
    "T-04000": "76752008",
    "T-04020": "73056007",
    "T-04030": "80248007",
    "T-04080": "63762007",
    "G-A100": "24028007",
    "G-A101": "7771000",
    "G-A102": "51440002",
}
_RT_SCHEMES = frozenset({"SRT", "SNM3", "99SDM"})
_ELIGIBLE_CODES = {
    "91470000": "axilla",
    "68171009": "axillary lymph node",
    "76752008": "breast",
    "73056007": "right breast",
    "80248007": "left breast",
    "63762007": "both breasts",
}
# Stems of axilla and breast, accents removed: English, Latin, German, French, Spanish, Italian,
# Portuguese, Dutch, Scandinavian. Bypasses, vessels and nerve blocks of the armpit are another
# matter, and "seno" is left out because it is also a sinus.
_ELIGIBLE_WORD = re.compile(
    r"\b(?:axil(?!l?o)\w*(?! (?:arter|vein|ven[ae]|vessel|nerv|plex|block))"
    r"|achsel\w*|aisselle\w*|ascell\w*|oksel\w*|sobaco"
    r"|breasts?|mamm?ae?|mammo\w*|mammaire\w*|mamm?ari[aoe]s?|mamas|mamaires?"
    r"|mammary(?! arter)|mammell[ae]|brust|brustdrusen?|seins?|borst(?:en)?|bryst\w*|brost\w*)\b"
)

_SIDE_CODES = {
    "24028007": "R",
    "7771000": "L",
    "51440002": "B",
    "73056007": "R",
    "80248007": "L",
    "63762007": "B",
}
_BOTH_SIDES = frozenset({"R", "L"})
# Left out on purpose: "dx" (diagnosis), "der" (the German article), "sin" (Spanish: without).
_SIDE_WORDS = {
    **dict.fromkeys(("right", "rt", "rechts", "rechte", "rechter", "rechtes", "rechten"), "R"),
    **dict.fromkeys(("droit", "droite", "droits", "droites", "dte"), "R"),
    **dict.fromkeys(("derecha", "derecho", "dcha", "dcho", "destra", "destro"), "R"),
    **dict.fromkeys(("direita", "direito", "hoger", "hojre", "hoyre"), "R"),
    **dict.fromkeys(("left", "lt", "links", "linke", "linker", "linkes", "linken"), "L"),
    **dict.fromkeys(("gauche", "gauches", "gche"), "L"),
    **dict.fromkeys(("izquierda", "izquierdo", "izq", "izqda", "izqdo", "sinistra"), "L"),
    **dict.fromkeys(("sinistro", "esquerda", "esquerdo", "vanster", "venstre"), "L"),
    **dict.fromkeys(("bilateral", "bilat", "bilaterale", "bilateraux", "both"), "B"),
    **dict.fromkeys(("beide", "beider", "beidseits", "bds", "ambos", "ambas"), "B"),
}
# A lone letter is a side only next to the word it qualifies: "R axilla", "AXILLA L", "breast_r".
_LETTER_SIDES = {"r": "R", "l": "L"}

_DESCRIPTIONS = (
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "ImageComments",
    "ViewName",
)
# The study may hold both sides: its own texts do not say which side this instance shows.
_SIDE_TEXTS = ("SeriesDescription", "ProtocolName", "ImageComments", "ViewName")


def facts(ds: Dataset) -> InstanceFacts:
    """Read the facts of one instance from its header."""
    codes = tuple(_codes(ds))
    return InstanceFacts(
        modality=text(ds, "Modality"),
        sop_class_uid=text(ds, "SOPClassUID"),
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        study_instance_uid=text(ds, "StudyInstanceUID"),
        series_instance_uid=text(ds, "SeriesInstanceUID"),
        series_number=integer(ds, "SeriesNumber"),
        instance_number=integer(ds, "InstanceNumber"),
        frame_of_reference_uid=text(ds, "FrameOfReferenceUID"),
        body_part=text(ds, "BodyPartExamined"),
        study_description=text(ds, "StudyDescription"),
        series_description=text(ds, "SeriesDescription"),
        anatomic_codes=codes,
        descriptions=tuple(_texts(ds)),
        laterality=_laterality(ds),
    )


def eligible(found: InstanceFacts) -> str | None:
    """Return why the instance is one to analyse (axilla or breast), or None if it is not.

    The reason names the attribute and the matched term, never the whole text.
    """
    for code in found.anatomic_codes:
        if (concept := _concept(code)) in _ELIGIBLE_CODES:
            return f"code {code[0]} {code[1]} ({_ELIGIBLE_CODES[concept]})"
    if match := _ELIGIBLE_WORD.search(_plain(found.body_part)):
        return f"body part says {match.group()}"
    for description in found.descriptions:
        if match := _ELIGIBLE_WORD.search(_plain(description)):
            return f"description says {match.group()}"
    return None


def _plain(value: str) -> str:
    # Lower case, accents off, and every separator (underscore, caret, digit) a space.
    decomposed = unicodedata.normalize("NFKD", value.casefold().replace("ø", "o"))
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(re.findall(r"[^\W\d_]+", letters))


def _anatomy(ds: Dataset) -> Iterator[Dataset]:
    # Items that name anatomy, with their modifiers (PS3.3 10.5 and C.7.6.16.2.8)
    for place in (ds, *_frame_anatomy(ds)):
        for keyword in ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence"):
            for item in items(place, keyword):
                yield item
                yield from items(item, "AnatomicRegionModifierSequence")
                yield from items(item, "PrimaryAnatomicStructureModifierSequence")


def _procedures(ds: Dataset) -> Iterator[Dataset]:
    yield from items(ds, "ProcedureCodeSequence")
    yield from items(ds, "RequestedProcedureCodeSequence")
    for request in items(ds, "RequestAttributesSequence"):
        yield from items(request, "RequestedProcedureCodeSequence")


def _frame_anatomy(ds: Dataset) -> Iterator[Dataset]:
    for group in items(ds, "SharedFunctionalGroupsSequence"):
        yield from items(group, "FrameAnatomySequence")


def _code(item: Dataset) -> Code:
    return text(item, "CodeValue"), text(item, "CodingSchemeDesignator")


def _concept(code: Code) -> str:
    # The SNOMED CT code of a code; "" for other schemes
    value, scheme = code
    if scheme in _RT_SCHEMES:
        return _RT_TO_CT.get(value, "")
    return value if scheme == "SCT" else ""


def _codes(ds: Dataset) -> Iterator[Code]:
    for item in (*_anatomy(ds), *_procedures(ds)):
        if (code := _code(item))[0]:
            yield code


def _texts(ds: Dataset) -> Iterator[str]:
    for keyword in _DESCRIPTIONS:
        if value := text(ds, keyword):
            yield value
    for request in items(ds, "RequestAttributesSequence"):
        for keyword in ("RequestedProcedureDescription", "ScheduledProcedureStepDescription"):
            if value := text(request, keyword):
                yield value
    for item in (*_anatomy(ds), *_procedures(ds)):
        if value := text(item, "CodeMeaning"):
            yield value
    # Values 1 and 2 of ImageType are ORIGINAL and PRIMARY; 3 is the scanner's preset in US.
    yield from filter(None, text(ds, "ImageType").split("\\")[2:])


def _laterality(ds: Dataset) -> str | None:
    """Return the side the attributes agree on; where they are silent, the one the texts name.

    A text that names only the other side contradicts the attributes. One that names both does
    not: it is often the name of the whole examination.
    """
    declared = set(_attribute_sides(ds))
    written = set().union(*(_word_sides(text(ds, keyword)) for keyword in _SIDE_TEXTS))
    if declared and len(written) == 1 and "B" not in written:
        declared |= written
    sides = declared or written
    return sides.pop() if len(sides) == 1 and sides <= _BOTH_SIDES else None


def _attribute_sides(ds: Dataset) -> Iterator[str]:
    values = [text(ds, "Laterality"), text(ds, "ImageLaterality")]
    values += [text(anatomy, "FrameLaterality") for anatomy in _frame_anatomy(ds)]
    # U (unpaired) says nothing; B (both) contradicts every single side.
    yield from (value for value in (v.upper() for v in values) if value in {"R", "L", "B"})
    for item in _anatomy(ds):
        if side := _SIDE_CODES.get(_concept(_code(item))):
            yield side


def _word_sides(value: str) -> set[str]:
    words = _plain(value).split()
    sides = {_SIDE_WORDS[word] for word in words if word in _SIDE_WORDS}
    return sides | _letters(words)


def _letters(words: list[str]) -> set[str]:
    lone = [index for index, word in enumerate(words) if word in _LETTER_SIDES]
    beside = (words[max(index - 1, 0) : index + 2] for index in lone)
    if not any(_ELIGIBLE_WORD.fullmatch(near) for neighbours in beside for near in neighbours):
        return set()
    # Once one letter is a side, so are the others: "R and L axilla".
    return {_LETTER_SIDES[words[index]] for index in lone}
