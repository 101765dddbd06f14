"""Deliveries that are delivered only when the destination has committed to keep them."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from daemon import schema, status, unpark
from daemon.asker import REPORT, Asker
from daemon.commitment import RESEND, Reports, forget_answered, trust_stored
from daemon.config_destination import Destination
from daemon.deliver import Deliverer
from daemon.errors import UnavailableError
from daemon.jobs import StoredObject
from daemon.outbox import park_unknown
from daemon.pulse import Pulse
from daemon.spool import Spool
from daemon.ways import remote
from dicom_io.commitment import Reference, Report, Request, encoded, event_type, report_dataset
from dicom_io.commitment_scu import Answer
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome
from dicom_io.syntaxes import EXPLICIT_LITTLE
from tests import builders
from tests.builders import STUDY, Rows
from tests.fakes import FakeAsk, FakeSend
from tests.peers import wait_until

pytestmark = pytest.mark.engines

PACS = Destination(
    name="pacs", ae_title="PACS", host="127.0.0.1", port=4242, storage_commitment=True
)
INVALID_ARGUMENT = 0x0115


def report(
    request: Request,
    failed: Sequence[int] = (),
    reason: int = 0x0112,
    committed: Sequence[int] | None = None,
) -> tuple[int, bytes]:
    """Return a report on a request: numbers say which of its references failed; else committed."""
    kept = [n for n in range(len(request.references)) if n not in failed]
    said = Report(
        request.transaction_uid,
        tuple(request.references[n] for n in (kept if committed is None else committed)),
        tuple((request.references[n], reason) for n in failed),
    )
    return event_type(said), encoded(report_dataset(said), EXPLICIT_LITTLE)


class Site:
    """A study to deliver, and what delivers it and hears of it."""

    def __init__(self, rows: Rows, objects: Spool) -> None:
        self.rows = rows
        self.objects = objects
        self.reports = Reports(rows.database, objects, rows.clock)
        self.send = FakeSend()
        self.ask = FakeAsk()
        peer = remote(PACS, "AXNODE")
        self.asker = Asker(peer, rows.database, self.reports, rows.clock, ask=self.ask)
        self.deliverer = Deliverer(
            peer, rows.database, objects, rows.clock, send=self.send, asker=self.asker
        )

    def stored(self, count: int = 2, study: str = STUDY) -> list[StoredObject]:
        """Bring a study's objects to the destination, which has not been asked yet."""
        built = self.rows.delivering(self.objects, count=count, study=study)
        assert self.deliverer.deliver_due() == count
        return built

    def asked(self, count: int = 2) -> Request:
        """Bring a study's objects to where a report is waited for; return the request."""
        self.stored(count)
        assert self.asker.ask_due() == 1
        return self.ask.asked[-1]

    def take(self, said: tuple[int, bytes], names: Sequence[str] = ("pacs",)) -> int:
        """Take a report that came on an association of its own; return the status."""
        return self.reports.take(names, *said, EXPLICIT_LITTLE)

    @property
    def states(self) -> list[str]:
        """States of the deliveries."""
        return self.rows.states(schema.deliveries)

    @property
    def deliveries(self) -> Sequence[Any]:
        """Rows of the deliveries."""
        return self.rows.all(schema.deliveries)

    @property
    def status(self) -> tuple[int, str]:
        """What the command shows: how many are stored, and the last failure."""
        with self.rows.database.read() as connection:
            (found,) = status.destinations(connection, ["pacs"])
        return found["stored"], found["last_failure"]

    @property
    def outstanding(self) -> int:
        """Number of things that requests wait to hear of."""
        return len(self.rows.all(schema.commitment_deliveries))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with builders.database(tmp_path) as opened:
        yield Site(Rows(opened), Spool(tmp_path / "objects"))


# Asking


def test_what_is_stored_is_not_delivered_before_the_pacs_has_committed(site: Site) -> None:
    site.stored()
    assert site.states == ["stored", "stored"]
    assert {row.delivered_us for row in site.deliveries} == {None}
    study = site.rows.study()
    assert study.state == "delivering"
    assert study.reason.endswith("deliveries to go")  # as of its last move
    assert site.deliverer.deliver_due() == 0


def test_a_version_is_asked_about_in_one_request(site: Site) -> None:
    built = site.stored()
    assert site.asker.ask_due() == 1
    (request,) = site.ask.asked
    named = tuple(Reference(item.sop_class_uid, item.sop_instance_uid) for item in built)
    assert request.references == named
    assert [row.transaction_uid for row in site.rows.all(schema.commitments)] == [
        request.transaction_uid
    ]
    assert site.outstanding == 2
    assert {row.detail for row in site.deliveries} == {""}  # nothing that has failed
    assert site.asker.ask_due() == 0


