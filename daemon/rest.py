"""Where a study comes to rest, from its latest analysis and that one's deliveries."""

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
    delivered = counts.get(DeliveryState.DELIVERED, 0)
    where = f"{delivered} deliveries confirmed" if delivered else "no destination is configured"
    reason = f"{analysis.reason}; {where}" if analysis.reason else where
    return ending, reason


def _counts(connection: Connection, study_id: int) -> dict[str, int]:
    rows = connection.execute(
        select(schema.deliveries.c.state, func.count())
        .join(schema.objects, schema.objects.c.id == schema.deliveries.c.object_id)
        .join(schema.analyses, schema.analyses.c.id == schema.objects.c.analysis_id)
        .where(schema.analyses.c.study_id == study_id)
        .group_by(schema.deliveries.c.state)
    )
    return {str(state): int(count) for state, count in rows}
