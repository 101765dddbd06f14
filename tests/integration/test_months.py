"""Events by month on PostgreSQL: made ahead, dropped whole, and nothing lost that is needed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, func, select, text

from daemon import migrations, schema
from daemon.database import Database
from daemon.events import record
from daemon.months import Month, Months
from tests import builders
from tests.fakes import NOON_US
from tests.postgres import PostgreSQL
from tests.unit.test_timelines import DAYS, OTHER, Site

pytestmark = pytest.mark.integration

MONTH = 31  # days, at most
STUDY = builders.STUDY
_WHERE = text("SELECT tableoid::regclass::text, count(*) FROM events GROUP BY 1 ORDER BY 1")


@pytest.fixture
def site(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[Site]:
    database = Database(postgresql.of_folder(tmp_path))
    yield Site(database, tmp_path)
    database.close()


def lying(site: Site) -> dict[str, int]:
    """Return how many events lie in which partition."""
    with site.rows.database.read() as connection:
        return {name: number for name, number in connection.execute(_WHERE)}


def months(site: Site) -> list[int]:
    """Return the months that there are, counted from the present one."""
    now = Month.of(site.rows.clock())
    there = Months(site.rows.database, site.rows.clock).there()
    return [month.number - now.number for month in there]


def partition(site: Site, later: int = 0) -> str:
    """Return the name of the present month's partition, or a later one's."""
    return Month.of(site.rows.clock()).later(later).partition


def pass_days(site: Site, days: int) -> None:
    """Let days pass in which no night is counted."""
    site.rows.clock.advance(days * 86_400)


def test_a_month_s_name_and_bounds() -> None:
    month = Month.of(NOON_US)
    assert Month.named(month.partition) == month
    assert month.begin_us <= NOON_US < month.later(1).begin_us
    december = Month.named("events_2026_12")
    assert december is not None
    assert december.later(1).partition == "events_2027_01"
    assert Month.of(december.begin_us) == december
    assert Month.of(december.begin_us - 1) == december.later(-1)
    assert Month.named("events_rest") is None
    assert Month.named("events_2026_q1") is None  # somebody's own


def test_months_are_made_ahead_and_events_come_to_lie_in_them(site: Site) -> None:
    site.ignored()
    site.nights(2, days=0)
    assert months(site) == [1, 2]
    pass_days(site, MONTH)
    site.ignored(OTHER)
    site.nights(1, days=0)
    assert lying(site) == {"events_rest": 2, partition(site): 2}
    assert site.story() == site.story(OTHER) == ["receiving", "ignored"]
    assert months(site) == [0, 1, 2]


def test_what_came_by_a_clock_that_was_set_moves_to_its_month(site: Site) -> None:
    pass_days(site, 2 * MONTH)
    site.ignored()
    ahead = partition(site)
    pass_days(site, -2 * MONTH)
    assert lying(site) == {"events_rest": 2}
    site.nights(1, days=0)
    assert lying(site) == {ahead: 2}
    assert site.story() == ["receiving", "ignored"]


def test_a_month_is_dropped_and_what_is_needed_of_it_is_not(site: Site) -> None:
    site.nights(1)
    pass_days(site, MONTH)
    gone = partition(site)
    site.parked(STUDY)
    for number in range(5):
        site.ignored(f"{OTHER}.{number}")
    site.conflict(f"{OTHER}.1")
    every = site.rows.all(schema.events)
    needed = [row.id for row in every if row.study_id == 1 or row.action == "conflict"]
    site.nights(DAYS + 1)
    assert lying(site) == {gone: 13}  # the month is not over
    pass_days(site, MONTH)
    site.nights(1)
    assert months(site) == [0, 1, 2]
    assert lying(site) == {"events_rest": 3}
    assert site.story() == ["receiving", "parked"]
    assert [row.id for row in site.rows.all(schema.events)] == needed


def _there(site: Site) -> list[Month]:
    return Months(site.rows.database, site.rows.clock).there()


def test_a_month_of_which_much_is_needed_stays(site: Site) -> None:
    site.nights(1)
    pass_days(site, MONTH)
    site.parked(STUDY)
    site.ignored(OTHER)

    def much(connection: Connection) -> None:
        for _ in range(100):
            record(connection, site.rows.clock(), "study", 1, "noted", study_id=1)

    site.rows.database.write(much)
    stays = partition(site)
    pass_days(site, MONTH)
    site.nights(DAYS + 1)
    assert lying(site) == {stays: 104}
    pass_days(site, MONTH)
    site.nights(DAYS)
    assert lying(site) == {stays: 102}  # row by row, for it should have been dropped by now
    assert len(site.story()) == 102
    assert site.story(OTHER) == []


class WakingLate:
    """A database in which a study is woken after a month was looked at, before it is dropped."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._writes = 0
        self.shared, self.read = True, site.rows.database.read

    def write(self, work: Callable[[Connection], Any], *, alone: bool = True) -> Any:
        """Write; before the second time the study is woken."""
        self._writes += 1
        if self._writes == 2:
            self._site.rows.receive(f"{OTHER}.2", study=OTHER)
        return self._site.rows.database.write(work, alone=alone)


