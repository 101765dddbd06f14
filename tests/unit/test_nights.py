"""A night's work that fails, with a clock that is told: when it is tried again, and who is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import nights
from daemon.config import Retention
from daemon.database import Database
from daemon.nightly import Nightly
from daemon.nights import Failure
from daemon.spool import Folders, Spool
from daemon.troubles import of_rows
from daemon.turns import Turns, noted
from tests import builders
from tests.fakes import FakeClock

pytestmark = pytest.mark.engines
MINUTE_S = 60.0


class Nights:
    """The night's work on a folder that may go away."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.clock = FakeClock()
        self.folders = Folders(Spool(folder / "spool"), Spool(folder / "objects"), folder)
        self.work = self.process("one")
        self._away = folder / "away"

    def process(self, name: str) -> Nightly:
        """Return what a process does of it."""
        turns = Turns(self.database, name, self.clock)
        return Nightly(Retention(), self.database, self.folders, [], self.clock, turns)

    def break_folder(self) -> None:
        """Take the folder of images away."""
        self.folders.spool.root.rename(self._away)

    def mend_folder(self) -> None:
        """Bring it back."""
        self._away.rename(self.folders.spool.root)

    @property
    def failure(self) -> Failure | None:
        """What is wrong."""
        with self.database.read() as connection:
            return nights.failure(connection)

    def told(self) -> list[str]:
        """Return what a person is told of it."""
        with self.database.read() as connection:
            return [t.words for t in of_rows(connection, []) if t.key == "nightly"]

    def pass_minutes(self, minutes: int) -> list[int]:
        """Look every minute; return those after which it had failed once more."""
        found = []
        for minute in range(1, minutes + 1):
            self.clock.advance(MINUTE_S)
            before = self.failure
            self.work.look()
            if self.failure != before:
                found.append(minute)
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Nights]:
    with builders.database(tmp_path) as database:
        yield Nights(tmp_path, database)


def test_what_fails_is_tried_again_ever_later(
    site: Nights, caplog: pytest.LogCaptureFixture
) -> None:
    site.break_folder()
    site.work.come()
    assert not site.work.look()
    assert site.told() == ["the night's work has failed once: No such file or directory"]
    tried = site.pass_minutes(4 * 60)
    assert tried == [2, 6, 14, 30, 62, 122, 182]
    assert site.told() == ["the night's work has failed 8 times: No such file or directory"]
    lines = [each for each in caplog.records if each.message == "the night's work failed"]
    assert [vars(each)["again_s"] // 60 for each in lines] == [2, 4, 8, 16, 32, 60, 60, 60]


def test_it_is_no_trouble_any_more_once_it_works(site: Nights) -> None:
    site.break_folder()
    site.work.come()
    site.work.look()
    site.mend_folder()
    assert not site.work.look()  # it waits
    site.clock.advance(2 * MINUTE_S)
    assert site.work.look()
    assert (site.failure, site.told()) == (None, [])
    site.clock.advance(86_400)
    site.break_folder()
    site.work.come()
    site.work.look()
    assert site.told() == ["the night's work has failed once: No such file or directory"]


def test_another_night_is_tried_at_once(site: Nights) -> None:
    site.break_folder()
    site.work.come()
    site.work.look()
    site.clock.advance(86_400 - MINUTE_S)
    site.work.look()
    before = site.failure
    site.clock.advance(MINUTE_S)
    site.work.come()
    site.work.look()
    assert before is not None
    assert site.failure is not None
    assert (site.failure.night > before.night, site.failure.times) == (True, before.times + 1)


def test_a_process_that_was_started_again_waits_as_long(site: Nights) -> None:
    site.break_folder()
    site.work.come()
    site.work.look()
    other = site.process("one")
    site.mend_folder()
    assert not other.look()
    site.clock.advance(2 * MINUTE_S)
    assert other.look()


def test_a_clock_that_is_set_back_makes_nobody_wait(site: Nights) -> None:
    site.break_folder()
    site.work.come()
    site.work.look()
    site.clock.advance(-86_400)
    site.mend_folder()
    assert site.work.look()


def test_what_is_told_fits_its_note(site: Nights) -> None:
    site.database.write(lambda c: nights.failed(c, "2027-01-15", "no: " + "x" * 9999, site.clock()))
    with site.database.read() as connection:
        assert len(noted(connection, "nightly failed")) == 512
    assert site.failure is not None
    assert site.failure.reason.startswith("no: xxx")
