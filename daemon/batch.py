"""Studies that the analysing process reads together: what it is asked, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from daemon import answer
from daemon.analysis import Analysis
from daemon.errors import AttemptFailed
from daemon.jobs import Job


@dataclass(frozen=True)
class Asked:
    """A job that the process works on."""

    job: Job
    paths: Sequence[Path]  # of its images, as it names them
    masks: Path  # where what was found is handed over

    def request(self, cine_frames: int, node_id: str, pictures: str) -> dict[str, Any]:
        """Return what of a request is about this study; `daemon.analyser` reads it."""
        uids = self.job.uids
        return {
            "inputs": [(uid, str(path)) for uid, path in zip(uids, self.paths, strict=True)],
            "masks": str(self.masks),
            "cine_frames": cine_frames,
            "tracking_root": f"{node_id}/{self.job.study_uid}",
            "pictures": pictures,
        }

    def answered(self, values: dict[str, Any]) -> "Answered":
        """Read an answer.

        Raises
        ------
        AttemptFailed
            It is damaged.
        """
        try:
            return Answered(self.job, self.paths, answer.load(values, self.masks))
        except (KeyError, TypeError, ValueError, OSError, BadZipFile) as error:
            raise _damaged(repr(error)) from error


@dataclass(frozen=True)
class Answered:
    """A job whose results are to be built."""

    job: Job
    paths: Sequence[Path]
    analysis: Analysis


def parts(told: dict[str, Any], number: int) -> Sequence[dict[str, Any]]:
    """Return what an answer says of each of `number` studies, or raise `AttemptFailed`."""
    found = told.get("studies")
    if not isinstance(found, list) or len(found) != number:
        raise _damaged("not as many studies as were asked for")
    return found


def _damaged(how: str) -> AttemptFailed:
    return AttemptFailed(f"the analysing process gave a damaged answer ({how})")
