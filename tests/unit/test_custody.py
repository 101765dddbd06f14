"""Storage commitment to modalities: what is confirmed is what was read again and found whole."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from daemon import schema
from daemon.callers import Callers
from daemon.custody import HERE_FIRST_S, Custody
from daemon.database import Database
from daemon.retry import RetryPolicy
from daemon.spool import Spool
from daemon.store import Received, add_conflict, add_instance
from daemon.teller import Teller
from dicom_io.acceptor import Peer
from dicom_io.commitment import (
    Reference,
    Report,
    Request,
    encoded,
    read_report,
    request_dataset,
)
from dicom_io.errors import PeerError
from dicom_io.part10 import header
from dicom_io.scu import Remote
from tests import builders
from tests import builders_wire as wire
from tests.builders import Rows

pytestmark = pytest.mark.engines

US1 = Peer("10.0.0.5", "US1", "AXNODE", "")
SOURCES = [{"ae_title": "US1", "host": "10.0.0.5", "port": 104}]
NONE, CONFLICT, FAILURE = 0x0112, 0x0119, 0x0110


class Modality:
    """The other end of a call back: answers as scripted, or with success."""

    def __init__(self) -> None:
        self.answers: list[int | PeerError] = []
        self.called: list[Remote] = []
        self.told: list[Report] = []
        self.before: Callable[[], None] = lambda: None

    def __call__(self, peer: Remote, said: Report, on_tick: Callable[[], None]) -> int:
        """Take a report, as `daemon.teller` tells it."""
        self.before()
        self.called.append(peer)
        answer = self.answers.pop(0) if self.answers else 0x0000
        if isinstance(answer, PeerError):
            raise answer
        self.told.append(said)
        return answer


class Site:
    """A node with images of a modality."""

    def __init__(self, folder: Path, database: Database, sources: Sequence[Any] = SOURCES) -> None:
        self.rows = Rows(database)
        self.spool = Spool(folder / "spool")
        config = builders.config(folder, sources=sources)
        callers = Callers(config)
        self.custody = Custody(callers, database, self.spool, self.rows.clock)
        self.modality = Modality()
        self.teller = Teller(
            "AXNODE",
            callers,
            self.custody,
            database,
            self.rows.clock,
            None,
            RetryPolicy(attempts=3),
            self.modality,
        )

    def image(self, uid: str = "1.2.3.4") -> Path:
        """Receive an image; return its file."""
        data = wire.dataset(instance=uid)
        digest = hashlib.sha256(wire.EXPLICIT.encode() + data).hexdigest()
        file = self.spool.incoming()
        file.write(header(wire.US_IMAGE, uid, wire.EXPLICIT, "US1") + data)
        path = file.keep(digest)
        file.close()
        received = Received(
            study_uid="1.2.3",
            series_uid="1.2.3.1",
            sop_instance_uid=uid,
            sop_class_uid=wire.US_IMAGE,
            transfer_syntax_uid=wire.EXPLICIT,
            instance_hash=digest,
            patient_key="p",
            size=path.stat().st_size,
            source_ae="US1",
            assumed=False,
        )
        self.rows.database.write(lambda c: add_instance(c, received, self.rows.clock()))
        return path

    def ask(self, *uids: str, transaction: str = "1.2.9", peer: Peer = US1) -> tuple[int, Any]:
        """Ask for commitment; return status and number."""
        references = tuple(Reference(wire.US_IMAGE, uid) for uid in uids)
        data = encoded(request_dataset(Request(transaction, references)), wire.EXPLICIT)
        return self.custody.request(peer, 1, data, wire.EXPLICIT)

    def result(self, *uids: str) -> dict[str, int]:
        """Ask, have files looked at, and return each instance's failure reason; 0: committed."""
        status, number = self.ask(*uids)
        assert status == 0x0000
        assert self.custody.verify_next()
        return self.told_here(number)

    def told_here(self, number: int) -> dict[str, int]:
        """Return what the association that asked is told."""
        found = self.custody.result(number, wire.IMPLICIT)
        assert found is not None
        said = read_report(found.event_type_id, found.dataset, wire.IMPLICIT)
        assert found.event_type_id == (2 if said.failed else 1)
        return {r.sop_instance_uid: 0 for r in said.committed} | {
            r.sop_instance_uid: why for r, why in said.failed
        }

    @property
    def committed(self) -> list[str]:
        """The instances that must not be purged."""
        rows = self.rows.all(schema.instances)
        return [row.sop_instance_uid for row in rows if row.committed_us is not None]

    @property
    def request(self) -> Any:
        """The row of the latest request."""
        return self.rows.all(schema.commitment_requests)[-1]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with builders.database(tmp_path) as opened:
        yield opened


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    return Site(tmp_path, database)


