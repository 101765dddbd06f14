"""Deliveries: statuses, retries, rest, and bytes that never change."""

import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon import schema, unpark
from daemon.audit_events import Event, Transfer
from daemon.audit_notes import Notes
from daemon.bell import Bell
from daemon.clock import seconds
from daemon.config_destination import Destination
from daemon.deliver import Deliverer, Due, batch
from daemon.outbox import park_unknown
from daemon.pulse import Pulse
from daemon.retry import RetryPolicy
from daemon.spool import Spool
from daemon.ways import remote
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome
from tests import builders
from tests.builders import STUDY, Rows
from tests.fakes import FakeSend

pytestmark = pytest.mark.engines


def exhaust(deliverer: Deliverer) -> None:
    """Deliver until nothing is due."""
    while deliverer.deliver_due():
        pass


PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=4242)
WEEK_S = 7 * 86_400


class Outbox:
    """A study to deliver, and the deliverers that tests make for it."""

    def __init__(self, rows: Rows, objects: Spool) -> None:
        self.rows = rows
        self.objects = objects
        self.noted: list[Event] = []  # for the audit trail

    def deliverer(
        self,
        send: FakeSend,
        name: str = "pacs",
        policy: RetryPolicy | None = None,
        bell: Bell | None = None,
    ) -> Deliverer:
        """Return the thread's work for one destination, not started."""
        peer = remote(PACS.model_copy(update={"name": name}), "AXNODE")
        notes = Notes(self.noted.append)
        return Deliverer(
            peer,
            self.rows.database,
            self.objects,
            self.rows.clock,
            policy,
            send,
            notes,
            bell=bell,
        )


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with builders.database(tmp_path) as opened:
        yield Outbox(Rows(opened), Spool(tmp_path / "objects"))


def test_the_peer_is_the_configured_one() -> None:
    peer = remote(PACS, "AXNODE")
    assert (peer.name, peer.ae_title, peer.host, peer.port, peer.calling_ae) == (
        "pacs",
        "PACS",
        "127.0.0.1",
        4242,
        "AXNODE",
    )


def test_a_peer_with_tls_is_never_talked_to_without() -> None:
    secured = PACS.model_copy(update={"tls": True, "certificate_name": "pacs.example.org"})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    peer = remote(secured, "AXNODE", context)
    assert (peer.tls, peer.certificate_name) == (context, "pacs.example.org")
    assert remote(PACS, "AXNODE", context).tls is None
    with pytest.raises(ValueError, match="without TLS"):
        remote(secured, "AXNODE")


def test_what_is_sent_are_the_stored_bytes_in_one_association(outbox: Outbox) -> None:
    built = outbox.rows.delivering(outbox.objects, count=3)
    send = FakeSend()
    assert outbox.deliverer(send).deliver_due() == 3
    assert send.sent == [outbox.objects.path(item.file_hash).read_bytes() for item in built]
    assert send.associations == 1
    study = outbox.rows.study()
    assert (study.state, study.reason) == ("delivered", "3 deliveries confirmed")
    assert {row.status for row in outbox.rows.all(schema.deliveries)} == {0}
    assert {row.delivered_us for row in outbox.rows.all(schema.deliveries)} == {outbox.rows.clock()}


def test_nothing_is_sent_twice(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects)
    send = FakeSend()
    outbox.deliverer(send).deliver_due()
    assert outbox.deliverer(send).deliver_due() == 0
    assert len(send.sent) == 2


def test_a_transient_refusal_is_tried_again_with_the_same_bytes(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects, count=1)
    send = FakeSend([(Outcome.TRANSIENT, 0xA700)] * 2)
    deliverer = outbox.deliverer(send)
    for wait in (30, 60):
        assert deliverer.deliver_due() == 1
        (row,) = outbox.rows.all(schema.deliveries)
        assert (row.state, row.status, row.detail) == ("pending", 0xA700, "answered transient")
        outbox.rows.clock.advance(wait - 1)
        assert deliverer.deliver_due() == 0
        outbox.rows.clock.advance(1)
    deliverer.deliver_due()
    assert len(set(send.sent)) == 1
    assert outbox.rows.all(schema.deliveries)[0].attempts == 3
    assert outbox.rows.study().state == "delivered"


