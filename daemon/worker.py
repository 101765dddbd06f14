"""The worker: claims a job, has it analysed by the child process, builds and stores the results."""

import errno
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from sqlalchemy import Connection

from daemon import answer, failpoints, fallback, identity, integrity, jobs
from daemon.analysis import Analysis, Frame
from daemon.build import build_objects
from daemon.child import Child
from daemon.clock import Clock, seconds
from daemon.config import Config
from daemon.database import Database
from daemon.errors import AttemptFailed, DamagedFile, LostLease, UnavailableError
from daemon.jobs import Job, StoredObject
from daemon.logs import place_of
from daemon.pulse import Pulse
from daemon.reading import Reader
from daemon.spool import Spool
from daemon.store import give_up_file
from daemon.summary import summarise
from dicom_io.errors import DicomIOError, ObjectError
from dicom_io.findings import StudyFindings

log = logging.getLogger(__name__)
_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
)  # the node's trouble, not the study's


@dataclass(frozen=True)
class Folders:
    """Where the worker reads and writes."""

    spool: Spool  # instances as they came
    objects: Spool  # results as built
    scratch: Path  # the child's masks


def _loaded(values: dict[str, Any], masks: Path) -> Analysis:
    try:
        return answer.load(values, masks)
    except (KeyError, TypeError, ValueError, OSError, BadZipFile) as error:
        raise AttemptFailed(f"the analysing process gave a damaged answer ({error!r})") from error


class Worker:
    """Works the queue of analyses, one at a time.

    Parameters
    ----------
    recipe_digest
        Part of the result UIDs' derivation.
    child
        The analysing process.
    holder
        Who this worker is, for the leases of its jobs; see `jobs.release`.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        clock: Clock,
        folders: Folders,
        reader: Reader,
        recipe_digest: str,
        child: Child,
        holder: str = "",
    ) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        self._folders = folders
        self._reader = reader
        self._recipe_digest = recipe_digest
        self._child = child
        self._holder = holder
        self._longest_wait_us = max(seconds(config.study.version_interval_s), 4 * jobs.RETRY_US)
        self._stopping = threading.Event()  # of `run`; a job cut short then was not at fault
        self._renewed_us = 0
        self._job: Job | None = None

    def work_one(self) -> bool:
        """Claim and finish one job; return whether there was one."""
        self._child.start()  # without a model nothing is claimed, and no attempt is counted
        job = self._database.write(
            lambda c: jobs.claim(c, self._clock(), self._longest_wait_us, self._holder)
        )
        if job is None:
            return False
        failpoints.reach("worker.claimed")
        self._job = job
        try:
            self._finish(job, *self._analyse(job))
            failpoints.reach("worker.finished")
        except LostLease as error:
            log.warning("answer dropped", extra={"action": "lost_lease", "reason": str(error)})
        except (ObjectError, DamagedFile) as error:
            self._fail(job, str(error), final=True)  # another attempt would find the same
        except UnavailableError as error:
            self._give_back(job, str(error))
        except (AttemptFailed, DicomIOError) as error:
            end = self._give_back if self._stopping.is_set() else self._fail
            end(job, str(error))
        except OSError as error:
            end = self._give_back if error.errno in _DISK else self._fail
            end(job, f"{error.strerror or type(error).__name__} while the results were built")
        except Exception as error:
            log.exception("unexpected", extra={"action": "attempt_failed"})
            self._fail(job, f"{type(error).__name__}{place_of(error)}")
        finally:
            self._job = None
        return True

    @property
    def busy(self) -> bool:
        """Whether a job is at hand."""
        return self._job is not None

    def alive(self) -> None:
        """Renew the lease of the job at hand; called at every sign of life of the child."""
        job, now = self._job, self._clock()
        if job is not None and abs(now - self._renewed_us) > jobs.LEASE_US // 6:
            self._renewed_us = now
            self._database.write(lambda c: jobs.renew(c, job, now))

    def _analyse(self, job: Job) -> tuple[StudyFindings, list[StoredObject]]:
        paths = self._inputs(job)
        masks = self._folders.scratch / f"{job.analysis_id}-{job.fence}.npz"
        try:
            values = self._child.ask(
                {
                    "inputs": [(uid, str(path)) for uid, path in zip(job.uids, paths, strict=True)],
                    "masks": str(masks),
                    "cine_frames": self._config.study.cine_frames,
                    "tracking_root": f"{self._reader.node_id}/{job.study_uid}",
                    "pictures": fallback.wanted(self._config),
                }
            )
            analysis = _loaded(values, masks)
        finally:
            masks.unlink(missing_ok=True)
        failpoints.reach("worker.analysed")
        findings = self._reader.findings(
            job.study_uid, job.version, analysis, job.predecessors, job.replaces
        )
        return findings, self._build(job, findings, paths, analysis.frames)

    def _inputs(self, job: Job) -> list[Path]:
        """Return the files of a job's images, in order of arrival; each is whole."""
        paths = [self._folders.spool.path(digest) for digest in job.instance_hashes]
        for path, digest in zip(paths, job.instance_hashes, strict=True):
            self.alive()
            what = integrity.fault(path, digest, integrity.instance_digest)
            if what:
                now = self._clock()
                self._database.write(partial(give_up_file, job.study_id, digest, what, now))
                raise DamagedFile(
                    f"the stored file of an image is {what}: have the modality send the study "
                    "again, then axnode retry"
                )
        return paths

    def _build(
        self,
        job: Job,
        findings: StudyFindings,
        paths: Sequence[Path],
        frames: Sequence[Frame],
    ) -> list[StoredObject]:
        root = (
            self._database.database_id,
            job.study_uid,
            job.version,
            job.input_hash,
            self._reader.bundle.digest,
            self._recipe_digest,
        )
        built = build_objects(
            findings,
            paths,
            frames,
            self._config.results,
            # the attempt is part of it: bytes that were lost are never rebuilt under one UID
            lambda role, ordinal: identity.uid(*root, job.fence, role, ordinal),
            datetime.fromtimestamp(self._clock() / 1e6, tz=UTC).astimezone(),
        )
        return [
            StoredObject(
                role=item.role,
                ordinal=item.ordinal,
                sop_class_uid=item.sop_class_uid,
                sop_instance_uid=item.sop_instance_uid,
                series_instance_uid=item.series_instance_uid,
                file_hash=self._folders.objects.put(item.data),
                size=len(item.data),
            )
            for item in built
        ]

    def _finish(self, job: Job, findings: StudyFindings, built: list[StoredObject]) -> None:
        failpoints.reach("worker.built")
        self._database.write(lambda c: self._record(c, job, findings, built))
        log.info(
            "study analysed",
            extra={"action": "analysed", "analysis": job.analysis_id, "nodes": len(findings.nodes)},
        )

    def _record(
        self,
        connection: Connection,
        job: Job,
        findings: StudyFindings,
        built: Sequence[StoredObject],
    ) -> None:
        # in the writer, as the nightly sweep: a clock that was set makes a fresh file look old
        if not all(self._folders.objects.path(item.file_hash).exists() for item in built):
            raise UnavailableError("a result's file was removed before its row was written")
        reason = findings.not_evaluable
        jobs.finish(
            connection,
            job,
            built,
            lambda role: fallback.destinations_for(role, self._config),
            summarise(findings),
            (reason.value, reason.words) if reason else None,
            self._clock(),
        )

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
        """Work until `stopping` is set."""
        self._stopping = stopping
        while not stopping.is_set():
            pulse()
            self._child.start()
            pulse()
            if not self.work_one():
                stopping.wait(poll_s)
