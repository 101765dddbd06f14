"""Retention: what goes, what never goes, what a kill leaves, and what comes after."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, Table, insert, update

from daemon import migrations, schema, status
from daemon.config_destination import Destination
from daemon.database import Database
from daemon.deliver import Deliverer
from daemon.errors import InputError
from daemon.lifecycle import DeliveryState, StudyState
from daemon.retention import Retention, due_studies, rested
from daemon.spool import Spool
from daemon.unpark import retry
from daemon.ways import remote
from dicom_io.scu import Outcome
from tests import builders
from tests.builders import QUIET_S, STUDY, Rows, stored
from tests.fakes import FakeSend

pytestmark = pytest.mark.engines

DAYS = 3
PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=4242)


class Site:
    """A node's rows and files, and its nights."""

    def __init__(self, rows: Rows, folder: Path) -> None:
        self.rows = rows
        self.spool = Spool(folder / "spool")
        self.objects = Spool(folder / "objects")

    def receive(self, sop: str = f"{STUDY}.1", study: str = STUDY, content: str = "") -> None:
        """Let an image come, as reception does: its file first, then its row."""
        digest = self.digest(sop, content)
        self.spool.path(digest).write_bytes(b"pixels")
        self.rows.receive(sop, study=study, content=content)

    def digest(self, sop: str, content: str = "") -> str:
        """Return the name of an image's file."""
        return builders.hashlib.sha256(f"{sop}{content}".encode()).hexdigest()

    def delivered(
        self, study: str = STUDY, outcome: Outcome = Outcome.STORED, role: str = "sr"
    ) -> None:
        """Bring a study of one image and two results to rest."""
        self.receive(f"{study}.1", study)
        built = [stored(n, self.objects, study, role) for n in range(2)]
        self.rows.deliver(built, lambda role: ["pacs"], study)
        send = FakeSend([(outcome, 0)] * 2)
        peer = remote(PACS, "AXNODE")
        deliverer = Deliverer(peer, self.rows.database, self.objects, self.rows.clock, None, send)
        while deliverer.deliver_due():
            pass

    def retention(self, database: Any = None, **days: int) -> Retention:
        """Return the nightly work."""
        settings = builders.config(
            Path("unused"), retention={"instances_days": DAYS, "results_days": DAYS, **days}
        ).retention
        opened = database or self.rows.database
        return Retention(settings, opened, self.spool, self.objects, self.rows.clock)

    def night(self, database: Any = None, **days: int) -> None:
        """Let a night pass."""
        self.rows.clock.advance(86_400)
        self.retention(database, **days).run(f"{self.rows.clock()}")

    def nights(self, count: int, **days: int) -> None:
        """Let nights pass."""
        for _ in range(count):
            self.night(**days)

    def files(self, table: Table) -> list[str]:
        """Return what the rows say of their files."""
        return [row.file for row in self.rows.all(table)]

    def lying(self, spool: Spool) -> int:
        """Return how many files lie in a folder."""
        return len(list(spool.root.rglob("*.dcm")))

    def state(self) -> tuple[list[str], int, list[str], int]:
        """Return what rows and folders say of instances and of results."""
        return (
            self.files(schema.instances),
            self.lying(self.spool),
            self.files(schema.objects),
            self.lying(self.objects),
        )

    def check(self) -> None:
        """Fail where a row rests on a file that is not there."""
        for table, name, spool in (
            (schema.instances, "instance_hash", self.spool),
            (schema.objects, "file_hash", self.objects),
        ):
            for row in self.rows.all(table):
                assert row.file != "kept" or spool.path(getattr(row, name)).exists()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with builders.database(tmp_path) as opened:
        yield Site(Rows(opened), tmp_path)


KEPT = (["kept"], 1, ["kept", "kept"], 2)
GONE = (["gone"], 0, ["gone", "gone"], 0)


def test_files_go_after_so_many_nights_and_rows_stay(site: Site) -> None:
    site.delivered()
    site.nights(DAYS)
    assert site.state() == KEPT
    site.nights(1)
    assert site.state() == GONE
    study = site.rows.study()
    assert (study.state, study.purged_us) == ("delivered", site.rows.clock())
    details = [row.detail for row in site.rows.all(schema.events) if row.action == "purged"]
    assert details == [
        "1 images deleted after 3 days at rest",
        "2 results deleted after 3 days at rest",
    ]
    site.nights(2)  # nothing is left, and nothing is said of it again
    assert site.rows.story().count("purged") == 2