@pytest.mark.parametrize("outcome", [Outcome.PERMANENT, Outcome.UNSUPPORTED])
def test_a_permanent_refusal_parks_delivery_and_study(outbox: Outbox, outcome: Outcome) -> None:
    outbox.rows.delivering(outbox.objects, count=2)
    outbox.deliverer(FakeSend([(outcome, 0xA900)])).deliver_due()
    assert outbox.rows.states(schema.deliveries) == ["parked", "delivered"]
    study = outbox.rows.study()
    assert (study.state, study.reason) == (
        "parked",
        "1 delivery needs a person: see axnode status",
    )
    assert "pacs: answered" in next(
        row.detail for row in outbox.rows.all(schema.events) if row.entity == "delivery"
    )


def test_a_warning_is_delivered_and_noted(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects, count=1)
    outbox.deliverer(FakeSend([(Outcome.WARNING, 0xB000)])).deliver_due()
    (row,) = outbox.rows.all(schema.deliveries)
    assert (row.state, row.status, row.detail) == ("delivered", 0xB000, "answered warning")


def test_a_day_without_the_pacs_loses_nothing(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects)
    gone = FakeSend(unreachable=PeerError("pacs cannot be reached", transient=True))
    deliverer = outbox.deliverer(gone)
    for _ in range(86_400 // 600):
        exhaust(deliverer)
        outbox.rows.clock.advance(600)
    assert [row.attempts for row in outbox.rows.all(schema.deliveries)] == [144, 144]
    assert outbox.rows.states(schema.deliveries) == ["pending", "pending"]
    exhaust(outbox.deliverer(FakeSend()))
    assert outbox.rows.study().state == "delivered"


def test_after_the_last_attempt_it_is_parked_and_can_be_resumed(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects)
    gone = FakeSend(unreachable=PeerError("pacs cannot be reached", transient=True))
    deliverer = outbox.deliverer(gone, policy=RetryPolicy(attempts=3))
    for _ in range(3):
        exhaust(deliverer)
        outbox.rows.clock.advance(600)
    assert outbox.rows.states(schema.deliveries) == ["parked", "parked"]
    assert outbox.rows.study().state == "parked"
    assert deliverer.deliver_due() == 0


def test_a_peer_that_rejects_us_for_good_parks(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects)
    send = FakeSend(unreachable=PeerError("calling AE title not recognised", transient=False))
    outbox.deliverer(send).deliver_due()
    assert outbox.rows.states(schema.deliveries) == ["parked", "parked"]
    assert outbox.rows.all(schema.deliveries)[0].detail == "calling AE title not recognised"


def test_what_was_answered_before_the_line_broke_counts(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects, count=3)
    send = FakeSend([(Outcome.STORED, 0)], unreachable=PeerError("the line broke", transient=True))
    outbox.deliverer(send).deliver_due()
    assert outbox.rows.states(schema.deliveries) == ["delivered", "pending", "pending"]
    assert [row.attempts for row in outbox.rows.all(schema.deliveries)] == [1, 1, 1]


def test_an_answer_is_recorded_as_it_comes(outbox: Outbox) -> None:
    """A crash in mid-batch costs one resend, not all."""
    outbox.rows.delivering(outbox.objects, count=2)
    states: list[list[str]] = []
    send = FakeSend(before=lambda path: states.append(outbox.rows.states(schema.deliveries)))
    outbox.deliverer(send).deliver_due()
    assert states == [["pending", "pending"], ["delivered", "pending"]]


def test_one_dead_destination_holds_up_nobody(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects, ["dead", "alive"], count=1)
    gone = FakeSend(unreachable=PeerError("dead cannot be reached", transient=True))
    outbox.deliverer(gone, "dead").deliver_due()
    outbox.deliverer(FakeSend(), "alive").deliver_due()
    found = {row.destination: row.state for row in outbox.rows.all(schema.deliveries)}
    assert found == {"dead": "pending", "alive": "delivered"}
    assert outbox.rows.study().state == "delivering"
    outbox.rows.clock.advance(30)
    outbox.deliverer(FakeSend(), "dead").deliver_due()
    assert outbox.rows.study().state == "delivered"


def test_a_refusal_for_one_destination_waits_for_a_person_whatever_the_others_say(
    outbox: Outbox,
) -> None:
    outbox.rows.delivering(outbox.objects, ["strict", "slow"], count=1)
    outbox.deliverer(FakeSend([(Outcome.PERMANENT, 0xC000)]), "strict").deliver_due()
    assert outbox.rows.study().state == "parked"
    outbox.deliverer(FakeSend(), "slow").deliver_due()
    assert outbox.rows.study().state == "parked"
    assert sorted(outbox.rows.states(schema.deliveries)) == ["delivered", "parked"]


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    objects = Spool(tmp_path / "objects")
    with builders.database(tmp_path) as first:
        outbox = Outbox(Rows(first), objects)
        built = outbox.rows.delivering(objects, count=1)
        outbox.deliverer(FakeSend([(Outcome.TRANSIENT, None)])).deliver_due()
    with builders.database(tmp_path) as second:
        outbox = Outbox(Rows(second), Spool(tmp_path / "objects"))
        outbox.rows.clock.advance(3600)
        send = FakeSend()
        assert outbox.deliverer(send).deliver_due() == 1
        assert send.sent == [objects.path(built[0].file_hash).read_bytes()]
        assert outbox.rows.study(STUDY).state == "delivered"


@pytest.mark.parametrize("jump_s", [-86_400, 86_400, 3650 * 86_400])
def test_a_clock_that_jumps_loses_no_delivery_and_makes_no_storm(
    outbox: Outbox, jump_s: float
) -> None:
    outbox.rows.delivering(outbox.objects, count=1)
    send = FakeSend([(Outcome.TRANSIENT, None)] * 3)
    deliverer = outbox.deliverer(send)
    deliverer.deliver_due()
    outbox.rows.clock.advance(jump_s)
    assert [deliverer.deliver_due() for _ in range(3)] == [1, 0, 0]
    (row,) = outbox.rows.all(schema.deliveries)
    assert row.due_us == outbox.rows.clock() + seconds(60)


def test_a_delivery_while_a_new_version_is_queued_moves_no_study(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects, count=1)
    outbox.rows.receive("1.2.3.2")
    outbox.rows.assemble()
    outbox.deliverer(FakeSend()).deliver_due()
    assert outbox.rows.states(schema.deliveries) == ["delivered"]
    assert outbox.rows.study().state == "queued"


def test_what_is_on_its_way_is_a_sign_of_life(outbox: Outbox) -> None:
    """A PACS that takes a minute for each object is slow, and the node is not dead."""
    outbox.rows.delivering(outbox.objects, count=3)
    signs: list[int] = []
    send = FakeSend()
    outbox.deliverer(send).deliver_due(lambda: signs.append(len(send.sent)))
    assert signs[-3:] == [0, 1, 2]


def test_a_hundred_objects_are_one_association(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects, count=101)
    send = FakeSend()
    deliverer = outbox.deliverer(send)
    assert [deliverer.deliver_due() for _ in range(3)] == [100, 1, 0]
    assert send.associations == 2


@pytest.mark.parametrize(
    ("suspects", "sent"),
    [(set(), [0, 1, 2]), ({1}, [0, 2]), ({0, 2}, [1]), ({0, 1, 2}, [0]), ({7}, [0, 1, 2])],
)
def test_suspects_travel_alone_and_last(suspects: set[int], sent: list[int]) -> None:
    due = [Due(number, 1, 0, "hash") for number in range(3)]
    assert [item.delivery_id for item in batch(due, suspects)] == sent
    assert batch([], suspects) == []


def test_an_object_at_which_the_pacs_aborts_holds_up_no_other(outbox: Outbox) -> None:
    built = outbox.rows.delivering(outbox.objects, count=5)
    send = FakeSend(aborts_at=outbox.objects.path(built[0].file_hash))
    deliverer = outbox.deliverer(send)
    exhaust(deliverer)
    assert outbox.rows.states(schema.deliveries) == ["pending"] * 5
    outbox.rows.clock.advance(30)
    exhaust(deliverer)
    assert outbox.rows.states(schema.deliveries) == ["pending", *["delivered"] * 4]


def test_after_an_outage_everything_goes_over_one_association(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects, count=20)
    send = FakeSend(unreachable=PeerError("pacs cannot be reached", transient=True))
    deliverer = outbox.deliverer(send)
    for _ in range(5):
        exhaust(deliverer)
        outbox.rows.clock.advance(600)
    send.unreachable = None
    exhaust(deliverer)
    assert outbox.rows.study().state == "delivered"
    assert send.associations == 6


def test_a_destination_that_was_taken_out_parks_what_waits_for_it(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects, ["old", "pacs"], count=1)
    clock = outbox.rows.clock
    outbox.rows.database.write(lambda c: park_unknown(c, ["pacs"], clock()))
    found = {row.destination: (row.state, row.detail) for row in outbox.rows.all(schema.deliveries)}
    assert found["old"] == ("parked", "destination old is no longer configured")
    assert found["pacs"][0] == "pending"
    assert outbox.rows.study().state == "parked"


def test_the_thread_is_woken_by_its_bell(outbox: Outbox) -> None:
    """The poll is an hour here: what is sent sooner was rung for."""
    bell, stopping, sent = Bell(), threading.Event(), threading.Event()
    send = FakeSend(before=lambda path: sent.set())
    deliverer = outbox.deliverer(send, bell=bell)
    thread = threading.Thread(target=deliverer.run, args=(stopping, Pulse(), 3600.0))
    thread.start()
    try:
        outbox.rows.delivering(outbox.objects, count=1)
        bell.ring()
        assert sent.wait(60)
    finally:
        stopping.set()
        bell.ring()
        thread.join(60)
    assert not thread.is_alive()


def test_the_thread_delivers_and_stops(outbox: Outbox) -> None:
    outbox.rows.delivering(outbox.objects, count=1)
    stopping, sent = threading.Event(), threading.Event()
    send = FakeSend(before=lambda path: sent.set())
    thread = threading.Thread(
        target=outbox.deliverer(send).run, args=(stopping, Pulse()), daemon=True
    )
    thread.start()
    assert sent.wait(20)
    stopping.set()
    thread.join(20)
    assert not thread.is_alive()
    assert outbox.rows.study().state == "delivered"


@pytest.mark.parametrize(
    ("harm", "what"),
    [(Path.unlink, "missing"), (lambda path: path.write_bytes(b"other"), "damaged")],
)
def test_what_is_not_what_was_built_is_never_sent(
    outbox: Outbox, harm: Callable[[Path], object], what: str
) -> None:
    built = outbox.rows.delivering(outbox.objects, count=2)
    harm(outbox.objects.path(built[0].file_hash))
    send = FakeSend()
    exhaust(outbox.deliverer(send))
    assert send.sent == [b"object 1 of 1.2.3"]
    parked, delivered = outbox.rows.all(schema.deliveries)
    assert (parked.state, delivered.state) == ("parked", "delivered")
    assert parked.detail == f"not sent: its stored file is {what}; axnode retry makes a new version"
    assert [row.file for row in outbox.rows.all(schema.objects)] == ["lost", "kept"]
    assert outbox.rows.study().state == "parked"


def test_lost_bytes_mean_a_new_version(outbox: Outbox) -> None:
    """Never a rebuild: the UIDs of what was lost are not used again."""
    built = outbox.rows.delivering(outbox.objects, count=2)
    outbox.objects.remove(built[0].file_hash)
    exhaust(outbox.deliverer(FakeSend()))
    words = outbox.rows.database.write(
        lambda c: unpark.retry(c, builders.STUDY, ["pacs"], outbox.rows.clock())
    )
    assert words == "1 object is lost, and a new version is made"
    outbox.rows.clock.advance(builders.INTERVAL_S)
    outbox.rows.assemble()
    job = outbox.rows.claimed()
    # the one report that the PACS has is what it replaces
    assert (job.version, job.predecessors[0][1]) == (2, built[1].sop_instance_uid)
    outbox.rows.finish(job)
    assert outbox.rows.study().state == "delivered"
    outbox.rows.assemble()
    assert outbox.rows.study().version == 2  # and no third one


def test_a_disk_that_does_not_answer_for_one_object_holds_up_no_other(outbox: Outbox) -> None:
    built = outbox.rows.delivering(outbox.objects, count=2)
    path = outbox.objects.path(built[0].file_hash)
    path.unlink()
    path.mkdir()  # reading it fails, as a bad sector does
    send = FakeSend()
    outbox.deliverer(send).deliver_due()
    assert send.sent == [b"object 1 of 1.2.3"]
    assert outbox.rows.states(schema.deliveries) == ["pending", "delivered"]
    assert "cannot be read" in outbox.rows.all(schema.deliveries)[0].detail


def test_what_arrived_and_what_was_refused_is_noted_and_no_try(outbox: Outbox) -> None:
    built = outbox.rows.delivering(outbox.objects, count=3)
    outcomes = [(Outcome.TRANSIENT, 0xA700), (Outcome.WARNING, 0xB000), (Outcome.PERMANENT, 0xA900)]
    outbox.deliverer(FakeSend(outcomes)).deliver_due()
    arrived, refused = outbox.noted
    assert isinstance(arrived, Transfer)
    assert isinstance(refused, Transfer)
    assert arrived == Transfer(
        sent=True,
        peer_ae="PACS",
        peer_address="127.0.0.1",
        study_uid=STUDY,
        patient_key="p",
        sop_class_uid=built[1].sop_class_uid,
        sop_instance_uid=built[1].sop_instance_uid,
    )
    assert (refused.outcome, refused.words) == ("8", "answered permanent")
    assert refused.sop_instance_uid == built[2].sop_instance_uid
