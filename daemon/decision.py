"""Which studies are ready, and what becomes of them: pure decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True)
class Member:
    """What assembly knows of one instance."""

    instance_id: int
    sop_instance_uid: str
    instance_hash: str
    patient_key: str
    source_ae: str
    assumed: bool  # its source pushes axillary studies only, or a person has said so
    kept: bool = True  # its file lies in the spool; retention may have deleted it


class Decision(Enum):
    """What becomes of a study whose quiet period is over."""

    ANALYSE = auto()
    SAME_INPUT = auto()  # nothing new since the latest version
    TWO_PATIENTS = auto()
    NOT_ELIGIBLE = auto()
    INCOMPLETE = auto()  # retention has deleted some of its images


@dataclass(frozen=True)
class Latest:
    """Identity of a study's latest analysis."""

    input_hash: str
    bundle_digest: str
    recipe_digest: str


def ready(last_instance_us: int, now_us: int, quiet_us: int) -> bool:
    """Tell whether the quiet period is over; a clock set back does not hold a study for ever."""
    age_us = now_us - last_instance_us
    return age_us >= quiet_us or -age_us > quiet_us


def decide(
    members: Sequence[Member], wanted: Latest, latest: Latest | None, *, eligible: bool
) -> Decision:
    """Decide what becomes of a study with these members."""
    if len({member.patient_key for member in members}) > 1:
        return Decision.TWO_PATIENTS
    if not eligible:
        return Decision.NOT_ELIGIBLE
    if wanted == latest:
        return Decision.SAME_INPUT
    # an analysis of what is left would be taken for one of the study
    return Decision.ANALYSE if all(member.kept for member in members) else Decision.INCOMPLETE