def test_zero_keeps_for_ever(site: Site) -> None:
    site.delivered()
    site.nights(2 * DAYS, instances_days=0, results_days=0)
    assert site.state() == KEPT


@pytest.mark.parametrize("kind", ["instances", "results"])
def test_each_has_its_own_limit(site: Site, kind: str) -> None:
    site.delivered()
    site.nights(DAYS + 1, **{f"{kind}_days": 0})
    expected = (*KEPT[:2], *GONE[2:]) if kind == "instances" else (*GONE[:2], *KEPT[2:])
    assert site.state() == expected


def test_a_clock_set_ahead_deletes_nothing(site: Site) -> None:
    site.delivered()
    site.rows.clock.advance(10 * 365 * 86_400)
    site.nights(1)
    site.rows.clock.advance(-20 * 365 * 86_400)
    site.nights(1)
    assert site.state() == KEPT


def test_a_study_that_is_woken_begins_anew(site: Site) -> None:
    site.delivered()
    site.nights(DAYS)
    site.receive(f"{STUDY}.2")
    site.rows.assemble()
    site.rows.finish(site.rows.claimed())
    site.nights(DAYS)
    assert site.files(schema.instances) == ["kept", "kept"]
    site.nights(1)
    assert site.files(schema.instances) == ["gone", "gone"]


def unfinished(site: Site, state: str) -> None:
    """Bring a study to a state in which it needs its files."""
    if state == "receiving":
        site.receive()
    elif state == "parked":
        site.receive()
        site.rows.receive(f"{STUDY}.2", patient="another")
        site.spool.path(site.digest(f"{STUDY}.2")).write_bytes(b"pixels")
        site.rows.assemble()
    elif state == "delivering":
        site.receive()
        site.rows.delivering(site.objects)
    else:
        site.receive()
        site.rows.queued(f"{STUDY}.1")
        if state == "analysing":
            site.rows.claimed()


@pytest.mark.parametrize("state", ["receiving", "queued", "analysing", "delivering", "parked"])
def test_what_is_not_at_rest_is_kept(site: Site, state: str) -> None:
    unfinished(site, state)
    before = site.state()
    assert site.rows.study().state == state
    site.nights(3 * DAYS)
    assert site.state() == before
    assert "gone" not in str(before)


@pytest.mark.parametrize("outcome", [Outcome.PERMANENT, Outcome.UNSUPPORTED])
def test_what_a_pacs_refused_is_kept(site: Site, outcome: Outcome) -> None:
    site.delivered(outcome=outcome)
    assert site.rows.study().state == "parked"
    site.nights(3 * DAYS)
    assert site.state() == KEPT


def test_a_night_before_its_images_are_looked_at_does_not_count(site: Site) -> None:
    """At rest, and an image has come: `unassembled` says that it is not."""
    site.delivered()
    site.rows.database.write(lambda c: c.execute(update(schema.studies).values(unassembled=True)))
    site.nights(2 * DAYS)
    assert site.state() == KEPT


def test_results_that_went_nowhere_are_kept(site: Site) -> None:
    site.receive()
    site.rows.deliver([stored(0, site.objects)], lambda role: [])
    assert site.rows.study().state == "delivered"
    site.nights(DAYS + 1)
    assert site.state() == (["gone"], 0, ["kept"], 1)


def test_what_is_ignored_goes_too(site: Site) -> None:
    site.receive()
    site.rows.clock.advance(QUIET_S)
    site.rows.assembler(eligible=lambda hashes: None).sweep()
    assert site.rows.study().state == "ignored"
    site.nights(DAYS + 1)
    assert site.files(schema.instances) == ["gone"]


def test_what_was_promised_to_a_modality_is_kept(site: Site) -> None:
    site.delivered()
    site.rows.database.write(
        lambda c: c.execute(update(schema.instances).values(committed_us=1)) and None
    )
    site.nights(DAYS + 1)
    assert site.files(schema.instances) == ["kept"]


def test_a_file_that_another_study_rests_on_is_kept(site: Site) -> None:
    """Two UIDs may own one data set that has none itself."""
    site.delivered()
    site.receive("9.1", study="9")
    shared = site.digest("9.1")
    site.rows.database.write(
        lambda c: c.execute(
            update(schema.instances)
            .where(schema.instances.c.sop_instance_uid == f"{STUDY}.1")
            .values(instance_hash=shared)
        )
    )
    site.nights(DAYS + 1)
    assert site.files(schema.instances) == ["gone", "kept"]
    assert site.spool.path(shared).exists()


