"""What becomes of a study, judged by what its images' headers say; read only as far as needed."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from daemon.config_rules import Rule
from daemon.errors import UnavailableError
from daemon.rules import Verdict, judge
from daemon.spool import Spool, found
from dicom_io.errors import DicomIOError
from dicom_io.facts import InstanceFacts, facts
from dicom_io.frames import read_header


class Known(Protocol):
    """What is known of an image without its header: `daemon.decision.Member`."""

    @property
    def instance_hash(self) -> str:
        """Names its file."""

    @property
    def source_ae(self) -> str:
        """Who sent it."""

    @property
    def assumed(self) -> bool:
        """Whether it counts as axillary, whatever it says."""


Judge = Callable[[Sequence[Known]], Verdict]
"""Judges a study by its images."""


class HeaderOf:
    """An image whose header is read when it is asked for (`daemon.config_rules.Image`)."""

    def __init__(self, path: Path, source_ae: str, *, assumed: bool = False) -> None:
        self._path = path
        self.source_ae = source_ae
        self.assumed = assumed

    @cached_property
    def facts(self) -> InstanceFacts | None:
        """What it says; one that is no DICOM file says nothing, and the worker says so if it must.

        Raises
        ------
        UnavailableError
            The disk would not say: the study waits, for it may be one to be analysed.
        """
        try:
            return facts(found(self._path, read_header))
        except (DicomIOError, FileNotFoundError):
            return None
        except OSError as error:
            raise UnavailableError(f"a stored image cannot be read ({error.strerror})") from error


def by_headers(spool: Spool, rules: Sequence[Rule]) -> Judge:
    """Return what judges studies in the spool; it raises `UnavailableError` as `HeaderOf` does."""

    def verdict(members: Sequence[Known]) -> Verdict:
        images = [
            HeaderOf(spool.path(each.instance_hash), each.source_ae, assumed=each.assumed)
            for each in members
        ]
        judged = judge(rules, images)
        spool.require()
        return judged

    return verdict
