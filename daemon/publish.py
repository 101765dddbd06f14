"""From what the model saw to result objects in the objects folder, and the rows that name them."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from daemon import failpoints, fallback, identity, jobs
from daemon.analysis import Analysis, Frame
from daemon.build import build_objects
from daemon.clock import Clock
from daemon.config import Config
from daemon.database import Database
from daemon.errors import UnavailableError
from daemon.events import record
from daemon.jobs import Job, StoredObject
from daemon.reading import Reader
from daemon.spool import Spool
from daemon.summary import summarise
from dicom_io.findings import StudyFindings

log = logging.getLogger(__name__)


class Publisher:
    """Builds the results of a job and records them in the transaction that ends it.

    Parameters
    ----------
    objects
        The folder of result objects.
    readers
        One for each bundle, that of ``model.bundle`` first.
    recipe_digest
        Part of the result UIDs' derivation.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        clock: Clock,
        objects: Spool,
        readers: Sequence[Reader],
        recipe_digest: str,
    ) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        self._objects = objects
        self._first = readers[0]
        self._readers = {reader.bundle.digest: reader for reader in readers}
        self._recipe_digest = recipe_digest

    @property
    def node_id(self) -> str:
        """What tracking UIDs rest on, beside the study."""
        return self._first.node_id

    @property
    def digests(self) -> frozenset[str]:
        """Which bundles it builds results of."""
        return frozenset(self._readers)

    def bundle_for(self, job: Job) -> str:
        """Return the digest of the bundle that analyses a job: the node's, if its own is gone."""
        return self._reader_for(job).bundle.digest

    def _reader_for(self, job: Job) -> Reader:
        return self._readers.get(job.bundle_digest, self._first)

    def publish(self, job: Job, analysis: Analysis, paths: Sequence[Path]) -> None:
        """Build, store, record.

        Parameters
        ----------
        paths
            File of each source, in the study's order.

        Raises
        ------
        LostLease
            Another worker has the job; nothing is recorded.
        ObjectError
            The results cannot be built; they could not the next time either.
        UnavailableError, OSError
            The disk or the database fails.
        """
        findings = self._reader_for(job).findings(
            job.study_uid, job.version, analysis, job.predecessors, job.replaces
        )
        self._finish(job, findings, self._build(job, findings, paths, analysis.frames))

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
            self.bundle_for(job),
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
                file_hash=self._objects.put(item.data),
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
        if not all(self._objects.holds(item.file_hash) for item in built):
            raise UnavailableError("a result's file was removed before its row was written")
        used = self._reader_for(job).bundle
        if used.digest != job.bundle_digest:
            words = (
                f"read by {used.name} {used.version}: the bundle that it was queued for "
                f"({job.bundle_digest[:12]}) is not loaded here"
            )
            now, about = self._clock(), job.analysis_id
            record(
                connection, now, "analysis", about, "bundle", study_id=job.study_id, detail=words
            )
            log.warning("%s", words, extra={"action": "other_bundle", "analysis": about})
        reason = findings.not_evaluable
        jobs.finish(
            connection,
            job,
            built,
            lambda role: fallback.destinations_for(role, self._config, job.destinations),
            summarise(findings),
            (reason.value, reason.words) if reason else None,
            self._clock(),
            used.digest,
        )
