"""The worker: claims a job, has it analysed by the child process, builds and stores the results."""

import errno
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

from daemon import answer, failpoints, fallback, integrity, jobs
from daemon.analysis import Analysis
from daemon.bell import Bell
from daemon.child import Child
from daemon.clock import Clock, seconds
from daemon.config import Config
from daemon.database import Database
from daemon.errors import AttemptFailed, DamagedFile, LostLease, UnavailableError
from daemon.jobs import Job
from daemon.logs import place_of
from daemon.publish import Publisher
from daemon.pulse import Pulse
from daemon.spool import Folders
from daemon.store import give_up_file
from dicom_io.errors import DicomIOError, ObjectError

log = logging.getLogger(__name__)
Result = TypeVar("Result")
_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
)  # the node's trouble, not the study's


def _loaded(values: dict[str, Any], masks: Path) -> Analysis:
    try:
        return answer.load(values, masks)
    except (KeyError, TypeError, ValueError, OSError, BadZipFile) as error:
        raise AttemptFailed(f"the analysing process gave a damaged answer ({error!r})") from error


@dataclass(frozen=True)
class _Asked:
    """A job that the child works on."""

    job: Job
    paths: Sequence[Path]
    masks: Path


@dataclass(frozen=True)
class _Answered:
    """A job whose results are to be built."""

    job: Job
    paths: Sequence[Path]
    analysis: Analysis


