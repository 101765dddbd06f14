"""Which analysis is next: what was taken before, what is urgent, then the sources by turns.

Of one source the oldest comes first. A modality that pushes a thousand studies at once holds up its
own, and others by one study for each of theirs.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select

from daemon import schema
from daemon.due import windows
from daemon.lifecycle import AnalysisState


def next_job(
    connection: Connection, now_us: int, farthest_us: int, lease_us: int, after: str
) -> Row[Any] | None:
    """Return the analysis to be claimed, with its study's UID, locked; None: nothing is due.

    Parameters
    ----------
    farthest_us
        A due time behind it counts as due: it is from a clock that was set.
    lease_us
        For how long a claim lasts; one that lasts much longer is from such a clock too.
    after
        Source of the analysis that was claimed before: its turn comes last.
    """
    table = schema.analyses
    lapsed = and_(
        table.c.state == AnalysisState.RUNNING,
        or_(table.c.lease_us < now_us, table.c.lease_us > now_us + 2 * lease_us),
    )
    if (row := _first(connection, lapsed)) is not None:
        return row
    for waiting in (_waiting(urgent=True), _waiting(urgent=False)):
        # clocks that were set are rare: they are asked for where nothing is due
        for window in windows(table.c.due_us, now_us, farthest_us):
            if not _any(connection, waiting & window):
                continue
            for source in _sources(connection, waiting, after):
                condition = waiting & (table.c.source_ae == source) & window
                if (row := _first(connection, condition)) is not None:
                    return row
    return None


def _waiting(*, urgent: bool) -> ColumnElement[bool]:
    table = schema.analyses
    return and_(table.c.state == AnalysisState.QUEUED, table.c.urgent == urgent)


def _first(connection: Connection, condition: ColumnElement[bool]) -> Row[Any] | None:
    table = schema.analyses
    return connection.execute(
        select(table, schema.studies.c.study_uid)
        .join(schema.studies, schema.studies.c.id == table.c.study_id)
        .where(condition)
        .order_by(table.c.urgent, table.c.source_ae, table.c.due_us)  # as they lie in the index
        .limit(1)
        .with_for_update(skip_locked=True, of=table)
    ).one_or_none()


def _any(connection: Connection, condition: ColumnElement[bool]) -> bool:
    """Tell whether there is one: most looks find none, and are one step in an index."""
    found = select(schema.analyses.c.id).where(condition).limit(1)
    return connection.execute(found).first() is not None


def _sources(connection: Connection, waiting: ColumnElement[bool], after: str) -> Iterator[str]:
    """Yield who has something waiting, each once: a step in the index for each."""
    source = schema.analyses.c.source_ae
    ends: tuple[tuple[str | None, str | None], ...] = ((after, None), (None, after))
    for low, high in ends:
        while True:
            conditions = [waiting]
            if low is not None:
                conditions.append(source > low)
            if high is not None:
                conditions.append(source <= high)
            low = connection.execute(
                select(source)
                .where(*conditions)
                .order_by(schema.analyses.c.urgent, source)
                .limit(1)
            ).scalar()
            if low is None:
                break
            yield low