def test_versions_are_asked_about_apart_over_one_association(site: Site) -> None:
    site.stored()
    site.stored(study="1.2.4")
    assert site.asker.ask_due() == 2
    assert len({request.transaction_uid for request in site.ask.asked}) == 2
    assert len(site.ask.heard) == 1


def test_without_storage_commitment_nobody_is_asked(site: Site) -> None:
    site.rows.delivering(site.objects)
    peer = remote(PACS, "AXNODE")
    plain = Deliverer(peer, site.rows.database, site.objects, site.rows.clock, send=FakeSend())
    plain.deliver_due()
    assert site.states == ["delivered", "delivered"]
    assert site.rows.all(schema.commitments) == []


def test_only_the_own_destinations_deliveries_are_asked_about(site: Site) -> None:
    site.stored()
    other = remote(PACS.model_copy(update={"name": "other"}), "AXNODE")
    ask = FakeAsk()
    asker = Asker(other, site.rows.database, site.reports, site.rows.clock, ask=ask)
    assert asker.ask_due() == 0


def test_the_request_is_a_row_before_it_goes_out(site: Site) -> None:
    """A crash in between leaves a request that is repeated, and whose report would be known."""
    rows: list[tuple[int, int]] = []

    def look() -> None:
        rows.append((len(site.rows.all(schema.commitments)), site.outstanding))
        raise KeyboardInterrupt

    site.stored()
    site.ask.before = look
    with pytest.raises(KeyboardInterrupt):
        site.asker.ask_due()
    assert rows == [(1, 2)]
    (row,) = site.rows.all(schema.commitments)
    site.ask.before = lambda: None
    site.rows.clock.advance(600)
    assert site.asker.ask_due() == 1
    assert site.ask.asked[0].transaction_uid != row.transaction_uid


def test_every_answer_is_a_sign_of_life(site: Site) -> None:
    signs: list[int] = []
    site.stored()
    site.asker.ask_due(lambda: signs.append(1))
    assert signs == [1]


# Reports


def test_a_report_on_the_same_association_delivers(site: Site) -> None:
    site.ask.reports = report
    site.stored()
    site.asker.ask_due()
    assert site.ask.statuses == [0x0000]
    assert site.ask.heard == [True]
    assert site.states == ["delivered", "delivered"]
    assert {row.delivered_us for row in site.deliveries} == {site.rows.clock()}
    assert {row.detail for row in site.deliveries} == {"stored and committed"}
    study = site.rows.study()
    assert (study.state, study.reason) == ("delivered", "2 deliveries confirmed")
    assert site.outstanding == 0


def test_a_report_on_a_later_association_delivers(site: Site) -> None:
    request = site.asked()
    assert site.ask.heard == [False]
    assert site.take(report(request)) == 0x0000
    assert site.states == ["delivered", "delivered"]
    assert site.rows.study().state == "delivered"


def test_a_report_outlives_a_restart(tmp_path: Path) -> None:
    with builders.database(tmp_path) as first:
        request = Site(Rows(first), Spool(tmp_path / "objects")).asked()
    with builders.database(tmp_path) as second:
        site = Site(Rows(second), Spool(tmp_path / "objects"))
        assert site.take(report(request)) == 0x0000
        assert site.states == ["delivered", "delivered"]


def test_a_repeated_report_changes_nothing_and_is_content(site: Site) -> None:
    request = site.asked()
    for _ in range(2):
        assert site.take(report(request)) == 0x0000
    assert site.rows.story("delivery").count("delivered") == 2


def test_a_request_that_is_answered_is_forgotten_in_time(site: Site) -> None:
    request = site.asked()
    before = site.rows.clock() + 1

    def forget(before_us: int) -> int:
        return site.rows.database.write(lambda c: forget_answered(c, before_us, 10))

    assert forget(before) == 0  # it is waited for
    site.take(report(request, committed=[0]))
    assert forget(before) == 0
    site.take(report(request))
    assert forget(before - 1) == 0  # it may be reported on again
    assert forget(before) == 1
    assert site.rows.all(schema.commitments) == []


def test_a_report_on_part_of_a_request_leaves_the_rest_waiting(site: Site) -> None:
    request = site.asked(3)
    assert site.take(report(request, committed=[1])) == 0x0000
    assert site.states == ["stored", "delivered", "stored"]
    site.rows.clock.advance(600)
    assert site.asker.ask_due() == 1
    assert site.ask.asked[-1].references == (request.references[0], request.references[2])


