"""What the rules make of a study.

A rule says when it holds and what it decides. For each of the four questions the first rule
counts that holds for an image of the study and answers it; where none does, a study is analysed if
its headers name axilla or breast, in its turn, by the bundle of ``model.bundle``, and its results
go everywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.config_rules import Image, Rule
from dicom_io.facts import eligible

IGNORED = (
    "neither axilla nor breast is named in body part, region, procedure or description; "
    "write a rule that analyses it, or set assume_axilla for a source that pushes nothing else"
)


@dataclass(frozen=True)
class Verdict:
    """What becomes of a study."""

    analyse: bool
    why: str  # in words
    destinations: tuple[str, ...] | None = None  # None: all
    sent_by: str = ""  # the rule that chose them
    urgent_by: str = ""  # the rule that has it analysed before others; "": it waits its turn
    bundle: str | None = None  # folder of the one that analyses it; None: ``model.bundle``'s
    bundle_by: str = ""  # the rule that chose it


def judge(rules: Sequence[Rule], images: Sequence[Image]) -> Verdict:
    """Judge a study by its images."""
    analyse, why = _analysed(rules, images)
    chooser = _first(rules, images, lambda rule: rule.destinations is not None)
    hurrier = _first(rules, images, lambda rule: rule.urgent is not None)
    reader = _first(rules, images, lambda rule: rule.bundle is not None)
    return Verdict(
        analyse,
        why,
        chooser.destinations if chooser else None,
        f"rule {chooser.name!r}" if chooser else "",
        f"rule {hurrier.name!r}" if hurrier is not None and hurrier.urgent else "",
        reader.bundle if reader else None,
        f"rule {reader.name!r}" if reader else "",
    )


def _analysed(rules: Sequence[Rule], images: Sequence[Image]) -> tuple[bool, str]:
    if any(image.assumed for image in images):
        return True, "its source pushes axillary studies only, or a person asked for it"
    decider = _first(rules, images, lambda rule: rule.analyse is not None)
    if decider is not None:
        return bool(decider.analyse), f"rule {decider.name!r}"
    read = (image.facts for image in images)
    named = next(filter(None, (eligible(facts) for facts in read if facts is not None)), None)
    return (True, named) if named else (False, IGNORED)


def _first(
    rules: Sequence[Rule], images: Sequence[Image], answers: Callable[[Rule], bool]
) -> Rule | None:
    return next(
        (rule for rule in rules if answers(rule) and any(rule.holds(image) for image in images)),
        None,
    )
