"""Where a study comes to rest: from its latest analysis, and every version's deliveries."""

from sqlalchemy import Connection, func, select

from daemon import fallback, schema
from daemon.events import move_study
from daemon.lifecycle import FINISHED, AnalysisState, DeliveryState, StudyState


def settle_study(connection: Connection, study_id: int, now_us: int) -> StudyState:
    """Bring a study that is delivering to rest, where its deliveries allow it; return its state."""
    state: StudyState = connection.execute(
        select(schema.studies.c.state).where(schema.studies.c.id == study_id)
    ).scalar_one()
    if state != StudyState.DELIVERING:
        return StudyState(state)
    new, reason = resting_state(connection, study_id)
    if new is not StudyState.DELIVERING:
        move_study(connection, study_id, new, reason, now_us)
    return new


def settle_and_release(connection: Connection, study_id: int, now_us: int) -> list[str]:
    """Settle a study after a delivery; return the names of files that nobody needs any more."""
    if settle_study(connection, study_id, now_us) in FINISHED:
        return fallback.release(connection, study_id)
    return []


def resting_state(connection: Connection, study_id: int) -> tuple[StudyState, str]:
    """Return the state and its reason.

    Any parked delivery parks the study; without a destination it is delivered, and says so.
    """
    analyses = schema.analyses
    analysis = connection.execute(
        select(analyses)
        .where(analyses.c.study_id == study_id)
        .order_by(analyses.c.version.desc())
        .limit(1)
    ).one()
    if analysis.state == AnalysisState.PARKED:
        return StudyState.PARKED, str(analysis.reason)
    counts = _counts(connection, study_id)
    if parked := counts.get(DeliveryState.PARKED):
        return (
            StudyState.PARKED,
            f"{_deliveries(parked, 'needs', 'need')} a person: see axnode status",
        )
    if pending := counts.get(DeliveryState.PENDING):
        return StudyState.DELIVERING, f"{_deliveries(pending)} to go"
    if stored := counts.get(DeliveryState.STORED):
        return (
            StudyState.DELIVERING,
            f"{_deliveries(stored, 'waits', 'wait')} for storage commitment",
        )
    ending = StudyState.NOT_EVALUABLE if analysis.not_evaluable else StudyState.DELIVERED
    if delivered := counts.get(DeliveryState.DELIVERED):
        where = f"{_deliveries(delivered)} confirmed"
        if counts.get(DeliveryState.REPLACED):
            where += ", pictures in place of what was refused (axnode retry sends it again)"
    elif counts.get(DeliveryState.DROPPED):
        where = "deliveries were given up by hand"
    else:
        where = _why_nothing_was_sent(connection, analysis.id)
    reason = f"{analysis.reason}; {where}" if analysis.reason else where
    return ending, reason


def _deliveries(number: int, one: str = "", many: str = "") -> str:
    """Put a number of deliveries into words, with the verb of one or of many."""
    return f"1 delivery {one}".rstrip() if number == 1 else f"{number} deliveries {many}".rstrip()


def _why_nothing_was_sent(connection: Connection, analysis_id: int) -> str:
    table = schema.objects
    built = connection.execute(select(table.c.id).where(table.c.analysis_id == analysis_id)).first()
    if built is None:
        return "no object was made: no node was segmented and results.sr is off"
    analyses = schema.analyses
    chosen = connection.execute(
        select(analyses.c.destinations).where(analyses.c.id == analysis_id)
    ).scalar()
    return "no destination is configured" if chosen is None else "a rule sends it nowhere"


def _counts(connection: Connection, study_id: int) -> dict[str, int]:
    rows = connection.execute(
        select(schema.deliveries.c.state, func.count())
        .join(schema.objects, schema.objects.c.id == schema.deliveries.c.object_id)
        .join(schema.analyses, schema.analyses.c.id == schema.objects.c.analysis_id)
        .where(schema.analyses.c.study_id == study_id)
        .group_by(schema.deliveries.c.state)
    )
    return {str(state): int(count) for state, count in rows}
