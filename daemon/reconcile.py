"""Rows and files held against each other: what ``axnode check --deep`` and the nightly sweep do.

A crash leaves at most files that no row names (an instance that was never acknowledged, objects of
an attempt that did not end), and those are swept. Everything else found here came from outside.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Column, ColumnElement, Connection, func, literal, select

from daemon import integrity, schema
from daemon.database import Database
from daemon.lifecycle import (
    FINISHED,
    UNCONFIRMED,
    AnalysisState,
    DeliveryState,
    FileState,
    StudyState,
)
from daemon.rest import resting_state
from daemon.spool import Spool

SETTLED_S = 86_400.0  # reception and worker are long done with a file this old
_RETAINED = (FileState.KEPT, FileState.DOOMED)  # what is doomed, retention deletes


@dataclass(frozen=True)
class Kind:
    """One folder of named files, and the rows that name them."""

    words: str
    folder: Spool
    hashes: Column[str]  # names of files
    kept: ColumnElement[bool]  # of a row whose file must be there
    known: ColumnElement[bool]  # of a row whose file is not for the sweep to delete
    digest_of: integrity.Digest
    remedy: str


def instances(folder: Spool) -> Kind:
    """Return the images that were received."""
    return Kind(
        "image",
        folder,
        schema.instances.c.instance_hash,
        schema.instances.c.file == FileState.KEPT,
        schema.instances.c.file.in_(_RETAINED),
        integrity.instance_digest,
        "have the modality send the study again",
    )


def objects(folder: Spool) -> Kind:
    """Return the results that were built."""
    return Kind(
        "result",
        folder,
        schema.objects.c.file_hash,
        schema.objects.c.file == FileState.KEPT,
        schema.objects.c.file.in_(_RETAINED),
        integrity.object_digest,
        "restore it from a back-up; if it is not delivered yet, axnode retry makes a new version",
    )


def harmed(database: Database, kind: Kind, page_rows: int = 1000) -> Iterator[str]:
    """Hash every file that a row names; yield a line for each that is missing or damaged."""
    for digest in names(database, kind, page_rows):
        problem = harm(database, kind, digest)
        if problem:
            yield problem


def names(database: Database, kind: Kind, page_rows: int = 1000) -> Iterator[str]:
    """Yield the hashes of the files that rows name, in order; rows may come and go meanwhile."""
    last = ""
    while True:
        with database.read() as connection:
            page = _names(connection, kind, last, page_rows)
        yield from page
        if len(page) < page_rows:
            return
        last = page[-1]


def count(connection: Connection, kind: Kind) -> int:
    """Return how many files rows name."""
    query = select(func.count(kind.hashes.distinct())).where(kind.kept)
    return connection.execute(query).scalar_one()


def _names(connection: Connection, kind: Kind, after: str, most: int) -> list[str]:
    query = select(kind.hashes).where(kind.hashes > after, kind.kept).distinct()
    return list(connection.execute(query.order_by(kind.hashes).limit(most)).scalars())


def harm(database: Database, kind: Kind, digest: str) -> str:
    """Return a line about a file that is missing or damaged; nothing where it is whole."""
    path = kind.folder.path(digest)
    try:
        what = integrity.fault(path, digest, kind.digest_of)
    except OSError as error:
        what = f"unreadable ({error.strerror})"
    if not what:
        return ""
    with database.read() as connection:
        if not _is_named(connection, kind, digest, kind.kept):
            return ""  # removed meanwhile, by right
        study = _study_of(connection, kind, digest)
    return f"the file of {_article(kind.words)} of study {study} is {what}: {path}; {kind.remedy}"


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _is_named(connection: Connection, kind: Kind, digest: str, which: ColumnElement[bool]) -> bool:
    query = select(kind.hashes).where(kind.hashes == digest, which)
    return connection.execute(query).first() is not None


def _study_of(connection: Connection, kind: Kind, digest: str) -> str:
    studies, table = schema.studies, kind.hashes.table
    query = select(studies.c.study_uid).where(kind.hashes == digest)
    if table is schema.objects:
        query = query.join(schema.analyses, schema.analyses.c.study_id == studies.c.id).join(
            schema.objects, schema.objects.c.analysis_id == schema.analyses.c.id
        )
    else:
        query = query.join(schema.instances, schema.instances.c.study_id == studies.c.id)
    return str(connection.execute(query.limit(1)).scalar_one())


def unnamed(
    database: Database,
    kind: Kind,
    older_s: float = SETTLED_S,
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[Path]:
    """Yield the files that no row names and that have not been touched for `older_s`.

    It looks until `go_on` says no, which is asked before each of the 256 folders.
    A clock that was set makes a file wait for a later sweep, or come too early to this one:
    reception sees that its file is gone and asks for it again.
    """
    now = time.time()
    for shard in range(256):
        if not go_on():
            return
        names = kind.folder.names(shard, older_s, now)
        with database.read() as connection:
            first, last = f"{shard:02x}", f"{shard:02x}g"  # hexadecimal digits end at f
            query = select(kind.hashes).where(kind.hashes.between(first, last), kind.known)
            known = set(connection.execute(query).scalars()) if names else set()
        for name in names:
            if name not in known:
                yield kind.folder.path(name)


def sweep(
    database: Database,
    kind: Kind,
    older_s: float = SETTLED_S,
    go_on: Callable[[], bool] = lambda: True,
) -> int:
    """Delete the files that no row names, as long as `go_on` says so; return how many."""
    gone = 0
    for path in unnamed(database, kind, older_s, go_on):
        if not go_on():
            break
        gone += database.write(partial(_remove, kind, path))
    return gone


def _remove(kind: Kind, path: Path, connection: Connection) -> bool:
    # in the writer, so that no row can appear meanwhile
    if _is_named(connection, kind, path.stem, kind.known):
        return False
    path.unlink(missing_ok=True)
    return True


def inconsistent(connection: Connection) -> Iterator[str]:
    """Yield a line for every study whose rows contradict each other: nobody would take it on."""
    studies, analyses = schema.studies, schema.analyses
    latest = (analyses.c.study_id == studies.c.id) & (analyses.c.version == studies.c.version)
    rows = connection.execute(
        select(studies.c.id, studies.c.study_uid, studies.c.state, analyses.c.state.label("job"))
        .join(analyses, latest, isouter=True)
        .where(studies.c.state.in_(_JOBS))
    )
    for row in rows:
        expected = _JOBS[StudyState(row.state)]
        if row.job not in expected:
            yield f"study {row.study_uid} is {row.state}, its analysis is {row.job or 'not there'}"
        elif row.state == StudyState.DELIVERING and (
            resting_state(connection, row.id)[0] is not StudyState.DELIVERING
        ):
            yield f"study {row.study_uid} is delivering, and nothing is to be delivered"
    yield from _orphaned(connection)
    yield from _miscounted(connection)


_JOBS = {
    StudyState.QUEUED: (AnalysisState.QUEUED,),
    StudyState.ANALYSING: (AnalysisState.RUNNING,),
    StudyState.DELIVERING: (AnalysisState.DONE,),
    StudyState.DELIVERED: (AnalysisState.DONE,),
    StudyState.NOT_EVALUABLE: (AnalysisState.DONE,),
}


_UNDER_WAY = (*UNCONFIRMED, DeliveryState.PARKED)


def _orphaned(connection: Connection) -> Iterator[str]:
    """Yield a line where deliveries wait although their study is at rest."""
    rows = connection.execute(
        select(schema.studies.c.study_uid, func.count())
        .join(schema.analyses, schema.analyses.c.study_id == schema.studies.c.id)
        .join(schema.objects, schema.objects.c.analysis_id == schema.analyses.c.id)
        .join(schema.deliveries, schema.deliveries.c.object_id == schema.objects.c.id)
        .where(schema.studies.c.state.in_(FINISHED))
        .where(schema.deliveries.c.state.in_(_UNDER_WAY))
        .group_by(schema.studies.c.study_uid)
    )
    for uid, number in rows:
        yield f"study {uid} is at rest, and {number} of its deliveries are not"


def _miscounted(connection: Connection) -> Iterator[str]:
    """Yield a line for each count that is not that of its rows: its triggers were taken away."""
    studies, deliveries, tallies = schema.studies, schema.deliveries, schema.tallies
    none = literal("")
    counted = (
        select(literal("study"), none, studies.c.state, func.count()).group_by(studies.c.state),
        select(literal("purged"), none, none, func.count(studies.c.purged_us)),
        select(
            literal("delivery"), deliveries.c.destination, deliveries.c.state, func.count()
        ).group_by(deliveries.c.destination, deliveries.c.state),
    )
    there = {tuple(row[:3]): row[3] for query in counted for row in connection.execute(query)}
    said = {tuple(row[:3]): row[3] for row in connection.execute(select(tallies))}
    for kind in sorted(there.keys() | said.keys()):
        if there.get(kind, 0) != said.get(kind, 0):
            words = " ".join(filter(None, kind))
            yield (
                f"tallies: {words} is said to be {said.get(kind, 0)}, and is {there.get(kind, 0)}:"
                " axnode status shows it wrong, nothing else rests on it; restore a back-up, or set"
                " the number right by hand (on PostgreSQL in tally_sums)"
            )
