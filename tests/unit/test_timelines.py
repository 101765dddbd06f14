"""Timelines: what goes, what never goes, and what comes after."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from daemon import schema
from daemon.config import Retention as Settings
from daemon.console.study import study
from daemon.database import Database
from daemon.retention import Retention
from daemon.spool import Spool
from daemon.store import Known, add_conflict
from daemon.timelines import Timelines
from tests import builders
from tests.builders import QUIET_S, STUDY, Rows

pytestmark = pytest.mark.engines

DAYS = 3
OTHER = "1.2.4"


class Site:
    """A node's rows, and its nights."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.rows = Rows(database)
        self._folder = folder

    def ignored(self, uid: str = STUDY) -> None:
        """Bring a study of one image to rest."""
        self.rows.receive(f"{uid}.1", study=uid)
        self.rows.clock.advance(QUIET_S)
        self.rows.assembler(eligible=lambda hashes: None).sweep()

    def parked(self, uid: str) -> None:
        """Have a study need a person."""
        self.rows.receive(f"{uid}.1", study=uid, patient="a")
        self.rows.receive(f"{uid}.2", study=uid, patient="b")
        self.rows.assemble()

    def conflict(self, uid: str = STUDY) -> None:
        """Have other content come for a study's first image."""
        number = self.rows.study(uid).id
        image = next(row for row in self.rows.all(schema.instances) if row.study_id == number)
        known = Known(image.id, number, image.instance_hash, kept=True)
        self.rows.database.write(lambda c: add_conflict(c, known, "US1", self.rows.clock()))

    def nights(self, count: int, days: int = DAYS, database: Any = None) -> None:
        """Let nights pass."""
        rows = self.rows
        settings = Settings(instances_days=0, results_days=0, events_days=days)
        spools = Spool(self._folder / "spool"), Spool(self._folder / "objects")
        for _ in range(count):
            rows.clock.advance(86_400)
            Retention(settings, rows.database, *spools, rows.clock).run(f"{rows.clock()}")
            timelines = Timelines(days, database or rows.database, rows.clock)
            timelines.run()
            timelines.make_ahead()

    def story(self, uid: str = STUDY) -> list[str]:
        """Return what is left of a study's timeline."""
        number = self.rows.study(uid).id
        return [row.action for row in self.rows.all(schema.events) if row.study_id == number]

    def page(self, uid: str = STUDY) -> tuple[str, int]:
        """Return what the study's page says of its timeline, and how much of it there is."""
        with self.rows.database.read() as connection:
            shown = study(connection, self.rows.study(uid).id)
        return shown.earlier_events, len(shown.events)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with builders.database(tmp_path) as opened:
        yield Site(opened, tmp_path)


def test_a_timeline_goes_after_so_many_nights_and_other_rows_stay(site: Site) -> None:
    site.ignored()
    site.nights(DAYS)
    assert site.story() == ["receiving", "ignored"]
    assert site.page() == ("", 2)
    site.nights(1)
    assert site.story() == []
    assert site.page() == ("earlier events were deleted (retention.events_days)", 0)
    assert site.rows.states(schema.studies) == ["ignored"]
    assert len(site.rows.all(schema.instances)) == 1


def test_nothing_goes_that_nobody_asked_for(site: Site) -> None:
    site.ignored()
    site.nights(DAYS + 1, days=0)
    assert site.story() == ["receiving", "ignored"]


def test_what_needs_a_person_keeps_its_timeline_however_long(site: Site) -> None:
    site.parked(STUDY)
    site.ignored(OTHER)
    site.nights(DAYS + 1)
    assert site.story() == ["receiving", "parked"]
    assert site.story(OTHER) == []


def test_a_study_that_was_woken_rests_anew(site: Site) -> None:
    site.ignored()
    site.nights(DAYS)
    site.rows.receive(f"{STUDY}.2")
    site.nights(1)
    assert site.story() == ["receiving", "ignored", "receiving"]


def test_a_study_whose_timeline_went_says_so_of_its_next(site: Site) -> None:
    site.ignored()
    site.nights(DAYS + 1)
    site.rows.receive(f"{STUDY}.2")
    assert site.page() == ("earlier events were deleted (retention.events_days)", 1)


def test_a_timeline_that_is_too_long_to_be_shown_says_so(site: Site) -> None:
    site.ignored()
    for _ in range(500):
        site.conflict()
    assert site.page() == ("only the latest 500 events are shown", 500)


def test_a_conflict_is_remembered_for_storage_commitment(site: Site) -> None:
    site.ignored()
    site.conflict()
    site.nights(DAYS + 1)
    assert site.story() == ["conflict"]


def test_clocks_set_years_ahead_delete_nothing(site: Site) -> None:
    site.ignored()
    site.rows.clock.advance(20 * 365 * 86_400)
    site.nights(DAYS)
    assert site.story() == ["receiving", "ignored"]


class Waking:
    """A database in which a study is woken before what was read of it is acted on."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.shared = rows.database.shared
        self.read = rows.database.read

    def write(self, work: Callable[[Connection], Any], *, alone: bool = True) -> Any:
        """Wake the study, then write."""
        if not self._rows.study().unassembled:
            self._rows.receive(f"{STUDY}.2")
        return self._rows.database.write(work, alone=alone)


def test_a_study_that_is_woken_meanwhile_keeps_its_timeline(site: Site) -> None:
    site.ignored()
    site.nights(DAYS)
    site.nights(1, database=Waking(site.rows))
    assert site.story() == ["receiving", "ignored", "receiving"]


def test_more_studies_than_are_looked_at_at_once(site: Site) -> None:
    for number in range(120):
        site.rows.receive(f"1.2.5.{number}.1", study=f"1.2.5.{number}")
    site.rows.clock.advance(QUIET_S)
    site.rows.assembler(eligible=lambda hashes: None).sweep()
    site.nights(DAYS + 1)
    assert site.rows.all(schema.events) == []
