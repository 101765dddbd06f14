"""The worker: claims jobs, has the child process analyse them, builds and stores the results."""

import errno
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from daemon import claims, failpoints, fallback, integrity, jobs
from daemon.batch import Answered, Asked, parts
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
    errno.ESTALE,
    errno.ETIMEDOUT,
)  # the node's trouble, not the study's


class Worker:
    """Works the queue of analyses: a batch in the child, and the results of the one before here.

    Parameters
    ----------
    child
        The analysing process.
    publisher
        What is done with its answers.
    holder
        Who this worker is, for the leases of its jobs; see `claims.release`.
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
        self._after = ""  # source of the last job: the next one is another's
        self._held: dict[int, Job] = {}  # at hand: analysed, or to be built

    def work_one(self) -> bool:
        """Claim and finish one batch of jobs; return whether there was one."""
        claimed = self._claim()
        for answered in self._answers(self._ask(claimed)):
            self._publish(answered)
        return bool(claimed)

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

    def check_model(self) -> None:
        """Start the child where it does not run.

        Raises
        ------
        UnavailableError
            It cannot be started, or a bundle's folder has been changed since this process started.
        """
        self._child.start()
        held = self._child.digests
        if held and not self._publisher.digests <= held:
            self._child.stop()
            raise UnavailableError(
                "model: the files of a bundle were replaced while it was in use: restart the "
                "service, and give a new bundle a folder of its own"
            )

    def _claim(self) -> list[Job]:
        """Claim the next job, and with it what fills a batch of frames."""
        # without a model, or images, nothing is claimed, and no attempt is counted
        self.check_model()
        self._folders.spool.room()
        frames = self._child.together
        claimed = self._database.write(
            lambda c: claims.claim(
                c, self._clock(), self._longest_wait_us, self._holder, self._after, frames
            ),
            alone=False,
        )
        if claimed:
            failpoints.reach("worker.claimed")
            self._held |= {job.analysis_id: job for job in claimed}
            self._after = claimed[-1].source_ae
        return claimed

    def _ask(self, claimed: Sequence[Job]) -> list[Asked]:
        """Give jobs to the child; return those that have not come to their end already."""
        found = (self._judged(job, partial(self._asked, job)) for job in claimed)
        asked = [each for each in found if each is not None]
        if not asked:
            return []
        publisher, frames = self._publisher, self._config.study.cine_frames
        shown = fallback.wanted(self._config)
        studies = [each.request(frames, publisher.node_id, shown) for each in asked]
        bundle = publisher.bundle_for(asked[0].job)
        try:
            self._child.submit({"bundle": bundle, "studies": studies})
        except Exception as error:  # noqa: BLE001 - as in `_judged`
            self._end(asked, error)
            return []
        return asked

    def _asked(self, job: Job) -> Asked:
        masks = self._folders.scratch / f"{job.analysis_id}-{job.fence}.npz"
        return Asked(job, self._inputs(job), masks)

    def _answers(self, asked: Sequence[Asked]) -> list[Answered]:
        """Wait for the child; return the jobs that have not come to their end."""
        if not asked:
            return []
        try:
            told = parts(self._child.answer(), len(asked))
            found = [
                self._judged(each.job, partial(each.answered, values))
                for each, values in zip(asked, told, strict=True)
            ]
        except Exception as error:  # noqa: BLE001 - as in `_judged`
            self._end(asked, error)
            return []
        finally:
            for each in asked:
                each.masks.unlink(missing_ok=True)
        failpoints.reach("worker.analysed")
        return [each for each in found if each is not None]

    def _end(self, asked: Sequence[Asked], error: Exception) -> None:
        """End jobs that failed together; each is tried by itself, where one may be the cause."""
        for each in asked:
            self._held.pop(each.job.analysis_id, None)
            self._judge(each.job, error, alone=len(asked) == 1)

    def _publish(self, answered: Answered) -> None:
        self.alive()  # others of its batch wait, and so may the next one
        self._judged(answered.job, partial(self._record, answered))

    def _record(self, answered: Answered) -> None:
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

    def _judge(self, job: Job, error: Exception, *, alone: bool = True) -> None:
        """End a job by whose fault it is that it failed; called where it is handled."""
        if isinstance(error, LostLease):
            log.warning("answer dropped", extra={"action": "lost_lease", "reason": str(error)})
        elif isinstance(error, (ObjectError, DamagedFile)):
            self._fail(job, str(error), final=True)  # another attempt would find the same
        elif isinstance(error, UnavailableError):
            self._give_back(job, str(error))
        elif isinstance(error, (AttemptFailed, DicomIOError)):
            if self._stopping.is_set():
                self._give_back(job, str(error))
            else:
                self._fail(job, str(error), alone=alone)
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
            if what:
                self._folders.spool.require()
                now = self._clock()
                self._database.write(partial(give_up_file, job.study_id, digest, what, now))
                raise DamagedFile(
                    f"the stored file of an image is {what}: have the modality send the study "
                    "again, then axnode retry"
                )
        return paths

    def _fail(self, job: Job, reason: str, *, final: bool = False, alone: bool = True) -> None:
        log.error(
            "attempt failed",
            extra={"action": "attempt_failed", "analysis": job.analysis_id, "reason": reason},
        )
        try:
            self._database.write(
                lambda c: jobs.fail(c, job, reason, self._clock(), final=final, alone=alone)
            )
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

        The child is given the next jobs before the results of the last ones are built, so that it
        never waits for them.
        """
        self._stopping = stopping
        self._held.clear()
        answered: list[Answered] = []
        while True:
            pulse()
            try:
                claimed = [] if stopping.is_set() else self._claim()
                asked = self._ask(claimed)
            finally:
                for each in answered:
                    self._publish(each)
                    pulse()
            answered = self._answers(asked)
            if not claimed and stopping.is_set():
                return
            if not claimed:
                self._bell.wait(poll_s)