@pytest.mark.parametrize("names", [["other"], [], ["other", "third"]])
def test_a_report_of_somebody_else_is_refused(site: Site, names: list[str]) -> None:
    request = site.asked()
    assert site.take(report(request), names) == INVALID_ARGUMENT
    assert site.states == ["stored", "stored"]
    assert site.outstanding == 2


def test_a_report_on_an_unknown_transaction_is_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    request = site.asked()
    unknown = Request("2.25.4711", request.references)
    assert site.take(report(unknown)) == INVALID_ARGUMENT
    assert site.states == ["stored", "stored"]
    (line,) = [r for r in caplog.records if getattr(r, "action", "") == "event_report"]
    assert "4711" not in str(line.__dict__)


def test_what_was_not_asked_for_is_passed_over(site: Site) -> None:
    """An instance of another study, and one under another SOP class."""
    request = site.asked(2)
    (other,) = site.stored(1, "1.2.4")
    site.asker.ask_due()
    first, second = request.references
    said = Request(
        request.transaction_uid,
        (first, Reference(builders.US, second.sop_instance_uid), _reference(other)),
    )
    assert site.take(report(said)) == 0x0000
    assert site.states == ["delivered", "stored", "stored"]


def _reference(item: StoredObject) -> Reference:
    return Reference(item.sop_class_uid, item.sop_instance_uid)


def test_a_report_that_cannot_be_written_may_be_repeated(site: Site) -> None:
    request = site.asked()
    site.rows.database.close()
    assert site.take(report(request)) == 0x0110
    with pytest.raises(UnavailableError):
        site.rows.database.write(lambda c: None)


def test_pictures_go_only_when_the_report_has_come(site: Site) -> None:
    """They would stand in for a SEG until the study is at rest."""
    seg = builders.stored(0, site.objects, role="seg")
    picture = builders.stored(1, site.objects, role="sc")
    site.rows.deliver([seg, picture], lambda role: ["pacs"] if role == "seg" else [])
    site.deliverer.deliver_due()
    site.asker.ask_due()
    assert site.objects.path(picture.file_hash).exists()
    site.take(report(site.ask.asked[0]))
    assert not site.objects.path(picture.file_hash).exists()
    assert [row.role for row in site.rows.all(schema.objects)] == ["seg"]


# No report


def test_without_a_report_it_is_asked_anew_under_another_transaction(site: Site) -> None:
    site.asked()
    for wait in (600, 1200, 2400):
        site.rows.clock.advance(wait - 1)
        assert site.asker.ask_due() == 0
        site.rows.clock.advance(1)
        assert site.asker.ask_due() == 1
    uids = [request.transaction_uid for request in site.ask.asked]
    assert len(set(uids)) == 4
    assert len(site.send.sent) == 2  # nothing was sent again


def test_a_late_report_on_an_earlier_transaction_counts(site: Site) -> None:
    """A PACS that takes longer than we wait would never be believed otherwise."""
    first = site.asked()
    site.rows.clock.advance(600)
    site.asker.ask_due()
    assert site.take(report(first)) == 0x0000
    assert site.states == ["delivered", "delivered"]
    assert site.take(report(site.ask.asked[1])) == 0x0000
    assert site.rows.study().state == "delivered"


def test_after_the_last_request_it_is_parked_and_says_why(site: Site) -> None:
    site.asked()
    for _ in range(REPORT.attempts - 1):
        site.rows.clock.advance(REPORT.longest_s)
        assert site.asker.ask_due() == 1
    site.rows.clock.advance(REPORT.longest_s)
    assert site.asker.ask_due() == 0
    assert site.states == ["parked", "parked"]
    (words,) = {row.detail for row in site.deliveries}
    assert words == "not committed after 34 requests: no report came"
    assert site.rows.study().state == "parked"


def test_requests_go_on_for_a_week(site: Site) -> None:
    waits = [REPORT.wait_us(n) / 1e6 for n in range(1, REPORT.attempts + 1)]
    assert waits[0] == 600
    assert 7 * 86_400 <= sum(waits) < 7.5 * 86_400


@pytest.mark.parametrize("jump_s", [-86_400, 86_400, 3650 * 86_400])
def test_a_clock_that_jumps_loses_no_request_and_makes_no_storm(site: Site, jump_s: float) -> None:
    site.asked()
    site.rows.clock.advance(jump_s)
    assert [site.asker.ask_due() for _ in range(3)] == [1, 0, 0]


