"""The tables ``[[rules]]``: which studies are analysed, by which bundle, and where results go."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import BeforeValidator, StringConstraints

from daemon.config_table import Table
from daemon.errors import ConfigError

if TYPE_CHECKING:  # whoever reads the configuration does not wait for what is behind it
    from dicom_io.facts import InstanceFacts

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Patterns = Annotated[
    tuple[Pattern, ...],
    BeforeValidator(
        lambda value: (
            (value,)
            if isinstance(value, str)
            else (tuple(value) if isinstance(value, list) else value)
        )
    ),
]
"""One or several, any of which will do: ``*`` stands for anything, ``?`` for one character; upper
and lower case are the same."""


class Rule(Table):
    """What holds for which images. A condition that is left out holds for all."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    source_ae: Patterns = ()
    modality: Patterns = ()
    body_part: Patterns = ()
    study_description: Patterns = ()
    series_description: Patterns = ()
    laterality: Patterns = ()  # R or L; in each of these "-" stands for one that is not stated
    analyse: bool | None = None  # left out: this rule does not say
    destinations: tuple[str, ...] | None = None  # names; left out: this rule does not say
    urgent: bool | None = None  # analysed before all that is not; left out: this rule does not say
    bundle: Annotated[str, StringConstraints(min_length=1)] | None = (
        None  # folder; left out: as above
    )

    @property
    def decides(self) -> bool:
        """Whether it says anything."""
        said = (self.analyse, self.destinations, self.urgent, self.bundle)
        return any(each is not None for each in said)

    def holds(self, image: "Image") -> bool:
        """Tell whether every condition holds for an image; what cannot be read fulfils none."""
        if not _matches(self.source_ae, image.source_ae):
            return False
        conditions = {name: getattr(self, name) for name in _READ if getattr(self, name)}
        found = image.facts if conditions else None
        return not conditions or (
            found is not None
            and all(
                _matches(patterns, getattr(found, name) or "-")
                for name, patterns in conditions.items()
            )
        )


_READ = ("modality", "body_part", "study_description", "series_description", "laterality")


def _matches(patterns: Sequence[str], value: str) -> bool:
    folded = value.strip().casefold()
    return not patterns or any(fnmatchcase(folded, each.casefold()) for each in patterns)


class Image(Protocol):
    """What rules look at."""

    @property
    def source_ae(self) -> str:
        """Who sent it."""

    @property
    def assumed(self) -> bool:
        """Whether its source pushes axillary studies only, or a person has said that it is one."""

    @property
    def facts(self) -> "InstanceFacts | None":
        """What its header says; None: it cannot be read."""


def check(rules: Sequence[Rule], destinations: Sequence[str]) -> None:
    """Raise `ConfigError` where a rule can do nothing, or names what is not there."""
    for number, rule in enumerate(rules):
        key = f"configuration: rules.{number}"
        if not rule.decides:
            raise ConfigError(
                f"{key}: decides nothing; set analyse, destinations, urgent or bundle"
            )
        for name in rule.destinations or ():
            if name not in destinations:
                raise ConfigError(
                    f"{key}.destinations: no destination {name!r} is configured; "
                    f"there is {', '.join(destinations) or 'none'}"
                )
