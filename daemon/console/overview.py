"""The first page: whether the node is well, what needs a person, and how it went lately."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import Connection, select

from daemon import schema, status
from daemon.clock import SECOND_US
from daemon.lifecycle import StudyState
from daemon.presence import Process, processes
from daemon.troubles import PARKED, Ailing, Trouble, troubles

_HOUR_US = 3600 * SECOND_US
_HOURS = 24
_MOST_ROWS = 20_000  # looked at for the charts: a day of the largest hospital
_PARKED_SHOWN = 8


@dataclass(frozen=True)
class Hour:
    """What happened in an hour."""

    began_us: int  # UTC
    studies: int  # that came
    analysed: int  # versions that were finished
    analysis_s: float | None  # median time from queued to analysed


@dataclass(frozen=True)
class Attention:
    """Something that a person should look at."""

    words: str
    remedy: str  # what to do
    href: str  # page where it is seen
    serious: bool  # the node does not do its work because of it


@dataclass(frozen=True)
class DestinationCounts:
    """Deliveries to a destination."""

    name: str
    pending: int
    stored: int  # wait for storage commitment
    delivered: int
    parked: int
    last_failure: str  # in words; "": none that is still open


@dataclass(frozen=True)
class Overview:
    """The whole page."""

    attention: tuple[Attention, ...]  # what is most serious first
    studies: dict[str, int]  # by state
    oldest_waiting_s: float | None
    hours: tuple[Hour, ...]  # the oldest first; the last is under way
    destinations: tuple[DestinationCounts, ...]
    processes: tuple[Process, ...]  # where several share the work; else none


def overview(
    connection: Connection, destinations: Sequence[str], service: Ailing, now_us: int
) -> Overview:
    """Gather the page.

    Parameters
    ----------
    destinations
        Names of those that are configured.
    service
        Says what is wrong with itself.
    """
    counted = [
        DestinationCounts(
            name=item["name"],
            pending=item["pending"],
            stored=item["stored"],
            delivered=item["delivered"],
            parked=item["parked"],
            last_failure=item["last_failure"],
        )
        for item in status.destinations(connection, destinations)
    ]
    found = troubles(connection, service, destinations)
    return Overview(
        attention=(
            *(_attention(each) for each in found if each.key != PARKED),
            *_parked(connection),
        ),
        studies=status.counts(connection),
        oldest_waiting_s=status.oldest_waiting_s(connection, now_us),
        hours=hours(connection, now_us),
        destinations=tuple(counted),
        processes=tuple(processes(connection, now_us)),
    )


def _parked(connection: Connection) -> list[Attention]:
    parked = status.studies(
        connection, status.Page(state=StudyState.PARKED, most=_PARKED_SHOWN + 1)
    )
    shown = [
        Attention(
            f"Study {row['key'][1]} is parked: {row['reason']}",
            "open it, put right what it says, and retry",
            f"/studies/{row['key'][1]}",
            serious=False,
        )
        for row in parked[:_PARKED_SHOWN]
    ]
    if len(parked) > _PARKED_SHOWN:
        number = status.counts(connection)[StudyState.PARKED]
        shown.append(
            Attention(f"{number} studies are parked in all", "", "/studies?state=parked", False)
        )
    return shown


def _attention(trouble: Trouble) -> Attention:
    about = trouble.key.partition(" ")[0]
    href = "/peers" if about in ("destination", "certificate") else "/log"
    return Attention(trouble.words, trouble.remedy, href, trouble.serious)


def hours(connection: Connection, now_us: int) -> tuple[Hour, ...]:
    """Return the last day by the hour."""
    first = (now_us // _HOUR_US - _HOURS + 1) * _HOUR_US
    came: dict[int, int] = defaultdict(int)
    studies, analyses = schema.studies, schema.analyses
    arrivals = select(studies.c.received_us).where(studies.c.received_us >= first)
    for at_us in connection.execute(arrivals.limit(_MOST_ROWS)).scalars():
        came[at_us // _HOUR_US] += 1
    took: dict[int, list[float]] = defaultdict(list)
    latest = select(analyses.c.created_us, analyses.c.finished_us).order_by(analyses.c.id.desc())
    for row in connection.execute(latest.limit(_MOST_ROWS)):
        if row.created_us < first - _HOUR_US:
            break  # rows are numbered as they are made
        if row.finished_us is not None and row.finished_us >= first:
            took[row.finished_us // _HOUR_US].append((row.finished_us - row.created_us) / SECOND_US)
    return tuple(
        Hour(
            began_us=hour * _HOUR_US,
            studies=came[hour],
            analysed=len(took[hour]),
            analysis_s=median(took[hour]) if took[hour] else None,
        )
        for hour in range(first // _HOUR_US, first // _HOUR_US + _HOURS)
    )