def test_a_study_that_is_woken_meanwhile_keeps_its_timeline(site: Site) -> None:
    site.nights(1)
    pass_days(site, MONTH)
    site.ignored()
    site.ignored(OTHER)
    site.nights(DAYS)
    gone = Month.of(site.rows.clock())
    pass_days(site, MONTH)
    site.nights(1, database=WakingLate(site))
    assert gone not in _there(site)
    assert site.story(OTHER) == ["receiving", "ignored", "receiving"]
    assert site.story() == []


def test_a_month_that_cannot_be_made_holds_up_nothing_else(site: Site) -> None:
    """Here a table stands in its way; it is as well where the user may not make any."""
    database, clock = site.rows.database, site.rows.clock
    in_the_way = partition(site, later=1)
    database.write(lambda c: c.exec_driver_sql(f"CREATE TABLE {in_the_way} (x int)") and None)
    months_of_one = Months(database, clock)
    months_of_one.make_ahead()
    assert _there(site) == []
    database.write(lambda c: c.exec_driver_sql(f"DROP TABLE {in_the_way}") and None)
    months_of_one.make_ahead()
    assert _there(site) == []
    clock.advance(3600)
    months_of_one.make_ahead()
    assert months(site) == [1, 2]


def test_a_clock_that_is_set_years_ahead_drops_no_month(site: Site) -> None:
    site.nights(1)
    pass_days(site, MONTH)
    for number in range(60):
        site.ignored(f"{OTHER}.{number}")
    stays = partition(site)
    pass_days(site, 5 * 365)
    site.nights(1)
    pass_days(site, -5 * 365)
    assert lying(site) == {stays: 120}


def test_who_reads_events_is_not_disturbed_and_nobody_waits(site: Site) -> None:
    site.nights(1)
    pass_days(site, MONTH)
    site.ignored()
    gone = Month.of(site.rows.clock())
    pass_days(site, MONTH)
    site.nights(DAYS)
    with site.rows.database._engine.connect() as copying:
        copying.execute(select(func.count()).select_from(schema.events))
        site.nights(1)
        assert gone in _there(site)
        site.rows.receive(f"{OTHER}.1", study=OTHER)  # nobody waits
    site.nights(1)
    assert gone not in _there(site)
    assert site.story(OTHER) == ["receiving"]


def test_years_of_events_go_down_and_up_again(site: Site) -> None:
    site.nights(1)
    site.ignored()
    pass_days(site, MONTH)
    site.ignored(OTHER)
    before = site.rows.all(schema.events)
    with site.rows.database._engine.begin() as connection:
        config = migrations.alembic_config(connection)
        command.downgrade(config, "0008")
        rows = select(schema.events).order_by(schema.events.c.id)
        assert connection.execute(rows).all() == before
        command.upgrade(config, "head")
    assert site.rows.all(schema.events) == before
    assert lying(site) == {"events_rest": 4}
    site.ignored("1.2.6")
    assert [row.id for row in site.rows.all(schema.events)] == [1, 2, 3, 4, 5, 6]