def test_a_pacs_that_is_gone_is_asked_later(site: Site) -> None:
    site.ask.unreachable = PeerError("pacs cannot be reached", transient=True)
    site.stored()
    assert site.asker.ask_due() == 1
    assert site.states == ["stored", "stored"]
    assert site.status == (2, "pacs cannot be reached")
    site.ask.unreachable = None
    site.rows.clock.advance(600)
    site.asker.ask_due()
    assert site.status == (2, "")
    site.ask.reports = report
    site.rows.clock.advance(1200)
    site.asker.ask_due()
    assert site.status == (0, "")
    assert site.states == ["delivered", "delivered"]


def test_a_pacs_without_the_service_parks(site: Site) -> None:
    site.ask.unreachable = PeerError("pacs does not offer storage commitment", transient=False)
    site.stored()
    site.asker.ask_due()
    assert site.states == ["parked", "parked"]
    assert site.outstanding == 0


@pytest.mark.parametrize(
    ("status", "permanent", "state"),
    [(0x0112, False, "stored"), (None, False, "stored"), (0x0122, True, "parked")],
)
def test_a_refused_request_is_repeated_or_parks(
    site: Site, status: int | None, permanent: bool, state: str
) -> None:
    site.ask.answers = [(status, permanent)]
    site.stored()
    site.asker.ask_due()
    assert site.states == [state, state]
    assert {row.detail for row in site.deliveries} == {f"refused with {status}"}


def test_a_report_after_an_answer_that_was_lost_counts(site: Site) -> None:
    site.ask.answers = [(None, False)]
    request = site.asked()
    assert site.take(report(request)) == 0x0000
    assert site.states == ["delivered", "delivered"]


def test_a_report_before_the_answer_is_not_undone_by_it(site: Site) -> None:
    site.ask.answers, site.ask.reports = [(0x0122, True)], report
    site.stored()
    site.asker.ask_due()
    assert site.states == ["delivered", "delivered"]


# Failures


def test_what_failed_is_sent_again_byte_for_byte(site: Site) -> None:
    request = site.asked()
    assert site.take(report(request, failed=[1])) == 0x0000
    assert site.states == ["delivered", "pending"]
    assert site.deliveries[1].attempts == 0  # sendings, from here on
    assert site.deliveries[1].detail == (
        "the peer does not commit to it: it does not have the object (0x0112)"
    )
    assert site.deliverer.deliver_due() == 0
    site.rows.clock.advance(60)
    assert site.deliverer.deliver_due() == 1
    assert site.send.sent[2] == site.send.sent[1]
    site.ask.reports = report
    assert site.asker.ask_due() == 1
    assert site.ask.asked[-1].references == (request.references[1],)
    assert site.rows.study().state == "delivered"


def test_an_old_transaction_says_nothing_of_what_was_sent_again(site: Site) -> None:
    request = site.asked(1)
    site.take(report(request, failed=[0]))
    site.rows.clock.advance(60)
    site.deliverer.deliver_due()
    for said in (report(request), report(request, failed=[0])):
        assert site.take(said) == 0x0000
        assert site.states == ["stored"]
    assert site.deliveries[0].resends == 1


def test_what_fails_again_and_again_is_parked_and_says_why(site: Site) -> None:
    site.stored(1)
    site.ask.reports = lambda request: report(request, failed=[0], reason=0x0213)
    sendings = 1
    while site.states != ["parked"]:
        assert site.asker.ask_due() == 1
        site.rows.clock.advance(600)
        sendings += site.deliverer.deliver_due()
    assert sendings == RESEND.attempts == 5
    assert len(set(site.send.sent)) == 1
    assert site.deliveries[0].detail.endswith("it is out of resources (0x0213)")
    assert site.rows.study().state == "parked"


@pytest.mark.parametrize("reason", [0x0119, 0x0122])
def test_a_failure_that_the_same_bytes_would_meet_again_parks(site: Site, reason: int) -> None:
    request = site.asked(1)
    site.take(report(request, failed=[0], reason=reason))
    assert site.states == ["parked"]
    assert site.rows.study().state == "parked"


def test_a_transaction_called_a_repetition_is_asked_anew(site: Site) -> None:
    request = site.asked(1)
    site.take(report(request, failed=[0], reason=0x0131))
    assert site.states == ["stored"]
    site.rows.clock.advance(600)
    assert site.asker.ask_due() == 1
    assert len(site.send.sent) == 1