# What is true


def test_what_is_whole_is_committed_and_exempt_from_purge(site: Site) -> None:
    site.image("1.2.3.4")
    site.image("1.2.3.5")
    site.image("1.2.3.6")
    assert site.result("1.2.3.4", "1.2.3.5") == {"1.2.3.4": 0, "1.2.3.5": 0}
    assert site.committed == ["1.2.3.4", "1.2.3.5"]


def test_nothing_is_said_before_every_file_was_read(site: Site) -> None:
    site.image()
    _, number = site.ask("1.2.3.4")
    assert site.custody.result(number, wire.EXPLICIT) is None
    assert site.committed == []


def test_a_flipped_bit_is_not_confirmed(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    path = site.image()
    site.image("1.2.3.5")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert site.result("1.2.3.4", "1.2.3.5") == {"1.2.3.4": FAILURE, "1.2.3.5": 0}
    assert site.committed == ["1.2.3.5"]
    assert [r.levelname for r in caplog.records if getattr(r, "action", "") == "damaged"] == [
        "ERROR"
    ]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_file_that_is_gone_or_empty_is_not_confirmed(
    site: Site, damage: Callable[[Path], Any]
) -> None:
    damage(site.image())
    assert site.result("1.2.3.4") == {"1.2.3.4": FAILURE}
    assert site.committed == []


def test_what_never_came_is_not_confirmed(site: Site) -> None:
    site.image()
    assert site.result("1.2.3.4", "1.2.3.5") == {"1.2.3.4": 0, "1.2.3.5": NONE}


def test_another_class_under_the_uid_is_not_confirmed(site: Site) -> None:
    site.image()
    other = Request("1.2.9", (Reference(builders.CT, "1.2.3.4"),))
    data = encoded(request_dataset(other), wire.EXPLICIT)
    _, number = site.custody.request(US1, 1, data, wire.EXPLICIT)
    site.custody.verify_next()
    assert number is not None
    assert site.told_here(number) == {"1.2.3.4": CONFLICT}
    assert site.committed == []


def test_what_also_came_with_other_content_is_not_confirmed(site: Site) -> None:
    """The modality may hold the bytes that were not kept."""
    path = site.image()
    site.image("1.2.3.5")
    known = site.rows.database.write(
        lambda c: add_instance(c, _again(path.stem), site.rows.clock())
    )
    assert known is not None
    site.rows.database.write(lambda c: add_conflict(c, known, "US1", site.rows.clock()))
    assert site.result("1.2.3.4", "1.2.3.5") == {"1.2.3.4": FAILURE, "1.2.3.5": 0}


def _again(digest: str) -> Received:
    return Received(
        "1.2.3", "1.2.3.1", "1.2.3.4", builders.US, wire.EXPLICIT, digest, "p", 1, "US1", False
    )


def test_what_is_purged_while_files_are_read_is_not_confirmed(site: Site) -> None:
    """The purge deletes the row, in the writer; the file follows."""
    path = site.image()
    site.ask("1.2.3.4")

    def purge() -> None:
        if path.exists():
            site.rows.database.write(lambda c: c.execute(delete(schema.instances)))
            path.unlink()

    assert site.custody.verify_next(purge)
    assert site.told_here(1) == {"1.2.3.4": NONE}


def test_a_row_whose_file_has_just_gone_is_not_committed(site: Site) -> None:
    path = site.image()
    site.ask("1.2.3.4")
    assert site.custody.verify_next(lambda: path.unlink(missing_ok=True))
    assert site.told_here(1) == {"1.2.3.4": NONE}
    assert site.committed == []


@pytest.mark.parametrize("moment", ["before", "while it is read"])
def test_what_retention_has_given_up_is_not_committed(site: Site, moment: str) -> None:
    """Its file may lie there still, until the next night."""
    site.image()

    def doom() -> None:
        given_up = update(schema.instances).values(file="doomed")
        site.rows.database.write(lambda c: c.execute(given_up) and None)

    if moment == "before":
        doom()
    site.ask("1.2.3.4")
    assert site.custody.verify_next(doom)
    assert site.told_here(1) == {"1.2.3.4": NONE}
    assert site.committed == []


def test_what_retention_deleted_is_not_known_and_not_called_damaged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.image().unlink()
    gone = update(schema.instances).values(file="gone")
    site.rows.database.write(lambda c: c.execute(gone) and None)
    site.ask("1.2.3.4")
    assert site.custody.verify_next()
    assert site.told_here(1) == {"1.2.3.4": NONE}
    assert "damaged" not in caplog.text


# Requests


def test_a_request_outlives_a_restart(tmp_path: Path) -> None:
    with builders.database(tmp_path) as first:
        site = Site(tmp_path, first)
        site.image()
        site.ask("1.2.3.4")
    with builders.database(tmp_path) as second:
        again = Site(tmp_path, second)
        assert again.custody.verify_next()
        again.rows.clock.advance(HERE_FIRST_S)
        assert again.teller.tell_next()
        assert again.modality.told[0].committed == (Reference(wire.US_IMAGE, "1.2.3.4"),)


def test_the_same_request_again_is_told_again(site: Site) -> None:
    site.image()
    _, number = site.ask("1.2.3.4")
    site.custody.verify_next()
    site.custody.heard(number, 0x0000)
    assert site.custody.result(number, wire.EXPLICIT) is None
    assert site.ask("1.2.3.4") == (0x0000, number)
    assert site.custody.verify_next()
    assert site.told_here(number) == {"1.2.3.4": 0}


def test_a_transaction_is_not_used_for_two_requests(site: Site) -> None:
    site.ask("1.2.3.4")
    assert site.ask("1.2.3.5") == (0x0115, None)
    elsewhere = Peer("10.0.0.5", "US1", "AXNODE", "")
    assert site.ask("1.2.3.5", transaction="1.2.10", peer=elsewhere)[0] == 0x0000


def test_who_may_not_push_may_not_ask(site: Site) -> None:
    stranger = Peer("10.0.0.6", "US1", "AXNODE", "")
    assert site.ask("1.2.3.4", peer=stranger) == (0x0124, None)
    assert site.rows.all(schema.commitment_requests) == []


@pytest.mark.parametrize(("action", "data", "status"), [(2, b"", 0x0123), (1, b"\xff", 0x0115)])
def test_what_is_no_request_is_refused(site: Site, action: int, data: bytes, status: int) -> None:
    assert site.custody.request(US1, action, data, wire.EXPLICIT) == (status, None)


def test_a_request_that_cannot_be_written_is_refused(site: Site) -> None:
    site.rows.database.close()
    assert site.ask("1.2.3.4") == (0x0110, None)


# Telling


def verified(site: Site) -> int:
    """Bring a request to where its result is known; return its number."""
    site.image()
    _, number = site.ask("1.2.3.4")
    site.custody.verify_next()
    return int(number)


def test_the_association_that_asked_is_first(site: Site) -> None:
    number = verified(site)
    assert not site.teller.tell_next()
    assert site.custody.result(number, wire.EXPLICIT) is not None
    site.custody.heard(number, 0x0000)
    site.rows.clock.advance(3600)
    assert not site.teller.tell_next()
    assert site.request.detail == "the result was heard"


def test_a_modality_that_hung_up_is_called_back(site: Site) -> None:
    verified(site)
    site.rows.clock.advance(HERE_FIRST_S)
    assert site.teller.tell_next()
    (peer,) = site.modality.called
    assert (peer.ae_title, peer.host, peer.port, peer.calling_ae) == (
        "US1",
        "10.0.0.5",
        104,
        "AXNODE",
    )
    assert site.request.ended_us == site.rows.clock()
    assert not site.teller.tell_next()


def test_an_attempt_is_counted_before_it_is_made(site: Site) -> None:
    """A crash while calling back leaves a result that is told again, and later."""
    number = verified(site)
    site.rows.clock.advance(HERE_FIRST_S)
    seen: list[tuple[int, bool]] = []

    def look() -> None:
        here = site.custody.result(number, wire.EXPLICIT)
        seen.append((site.request.attempts, here is None))
        raise KeyboardInterrupt

    site.modality.before = look
    with pytest.raises(KeyboardInterrupt):
        site.teller.tell_next()
    assert seen == [(1, True)]
    assert not site.teller.tell_next()
    site.modality.before = lambda: None
    site.rows.clock.advance(30)
    assert site.teller.tell_next()
    assert site.request.ended_us is not None


@pytest.mark.parametrize("answer", [0x0110, PeerError("it cannot be reached", transient=True)])
def test_what_is_not_heard_is_told_again_and_not_for_ever(
    site: Site, answer: int | PeerError
) -> None:
    verified(site)
    site.modality.answers = [answer] * 3
    site.rows.clock.advance(HERE_FIRST_S)
    for wait in (30, 60, 120):
        assert site.teller.tell_next()
        assert not site.teller.tell_next()
        site.rows.clock.advance(wait)
    assert not site.teller.tell_next()
    assert site.request.detail.startswith("given up after 3 attempts: it ")
    assert site.committed == ["1.2.3.4"]  # a commitment is kept, heard or not


def test_a_failed_answer_on_the_line_is_told_again(site: Site) -> None:
    number = verified(site)
    site.custody.heard(number, 0x0110)
    site.rows.clock.advance(HERE_FIRST_S)
    assert site.teller.tell_next()


@pytest.mark.parametrize("sources", [[{"ae_title": "US1"}], []])
def test_without_a_port_nobody_can_be_called(
    tmp_path: Path, database: Database, sources: list[Any]
) -> None:
    site = Site(tmp_path, database, sources)
    verified(site)
    site.rows.clock.advance(HERE_FIRST_S)
    assert site.teller.tell_next()
    assert site.modality.called == []
    assert "set sources.port" in site.request.detail
    assert not site.teller.tell_next()


def test_a_clock_set_back_a_day_makes_nobody_wait(site: Site) -> None:
    verified(site)
    site.rows.clock.advance(-86_400)
    assert site.teller.tell_next()


def test_references_go_with_their_request(site: Site) -> None:
    site.ask("1.2.3.4", "1.2.3.5")
    assert len(site.rows.all(schema.commitment_references)) == 2
    site.rows.database.write(lambda c: c.execute(delete(schema.commitment_requests)))
    assert site.rows.all(schema.commitment_references) == []


def test_an_older_request_is_looked_at_first(site: Site) -> None:
    site.ask("1.2.3.4", transaction="1.2.9")
    site.ask("1.2.3.4", transaction="1.2.10")
    site.custody.verify_next()
    seen = [row.verified_us is not None for row in site.rows.all(schema.commitment_requests)]
    assert seen == [True, False]
    assert site.custody.verify_next()
    assert not site.custody.verify_next()
