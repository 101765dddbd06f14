"""Bringing an archive's studies: when, how many at a time, and what is done again."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest

from daemon.backfill import KNOWN, NOTHING, SENT, Backfill, Hours, Journal
from daemon.errors import InputError, UnavailableError
from dicom_io.dicomweb_query import Found
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome, StoreResult
from tests import builders
from tests.builders import Rows

pytestmark = pytest.mark.engines


class FakeArchive:
    """Has a study of one image for each UID, none of ultrasound where it ends in 0."""

    def __init__(self, *uids: str) -> None:
        self.uids = uids
        self.broken: set[str] = set()
        self.odd: set[str] = set()
        self.asked: list[Mapping[str, str]] = []

    def studies(self, filters: Mapping[str, str]) -> Iterator[Found]:
        """Yield them all."""
        self.asked.append(filters)
        yield from (Found(uid, "20260101") for uid in self.uids)

    def files(self, study_uid: str, modality: str, folder: Path) -> Iterator[Path]:
        """Write a file."""
        if study_uid in self.broken:
            raise PeerError("the archive answered 500", transient=True)
        if study_uid in self.odd:
            raise ValueError("no multipart message")
        if not study_uid.endswith("0"):
            path = folder / f"{study_uid}.dcm"
            path.write_bytes(b"")
            yield path


class Site:
    """A backfill whose archive, node, clock and pauses a test plays."""

    def __init__(self, rows: Rows, folder: Path) -> None:
        self.rows = rows
        self.archive = FakeArchive("1.1", "1.2", "1.10", "1.3")
        self.pushed: list[str] = []
        self.outcome = Outcome.STORED
        self.silent = False
        self.now = datetime(2026, 1, 1, 12, 0)
        self.pauses = 0
        self.journal = folder / "journal"

    def push(self, files: list[Path]) -> list[StoreResult]:
        """Answer as the test says."""
        if self.silent:
            raise PeerError("the node cannot be reached", transient=True)
        self.pushed += [path.stem for path in files]
        return [StoreResult(path, self.outcome, 0, "words") for path in files]

    def sleep(self, seconds: float) -> None:
        """Let an hour pass, and the node work one study."""
        self.pauses += 1
        self.now = self.now.replace(hour=(self.now.hour + 1) % 24)
        if job := self.rows.claim():
            self.rows.finish(job)

    def run(self, **options: object) -> list[tuple[str, str]]:
        """Run it to its end."""
        most = options.pop("most", None)
        work = Backfill(
            self.archive,
            self.push,
            self.rows.database,
            Journal(self.journal),
            now=lambda: self.now,
            sleep=self.sleep,
            **options,  # type: ignore[arg-type]
        )
        return list(work.run({"PatientID": "P"}, most))  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with builders.database(tmp_path) as opened:
        yield Site(Rows(opened), tmp_path)


def test_each_is_brought_once(site: Site) -> None:
    assert site.run() == [("1.1", SENT), ("1.2", SENT), ("1.10", NOTHING), ("1.3", SENT)]
    assert site.pushed == ["1.1", "1.2", "1.3"]
    assert site.archive.asked == [{"PatientID": "P"}]
    assert site.run() == []


def test_what_failed_is_tried_again_and_nothing_else(site: Site) -> None:
    site.archive.broken = {"1.2"}
    assert ("1.2", "failed: the archive answered 500") in site.run()
    site.archive.broken = set()
    assert site.run() == [("1.2", SENT)]


def test_what_the_node_refuses_has_failed(site: Site) -> None:
    site.outcome = Outcome.TRANSIENT
    assert site.run(most=1) == [("1.1", "failed: the node did not take an image: words")]


def test_what_arrived_in_part_is_brought_whole(site: Site) -> None:
    site.outcome = Outcome.TRANSIENT
    site.run(most=1)
    site.rows.receive("1.1.1", study="1.1")  # an image of it had arrived
    site.outcome = Outcome.STORED
    assert site.run(most=1) == [("1.1", SENT)]


def test_one_that_cannot_be_read_ends_nothing(site: Site) -> None:
    site.archive.odd = {"1.1"}
    found = site.run()
    assert found[0] == ("1.1", "failed: ValueError")
    assert ("1.3", SENT) in found


def test_a_node_that_does_not_answer_ends_it(site: Site) -> None:
    site.silent = True
    with pytest.raises(UnavailableError, match="it goes on"):
        site.run()
    assert not Journal(site.journal).is_over("1.1")


def test_what_the_node_has_is_not_fetched(site: Site) -> None:
    site.rows.receive("1.1.1", study="1.1")
    assert site.run(most=1) == [("1.1", KNOWN)]
    assert site.pushed == []


def test_it_waits_for_the_node(site: Site) -> None:
    for number in range(3):
        site.rows.queued(f"9.{number}.1", f"9.{number}")
    assert site.run(waiting=2, most=1) == [("1.1", SENT)]
    assert site.pauses == 2


def test_it_works_at_its_hours_only(site: Site) -> None:
    site.run(hours=Hours.read("20:00-06:00"), most=1)
    assert site.now.hour == 20


@pytest.mark.parametrize(
    ("words", "hour", "held"),
    [
        ("20:00-06:00", 21, True),
        ("20:00-06:00", 5, True),
        ("20:00-06:00", 6, False),
        ("08:30-17:00", 8, False),
        ("08:30-17:00", 9, True),
        ("00:00-00:00", 3, True),
    ],
)
def test_hours(words: str, hour: int, held: bool) -> None:
    assert Hours.read(words).hold(datetime(2026, 1, 1, hour, 15)) is held


@pytest.mark.parametrize("words", ["", "20-6", "20:00", "20:00-25:00", "a-b"])
def test_hours_that_are_none_are_told(words: str) -> None:
    with pytest.raises(InputError, match="20:00-06:00"):
        Hours.read(words)


def test_a_line_cut_off_by_a_power_cut_is_passed_over(site: Site) -> None:
    site.run(most=1)
    with site.journal.open("a") as file:
        file.write('{"study_uid": "1.2", "outc')
    assert Journal(site.journal).done == {"1.1": SENT}
