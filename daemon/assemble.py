"""Studies whose quiet period is over: what becomes of them (`daemon.decision`) is applied."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.engine import Row

from daemon import failpoints, identity, schema
from daemon.clock import Clock, seconds
from daemon.config import Config
from daemon.database import Database
from daemon.decision import Decision, Latest, Member, decide, ready
from daemon.eligibility import Judge
from daemon.events import move_study, record
from daemon.lifecycle import AnalysisState, FileState, StudyState
from daemon.rest import resting_state
from daemon.rules import Verdict
from model.bundle_file import Bundle

log = logging.getLogger(__name__)

POLL_S = 0.2
_PAUSE_S = 60.0  # before a study whose assembly failed is looked at again
_TWO_PATIENTS = "its instances name different patients; correct the study and send it again"
_INCOMPLETE = (
    "{gone} of its {all} images were deleted (retention.instances_days) before the latest came; "
    "send the whole study again and it is analysed"
)
_WAITING = (
    StudyState.RECEIVING,
    StudyState.DELIVERING,
    StudyState.DELIVERED,
    StudyState.NOT_EVALUABLE,
    StudyState.IGNORED,
    StudyState.PARKED,
)


class Assembler:
    """Sweeps the studies whose quiet period is over and queues their analyses.

    Parameters
    ----------
    judge
        Reads the headers of a study's images, by the rules.
    bundle_of
        Gives the bundle that a new analysis would use; its folder is what a rule names, or None.
    recipe_digest
        Identity of the settings.
    queued
        Called when there is a new analysis to be worked.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        clock: Clock,
        judge: Judge,
        bundle_of: Callable[[str | None], Bundle],
        recipe_digest: str,
        queued: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        self._judge = judge
        self._queued = queued
        self._bundle_of = bundle_of
        self._recipe = recipe_digest
        self._not_before: dict[int, float] = {}  # monotonic, of studies that failed
        self.pause_s = POLL_S  # after a sweep that found nothing: until the next study is ready

    def sweep(self) -> int:
        """Assemble what is ready; return how many studies were."""
        now = self._clock()
        quiet = seconds(self._config.study.quiet_period_s)
        with self._database.read() as connection:
            rows = connection.execute(
                select(schema.studies.c.id, schema.studies.c.last_instance_us)
                .where(schema.studies.c.unassembled)
                .where(schema.studies.c.state.in_(_WAITING))
                .order_by(schema.studies.c.last_instance_us)
                .limit(1000)
            ).all()
        left = [row.last_instance_us + quiet - now for row in rows]
        self.pause_s = min([POLL_S, *(us / 1e6 for us in left if us > 0)])
        due = [
            row.id
            for row in rows
            if ready(row.last_instance_us, now, quiet)
            and time.monotonic() >= self._not_before.get(row.id, 0.0)
        ]
        return sum(self._assembled(study_id) for study_id in due)

    def _assembled(self, study_id: int) -> bool:
        """Assemble one study; one that cannot be must not hold up the others."""
        try:
            self._assemble(study_id)
        except Exception:
            log.exception("assembly failed", extra={"action": "assemble", "study": study_id})
            self._not_before[study_id] = time.monotonic() + _PAUSE_S
            return False
        return True

    def _assemble(self, study_id: int) -> None:
        members, seen_us = self._members(study_id)
        verdict = self._judge(members)
        pairs = [(member.sop_instance_uid, member.instance_hash) for member in members]
        digest = self._bundle_of(verdict.bundle).digest
        wanted = Latest(identity.input_hash(pairs), digest, self._recipe)
        failpoints.reach("assemble.decided")
        self._database.write(
            lambda connection: self._apply(connection, study_id, seen_us, members, wanted, verdict)
        )
        failpoints.reach("assemble.queued")
        self._queued()

    def _members(self, study_id: int) -> tuple[list[Member], int]:
        table = schema.instances
        with self._database.read() as connection:
            seen_us = connection.execute(
                select(schema.studies.c.last_instance_us).where(schema.studies.c.id == study_id)
            ).scalar_one()
            rows = connection.execute(
                select(
                    table.c.id,
                    table.c.sop_instance_uid,
                    table.c.instance_hash,
                    table.c.patient_key,
                    table.c.source_ae,
                    table.c.assumed,
                    table.c.file == FileState.KEPT,
                )
                .where(table.c.study_id == study_id)
                .order_by(table.c.id)
            ).all()
        return [Member(*row) for row in rows], int(seen_us)

    def _apply(
        self,
        connection: Connection,
        study_id: int,
        seen_us: int,
        members: Sequence[Member],
        wanted: Latest,
        verdict: Verdict,
    ) -> None:
        studies = schema.studies
        now = self._clock()
        study = connection.execute(select(studies).where(studies.c.id == study_id)).one()
        if study.last_instance_us != seen_us or not study.unassembled:
            return  # another instance came meanwhile: the next sweep sees it
        connection.execute(
            update(studies).where(studies.c.id == study_id).values(unassembled=False)
        )
        latest = _latest(connection, study_id)
        decision = decide(
            members,
            wanted,
            _identity(connection, latest),
            # what was analysed once stays a study for this node
            eligible=verdict.analyse or latest is not None,
        )
        if decision is Decision.SAME_INPUT:
            if study.state == StudyState.RECEIVING:
                move_study(connection, study_id, *resting_state(connection, study_id), now)
            return
        if study.state not in (StudyState.RECEIVING, StudyState.DELIVERING):
            move_study(connection, study_id, StudyState.RECEIVING, "assembled again", now)
        if decision is Decision.TWO_PATIENTS:
            move_study(connection, study_id, StudyState.PARKED, _TWO_PATIENTS, now)
        elif decision is Decision.NOT_ELIGIBLE:
            move_study(connection, study_id, StudyState.IGNORED, verdict.why, now)
        elif decision is Decision.INCOMPLETE:
            gone = sum(not member.kept for member in members)
            incomplete = _INCOMPLETE.format(gone=gone, all=len(members))
            move_study(connection, study_id, StudyState.PARKED, incomplete, now)
        else:
            self._queue(connection, study, latest, members, wanted, verdict, now)
            words = self._decided(verdict)
            record(connection, now, "study", study_id, "eligible", study_id=study_id, detail=words)

    def _queue(
        self,
        connection: Connection,
        study: Row[tuple[object, ...]],
        latest: Row[tuple[object, ...]] | None,
        members: Sequence[Member],
        wanted: Latest,
        verdict: Verdict,
        now: int,
    ) -> None:
        version = study.version + 1
        # waits are capped by their own length, so that a clock set back cannot stretch them
        interval = seconds(self._config.study.version_interval_s)
        due = now if latest is None else min(max(now, latest.created_us + interval), now + interval)
        result = connection.execute(
            insert(schema.analyses).values(
                study_id=study.id,
                version=version,
                input_hash=wanted.input_hash,
                bundle_digest=wanted.bundle_digest,
                recipe_digest=wanted.recipe_digest,
                state=AnalysisState.QUEUED,
                destinations=_listed(verdict.destinations),
                urgent=bool(verdict.urgent_by),
                source_ae=study.source_ae,
                due_us=due,
                created_us=now,
            )
        )
        analysis_id = result.inserted_primary_key[0]  # type: ignore[index]
        connection.execute(
            insert(schema.analysis_instances),
            [{"analysis_id": analysis_id, "instance_id": m.instance_id} for m in members],
        )
        words = f"version {version}: {len(members)} instances"
        if due > now:
            at = datetime.fromtimestamp(due / 1e6, UTC).astimezone()
            words += f"; not before {at:%H:%M:%S} (study.version_interval_s)"
        move_study(connection, study.id, StudyState.QUEUED, words, now, version=version)
        log.info("study queued", extra={"action": "assemble", "analysis": analysis_id})

    def _decided(self, verdict: Verdict) -> str:
        """Put into words why a study is analysed, by what and when, and where its results go."""
        words = verdict.why if verdict.analyse else "analysed before"
        if verdict.destinations is not None:
            names = ", ".join(verdict.destinations) or "nobody"
            words += f"; results go to {names} ({verdict.sent_by})"
        if verdict.bundle is not None:
            bundle = self._bundle_of(verdict.bundle)
            words += f"; by {bundle.name} {bundle.version} ({verdict.bundle_by})"
        return words + (f"; urgent ({verdict.urgent_by})" if verdict.urgent_by else "")


def _listed(destinations: Sequence[str] | None) -> str | None:
    return None if destinations is None else json.dumps(list(destinations))


def _identity(connection: Connection, latest: Row[tuple[object, ...]] | None) -> Latest | None:
    """Return what a new analysis must differ from; None where the latest one's bytes are lost."""
    if latest is None:
        return None
    objects = schema.objects
    lost = select(objects.c.id).where(
        objects.c.analysis_id == latest.id, objects.c.file == FileState.LOST
    )
    if connection.execute(lost).first() is not None:
        return None
    return Latest(latest.input_hash, latest.bundle_digest, latest.recipe_digest)


def _latest(connection: Connection, study_id: int) -> Row[tuple[object, ...]] | None:
    return connection.execute(
        select(schema.analyses)
        .where(schema.analyses.c.study_id == study_id)
        .order_by(schema.analyses.c.version.desc())
        .limit(1)
    ).one_or_none()