class Worker:
    """Works the queue of analyses: one in the child, and the results of the one before here.

    Parameters
    ----------
    child
        The analysing process.
    publisher
        What is done with its answers.
    holder
        Who this worker is, for the leases of its jobs; see `jobs.release`.
    bell
        Rung by whoever queues analyses.
    published
        Called when there are new deliveries.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        clock: Clock,
        folders: Folders,
        child: Child,
        publisher: Publisher,
        holder: str = "",
        bell: Bell | None = None,
        published: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        self._folders = folders
        self._child = child
        self._publisher = publisher
        self._holder = holder
        self._bell = bell or Bell()
        self._published = published
        self._longest_wait_us = max(seconds(config.study.version_interval_s), 4 * jobs.RETRY_US)
        self._stopping = threading.Event()  # of `run`; a job cut short then was not at fault
        self._renewed_us = 0
        self._held: dict[int, Job] = {}  # at hand: analysed, or to be built

    def work_one(self) -> bool:
        """Claim and finish one job; return whether there was one."""
        job = self._claim()
        if job is None:
            return False
        asked = self._ask(job)
        answered = None if asked is None else self._answer(asked)
        if answered is not None:
            self._publish(answered)
        return True

    @property
    def busy(self) -> bool:
        """Whether a job is at hand."""
        return bool(self._held)

    def alive(self) -> None:
        """Renew the leases of the jobs at hand; called while the child, or a disk, is waited for.

        One that is lost stays at hand: its answer is dropped when it comes.
        """
        now = self._clock()
        if abs(now - self._renewed_us) <= jobs.LEASE_US // 6:
            return
        self._renewed_us = now
        for job in list(self._held.values()):
            # what cannot be renewed now may be later; if not, the fence guards the answer
            with suppress(UnavailableError, LostLease):
                self._database.write(partial(jobs.renew, job=job, now_us=now), alone=False)

    def _claim(self) -> Job | None:
        self._child.start()  # without a model nothing is claimed, and no attempt is counted
        job = self._database.write(
            lambda c: jobs.claim(c, self._clock(), self._longest_wait_us, self._holder),
            alone=False,
        )
        if job is not None:
            failpoints.reach("worker.claimed")
            self._held[job.analysis_id] = job
        return job

    def _ask(self, job: Job) -> "_Asked | None":
        """Give a job to the child; None where it came to its end already."""
        return self._judged(job, partial(self._submit, job))

    def _submit(self, job: Job) -> "_Asked":
        paths = self._inputs(job)
        masks = self._folders.scratch / f"{job.analysis_id}-{job.fence}.npz"
        self._child.submit(
            {
                "inputs": [(uid, str(path)) for uid, path in zip(job.uids, paths, strict=True)],
                "masks": str(masks),
                "cine_frames": self._config.study.cine_frames,
                "tracking_root": f"{self._publisher.node_id}/{job.study_uid}",
                "pictures": fallback.wanted(self._config),
            }
        )
        return _Asked(job, paths, masks)

    def _answer(self, asked: "_Asked") -> "_Answered | None":
        """Wait for the child; None where the job came to its end."""
        return self._judged(asked.job, partial(self._wait, asked))

    def _wait(self, asked: "_Asked") -> "_Answered":
        try:
            analysis = _loaded(self._child.answer(), asked.masks)
        finally:
            asked.masks.unlink(missing_ok=True)
        failpoints.reach("worker.analysed")
        return _Answered(asked.job, asked.paths, analysis)

    def _publish(self, answered: "_Answered") -> None:
        self._judged(answered.job, partial(self._record, answered))

    def _record(self, answered: "_Answered") -> None:
        self._publisher.publish(answered.job, answered.analysis, answered.paths)
        failpoints.reach("worker.finished")
        self._held.pop(answered.job.analysis_id, None)
        self._published()

    def _judged(self, job: Job, work: Callable[[], Result]) -> Result | None:
        """Do a part of a job; what goes wrong is its end, and None."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the job has to end
            self._held.pop(job.analysis_id, None)
            self._judge(job, error)
            return None

    def _judge(self, job: Job, error: Exception) -> None:
        """End a job by whose fault it is that it failed; called where it is handled."""
        if isinstance(error, LostLease):
            log.warning("answer dropped", extra={"action": "lost_lease", "reason": str(error)})
        elif isinstance(error, (ObjectError, DamagedFile)):
            self._fail(job, str(error), final=True)  # another attempt would find the same
        elif isinstance(error, UnavailableError):
            self._give_back(job, str(error))
        elif isinstance(error, (AttemptFailed, DicomIOError)):
            end = self._give_back if self._stopping.is_set() else self._fail
            end(job, str(error))
        elif isinstance(error, OSError):
            end = self._give_back if error.errno in _DISK else self._fail
            end(job, f"{error.strerror or type(error).__name__} while the results were built")
        else:
            log.exception("unexpected", extra={"action": "attempt_failed"})
            self._fail(job, f"{type(error).__name__}{place_of(error)}")

    def _inputs(self, job: Job) -> list[Path]:
        """Return the files of a job's images, in order of arrival; each is whole."""
        paths = [self._folders.spool.path(digest) for digest in job.instance_hashes]
        for path, digest in zip(paths, job.instance_hashes, strict=True):
            self.alive()
            what = integrity.fault(path, digest, integrity.instance_digest)
            if what and not self._folders.spool.is_there():
                raise UnavailableError("node.spool_dir is not there; is it mounted?")
            if what:
                now = self._clock()
                self._database.write(partial(give_up_file, job.study_id, digest, what, now))
                raise DamagedFile(
                    f"the stored file of an image is {what}: have the modality send the study "
                    "again, then axnode retry"
                )
        return paths

    def _fail(self, job: Job, reason: str, *, final: bool = False) -> None:
        log.error(
            "attempt failed",
            extra={"action": "attempt_failed", "analysis": job.analysis_id, "reason": reason},
        )
        try:
            self._database.write(lambda c: jobs.fail(c, job, reason, self._clock(), final=final))
        except LostLease:
            log.warning("failure dropped", extra={"action": "lost_lease"})

    def _give_back(self, job: Job, reason: str) -> None:
        log.error(
            "job given back",
            extra={"action": "give_back", "analysis": job.analysis_id, "reason": reason},
        )
        try:
            self._database.write(lambda c: jobs.give_back(c, job, reason, self._clock()))
        except LostLease:
            log.warning("job already taken over", extra={"action": "lost_lease"})

    def run(self, stopping: threading.Event, pulse: Pulse, poll_s: float = 0.2) -> None:
        """Work until `stopping` is set, and finish what is at hand.

        The child is given the next job before the results of the last one are built, so that it
        never waits for them.
        """
        self._stopping = stopping
        self._held.clear()
        answered: _Answered | None = None
        while True:
            pulse()
            try:
                job = None if stopping.is_set() else self._claim()
                asked = None if job is None else self._ask(job)
            finally:
                if answered is not None:
                    self._publish(answered)
            pulse()
            answered = None if asked is None else self._answer(asked)
            if job is None and stopping.is_set():
                return
            if job is None:
                self._bell.wait(poll_s)