def test_a_file_that_cannot_be_deleted_stays_doomed_and_goes_another_night(site: Site) -> None:
    site.delivered()
    site.delivered("9")
    path = site.spool.path(site.digest(f"{STUDY}.1"))
    path.unlink()
    path.mkdir()  # no file can be removed there
    site.nights(DAYS + 1)
    assert site.files(schema.instances) == ["doomed", "gone"]  # and it holds up no other
    path.rmdir()
    site.nights(1)
    assert site.files(schema.instances) == ["gone", "gone"]


class WatchedSpool(Spool):
    """A folder that remembers what the rows said when its deletions were made durable."""

    def __init__(self, root: Path, rows: Rows) -> None:
        super().__init__(root)
        self.rows = rows
        self.said: list[str] = []

    def sync(self, digests: Iterable[str]) -> None:
        """Look, and sync."""
        names = set(digests)
        rows = self.rows.all(schema.instances)
        self.said += [row.file for row in rows if row.instance_hash in names]
        super().sync(names)


def test_a_row_says_gone_only_after_the_disk_does(site: Site) -> None:
    site.spool = watched = WatchedSpool(site.spool.root, site.rows)
    site.delivered()
    site.nights(DAYS + 1)
    assert watched.said == ["doomed"]
    assert site.files(schema.instances) == ["gone"]


class Killed(BaseException):
    """The process ends here."""


class DyingDatabase:
    """A database whose process is killed at one of its writes: before, amid or after it."""

    def __init__(self, real: Database, at: int, when: str) -> None:
        self._real, self._at, self._when = real, at, when
        self.read = real.read

    def write(self, work: Callable[[Connection], Any], *, alone: bool = True) -> Any:
        """Write, or die."""
        self._at -= 1
        if self._at != 0:
            return self._real.write(work)
        if self._when == "before":
            raise Killed
        if self._when == "after":
            self._real.write(work)
            raise Killed
        with pytest.raises(InterruptedError):  # what was done to files stays done, rows roll back
            self._real.write(lambda c: amid(work, c))
        raise Killed


def amid(work: Callable[[Connection], Any], connection: Connection) -> None:
    work(connection)
    raise InterruptedError


@contextmanager
def killed() -> Iterator[None]:
    with pytest.raises(Killed):
        yield


@pytest.mark.parametrize("when", ["before", "amid", "after"])
@pytest.mark.parametrize("at", range(1, 8))
def test_a_kill_at_any_step_leaves_no_row_without_its_file(site: Site, at: int, when: str) -> None:
    site.delivered()
    site.nights(DAYS)
    with killed():
        site.night(DyingDatabase(site.rows.database, at, when))
    site.check()
    site.nights(2)  # one may have gone uncounted
    assert site.state() == GONE


def test_a_night_has_seven_writes(site: Site) -> None:
    """Count; then doom, unlink and mark of either kind. The test above kills each."""
    site.delivered()
    site.nights(DAYS)
    with killed():
        site.night(DyingDatabase(site.rows.database, 7, "after"))
    assert site.state() == GONE


def test_a_service_that_stops_leaves_the_rest_for_another_night(site: Site) -> None:
    site.delivered()
    site.nights(DAYS)
    site.retention().run("another", go_on=lambda: False)
    assert site.state() == KEPT


def test_a_night_whose_work_is_done_again_counts_once(site: Site) -> None:
    site.delivered()
    for _ in range(2 * DAYS):
        site.retention().run("the same")
    assert [row.nights for row in site.rows.all(schema.node)] == [1]
    assert site.state() == KEPT


def test_years_of_studies_are_looked_at_part_by_part(site: Site) -> None:
    def write(connection: Connection) -> None:
        for number in (1, 99_999, 100_000, 100_001, 350_000):
            row = {"id": number, "study_uid": f"1.2.{number}", "state": "ignored"}
            row |= {"received_us": 0, "last_instance_us": 0, "moved_night": -DAYS - 1}
            connection.execute(insert(schema.studies).values(row))

    database = site.rows.database
    database.write(write)
    found = list(due_studies(database, rested(DAYS), lambda: True))
    assert found == [[1, 99_999, 100_000], [100_001], [350_000]]
    assert not list(due_studies(database, rested(DAYS + 1), lambda: True))


def test_nights_at_rest_survive_the_way_in_which_they_are_counted(site: Site) -> None:
    """Each study had a count of its own."""
    site.delivered()
    site.nights(DAYS)
    with site.rows.database._engine.begin() as connection:
        settings = migrations.alembic_config(connection)
        command.downgrade(settings, "0009")
        days = connection.exec_driver_sql("SELECT days_at_rest FROM studies").scalar()
        assert days == DAYS
        command.upgrade(settings, "head")
    assert site.state() == KEPT
    site.night()
    assert site.state() == GONE


