"""Where a study comes to rest: from its latest analysis, and every version's deliveries."""

from sqlalchemy import Connection, func, select

from daemon import schema
from daemon.lifecycle import AnalysisState, DeliveryState, StudyState


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
        return StudyState.PARKED, f"{parked} deliveries need a person: see axnode status"
    if pending := counts.get(DeliveryState.PENDING):
        return StudyState.DELIVERING, f"{pending} deliveries to go"
    ending = StudyState.NOT_EVALUABLE if analysis.not_evaluable else StudyState.DELIVERED
    if delivered := counts.get(DeliveryState.DELIVERED):
        where = f"{delivered} deliveries confirmed"
        if counts.get(DeliveryState.REPLACED):
            where += ", pictures in place of what was refused (axnode retry sends it again)"
    elif counts.get(DeliveryState.DROPPED):
        where = "deliveries were given up by hand"
    else:
        where = _why_nothing_was_sent(connection, analysis.id)
    reason = f"{analysis.reason}; {where}" if analysis.reason else where
    return ending, reason


def _why_nothing_was_sent(connection: Connection, analysis_id: int) -> str:
    table = schema.objects
    built = connection.execute(select(table.c.id).where(table.c.analysis_id == analysis_id)).first()
    if built is None:
        return "no object was made: no node was segmented and results.sr is off"
    return "no destination is configured"


def _counts(connection: Connection, study_id: int) -> dict[str, int]:
    rows = connection.execute(
        select(schema.deliveries.c.state, func.count())
        .join(schema.objects, schema.objects.c.id == schema.deliveries.c.object_id)
        .join(schema.analyses, schema.analyses.c.id == schema.objects.c.analysis_id)
        .where(schema.analyses.c.study_id == study_id)
        .group_by(schema.deliveries.c.state)
    )
    return {str(state): int(count) for state, count in rows}