def test_a_person_may_begin_anew(site: Site) -> None:
    site.take(report(site.asked(1), failed=[0]))
    site.rows.clock.advance(60)
    site.deliverer.deliver_due()
    site.asker.ask_due()
    site.take(report(site.ask.asked[-1], failed=[0], reason=0x0122))
    assert (site.states, site.deliveries[0].resends) == (["parked"], 1)
    done = site.rows.database.write(lambda c: unpark.retry(c, STUDY, ["pacs"], site.rows.clock()))
    assert done == "1 delivery is queued again"
    assert (site.deliveries[0].attempts, site.deliveries[0].resends) == (0, 0)
    site.ask.reports = report
    site.deliverer.deliver_due()
    site.asker.ask_due()
    assert site.rows.study().state == "delivered"


def test_a_refused_seg_is_replaced_as_without_commitment(site: Site) -> None:
    seg = builders.stored(0, site.objects, role="seg")
    picture = builders.stored(1, site.objects, role="sc")
    site.rows.deliver([seg, picture], lambda role: ["pacs"] if role == "seg" else [])
    site.send.script = [(Outcome.UNSUPPORTED, None)]
    site.ask.reports = report
    site.deliverer.deliver_due()
    site.deliverer.deliver_due()
    site.asker.ask_due()
    assert site.states == ["replaced", "delivered"]
    assert [_named(request) for request in site.ask.asked] == [[picture.sop_instance_uid]]


def test_a_picture_that_waits_stands_in_for_what_is_refused(site: Site) -> None:
    """A presentation state is refused while its Secondary Capture is stored, not yet committed."""
    capture = builders.stored(0, site.objects, role="sc")
    state = builders.stored(1, site.objects, role="pr")
    site.rows.deliver([capture, state], lambda role: ["pacs"])
    site.send.script = [(Outcome.STORED, 0), (Outcome.UNSUPPORTED, None)]
    site.deliverer.deliver_due()
    assert site.states == ["stored", "replaced"]


def _named(request: Request) -> list[str]:
    return [reference.sop_instance_uid for reference in request.references]


# A configuration that changed


def test_what_waits_for_a_destination_that_is_gone_is_parked(site: Site) -> None:
    request = site.asked()
    site.rows.database.write(lambda c: park_unknown(c, ["other"], site.rows.clock()))
    assert site.states == ["parked", "parked"]
    assert site.rows.study().state == "parked"
    assert site.take(report(request)) == 0x0000
    assert site.states == ["parked", "parked"]


def test_what_waits_is_delivered_where_nobody_asks_any_more(site: Site) -> None:
    site.asked()
    names = ["pacs"]
    site.rows.database.write(lambda c: trust_stored(c, ["other"], site.rows.clock()))
    assert site.states == ["stored", "stored"]
    site.rows.database.write(lambda c: trust_stored(c, names, site.rows.clock()))
    assert site.states == ["delivered", "delivered"]
    assert site.rows.study().state == "delivered"
    assert site.outstanding == 0


def test_what_is_to_be_sent_waits_for_no_report(site: Site) -> None:
    """A peer may let a report come after minutes; the next study is stored meanwhile."""
    waiting, heard, stopping = threading.Event(), threading.Event(), threading.Event()

    def slow(*arguments: Any) -> list[Answer]:
        waiting.set()
        assert heard.wait(60)
        return site.ask(*arguments)

    site.asker._ask = slow
    threads = [
        threading.Thread(target=part.run, args=(stopping, Pulse(), 0.02))
        for part in (site.deliverer, site.asker)
    ]
    site.rows.delivering(site.objects)
    for thread in threads:
        thread.start()
    try:
        assert waiting.wait(60)
        site.rows.delivering(site.objects, study="1.2.4")
        wait_until(lambda: len(site.send.sent) == 4, 60)
    finally:
        stopping.set()
        heard.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_whoever_stores_wakes_who_asks(site: Site) -> None:
    """The polls are an hour here."""
    stopping = threading.Event()
    threads = [
        threading.Thread(target=part.run, args=(stopping, Pulse(), 3600.0))
        for part in (site.asker, site.deliverer)
    ]
    threads[0].start()
    site.rows.delivering(site.objects)
    threads[1].start()
    try:
        wait_until(lambda: len(site.ask.asked) == 1, 60)
    finally:
        stopping.set()
        site.asker.bell.ring()
        site.deliverer._bell.ring()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert len(site.ask.asked[0].references) == 2  # both objects of the version