# Afterwards


@pytest.fixture
def purged(site: Site) -> Site:
    """Return a site whose study of one image has lost its files."""
    site.delivered()
    site.nights(DAYS + 1)
    assert site.state() == GONE
    return site


def test_a_late_image_of_a_purged_study_parks_it_and_says_what_to_do(purged: Site) -> None:
    purged.receive(f"{STUDY}.2")
    purged.rows.assemble()
    study = purged.rows.study()
    assert study.state == "parked"
    assert study.reason.startswith("1 of its 2 images were deleted (retention.instances_days)")
    assert "send the whole study again" in study.reason
    assert study.version == 1
    purged.nights(3 * DAYS)
    assert purged.files(schema.instances) == ["gone", "kept"]


def test_a_purged_study_that_is_sent_again_whole_is_analysed(purged: Site) -> None:
    purged.receive(f"{STUDY}.2")
    purged.rows.assemble()
    purged.receive(f"{STUDY}.1")
    assert purged.rows.study().state == "receiving"
    purged.rows.assemble()
    assert (purged.rows.study().state, purged.rows.study().version) == ("queued", 2)
    purged.rows.clock.advance(builders.INTERVAL_S)
    assert len(purged.rows.claimed().instance_hashes) == 2
    assert purged.rows.story("instance") == ["kept_again"]
    purged.check()


def test_a_duplicate_of_a_purged_image_wakes_nothing(purged: Site) -> None:
    """Its file is kept again, and its days at rest begin anew."""
    purged.receive()
    assert purged.rows.study().state == "delivered"
    purged.rows.assemble()
    assert (purged.rows.study().version, purged.files(schema.instances)) == (1, ["kept"])
    purged.nights(DAYS)
    purged.check()
    assert purged.files(schema.instances) == ["kept"]
    purged.nights(1)
    assert purged.files(schema.instances) == ["gone"]


def test_an_image_that_comes_again_while_its_file_is_doomed_is_kept(site: Site) -> None:
    site.delivered()
    site.nights(DAYS)
    with killed():  # doomed, and not deleted yet
        site.night(DyingDatabase(site.rows.database, 2, "after"))
    assert site.files(schema.instances) == ["doomed"]
    site.receive()
    site.night()
    assert site.files(schema.instances) == ["kept"]
    site.check()


def test_what_was_replaced_and_is_gone_cannot_be_sent_again(site: Site) -> None:
    site.delivered(role="seg")
    site.rows.database.write(
        lambda c: c.execute(update(schema.deliveries).values(state=DeliveryState.REPLACED))
    )
    assert "queued again" in retried(site)
    site.rows.database.write(
        lambda c: c.execute(update(schema.deliveries).values(state=DeliveryState.REPLACED))
    )
    site.rows.database.write(
        lambda c: c.execute(update(schema.studies).values(state=StudyState.DELIVERED))
    )
    site.nights(DAYS + 1)
    assert site.files(schema.objects) == ["gone", "gone"]
    with pytest.raises(InputError, match="nothing to retry"):
        retried(site)


def retried(site: Site) -> str:
    """Retry the study by hand."""
    return site.rows.database.write(lambda c: retry(c, STUDY, ["pacs"], site.rows.clock()))


def test_status_tells_when_images_were_deleted(purged: Site) -> None:
    purged.delivered("9.9")
    with purged.rows.database.read() as connection:
        report = status.purged(connection)
        studies = {item["study_uid"]: item["purged_us"] for item in status.studies(connection)}
    assert report["studies"] == 1
    assert studies == {STUDY: report["last_us"], "9.9": None}


def test_a_study_is_purged_once_whatever_others_still_hold(purged: Site) -> None:
    """Its story says what was deleted, and no night goes round in what is gone."""
    before = purged.rows.story().count("purged")
    purged.delivered("1.2.9")
    purged.nights(1)
    assert purged.rows.story().count("purged") == before


def test_many_studies_go_in_one_night(site: Site) -> None:
    """More than are looked up at once."""
    for number in range(120):
        site.receive(f"7.{number}.1", study=f"7.{number}")
    site.rows.clock.advance(QUIET_S)
    site.rows.assembler(eligible=lambda hashes: None).sweep()
    site.nights(DAYS + 1)
    assert set(site.files(schema.instances)) == {"gone"}
    assert site.lying(site.spool) == 0
