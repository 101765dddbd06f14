"""Where pictures go: from the start, and in place of a SEG that a destination refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon import fallback, schema, status, unpark
from daemon.config_destination import Destination
from daemon.deliver import Deliverer
from daemon.events import move_delivery
from daemon.lifecycle import DeliveryState
from daemon.spool import Spool
from daemon.ways import remote
from dicom_io.scu import Outcome
from tests import builders
from tests.builders import Rows
from tests.fakes import FakeSend

pytestmark = pytest.mark.engines

REFUSED = (Outcome.UNSUPPORTED, None)
STORED = (Outcome.STORED, 0)
DRAWS = {"name": "draws", "ae_title": "A", "host": "127.0.0.1", "port": 104}
BLIND = {**DRAWS, "name": "blind", "draws_seg": False}


@pytest.mark.parametrize(
    ("setting", "names"),
    [("off", ["blind"]), ("auto", ["blind"]), ("on", ["draws", "blind"])],
)
@pytest.mark.parametrize(
    ("role", "key"), [("sc", "secondary_capture"), ("pr", "presentation_state")]
)
def test_pictures_go_at_once_where_the_viewer_draws_no_seg(
    tmp_path: Path, role: str, key: str, setting: str, names: list[str]
) -> None:
    config = builders.config(tmp_path, destinations=[DRAWS, BLIND], results={key: setting})
    assert fallback.destinations_for(role, config) == names
    for other in ("seg", "sr"):
        assert fallback.destinations_for(other, config) == ["draws", "blind"]


class Outbox:
    """A study's objects: a SEG and a report are queued, pictures wait unless they are `on`."""

    def __init__(self, rows: Rows, folder: Path) -> None:
        self.rows = rows
        self.objects = Spool(folder / "objects")

    def build(self, *roles: str, at_once: tuple[str, ...] = ("seg", "sr"), pacs: Any = ()) -> None:
        """Bring a study with these objects to its deliveries."""
        built = [builders.stored(n, self.objects, role=role) for n, role in enumerate(roles)]
        names = pacs or ["pacs"]
        self.rows.deliver(built, lambda role: names if role in at_once else [])

    def deliver(self, *answers: Any, name: str = "pacs") -> FakeSend:
        """Deliver what is due, and what became due by it."""
        peer = Destination(name=name, ae_title="PACS", host="127.0.0.1", port=4242)
        send = FakeSend(list(answers))
        deliverer = Deliverer(
            remote(peer, "AXNODE"), self.rows.database, self.objects, self.rows.clock, None, send
        )
        while deliverer.deliver_due():
            pass
        return send

    @property
    def states(self) -> list[tuple[str, str]]:
        """Role and state of every delivery, in the order in which they were queued."""
        roles = {row.id: row.role for row in self.rows.all(schema.objects)}
        return [(roles[row.object_id], row.state) for row in self.rows.all(schema.deliveries)]


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with builders.database(tmp_path) as opened:
        yield Outbox(Rows(opened), tmp_path)


def test_a_refused_seg_is_replaced_by_the_pictures(outbox: Outbox) -> None:
    outbox.build("seg", "sr", "sc", "sc")
    outbox.deliver(REFUSED, STORED, STORED, STORED)
    assert outbox.states == [
        ("seg", "replaced"),
        ("sr", "delivered"),
        ("sc", "delivered"),
        ("sc", "delivered"),
    ]
    study = outbox.rows.study()
    assert study.state == "delivered"
    assert "pictures in place of what was refused" in study.reason
    assert "replaced" in outbox.rows.story("delivery")


def test_a_seg_that_is_taken_sends_no_picture(outbox: Outbox) -> None:
    outbox.build("seg", "sr", "sc")
    send = outbox.deliver(STORED, STORED)
    assert outbox.states == [("seg", "delivered"), ("sr", "delivered")]
    assert len(send.sent) == 2


def test_without_pictures_a_refused_seg_needs_a_person(outbox: Outbox) -> None:
    outbox.build("seg", "sr")
    outbox.deliver(REFUSED, STORED)
    assert outbox.states == [("seg", "parked"), ("sr", "delivered")]


def test_a_refused_report_needs_a_person_though_there_are_pictures(outbox: Outbox) -> None:
    outbox.build("seg", "sr", "sc")
    outbox.deliver(STORED, REFUSED)
    assert outbox.states == [("seg", "delivered"), ("sr", "parked")]


def test_a_seg_that_fails_otherwise_needs_a_person(outbox: Outbox) -> None:
    """0xA900 says that this SEG is wrong, not that no SEG is taken."""
    outbox.build("seg", "sc")
    outbox.deliver((Outcome.PERMANENT, 0xA900))
    assert outbox.states == [("seg", "parked")]


def test_pictures_that_are_refused_too_need_a_person(outbox: Outbox) -> None:
    outbox.build("seg", "sc")
    outbox.deliver(REFUSED, REFUSED)
    assert outbox.states == [("seg", "replaced"), ("sc", "parked")]
    assert outbox.rows.study().state == "parked"


def test_of_two_kinds_of_pictures_one_is_enough(outbox: Outbox) -> None:
    outbox.build("seg", "sc", "pr")
    outbox.deliver(REFUSED, STORED, REFUSED)
    assert outbox.states == [("seg", "replaced"), ("sc", "delivered"), ("pr", "replaced")]
    assert outbox.rows.study().state == "delivered"


def test_a_presentation_state_that_was_ordered_and_refused_needs_a_person(outbox: Outbox) -> None:
    """The SEG was taken, so that no picture goes in its place."""
    outbox.build("seg", "sc", "pr", at_once=("seg", "pr"))
    outbox.deliver(STORED, REFUSED)
    assert outbox.states == [("seg", "delivered"), ("pr", "parked")]


@pytest.mark.parametrize(
    ("results", "destinations", "expected"),
    [
        ({"secondary_capture": "off"}, [DRAWS, BLIND], "never"),
        ({"secondary_capture": "on"}, [], "always"),
        ({}, [], "never"),
        ({}, [DRAWS], "with_nodes"),
        ({}, [DRAWS, BLIND], "always"),
        ({"seg": False}, [DRAWS], "never"),
    ],
)
def test_pictures_are_made_only_where_they_could_go(
    tmp_path: Path, results: dict[str, Any], destinations: list[Any], expected: str
) -> None:
    config = builders.config(tmp_path, destinations=destinations, results=results)
    assert fallback.wanted(config) == expected


def test_pictures_that_nobody_asked_for_are_deleted_at_rest(outbox: Outbox) -> None:
    outbox.build("seg", "sr", "sc")
    (waiting,) = [row for row in outbox.rows.all(schema.objects) if row.role == "sc"]
    assert outbox.objects.path(waiting.file_hash).exists()
    outbox.deliver(STORED, STORED)
    assert [row.role for row in outbox.rows.all(schema.objects)] == ["seg", "sr"]
    assert not outbox.objects.path(waiting.file_hash).exists()


def test_pictures_stay_while_a_delivery_waits_for_a_person(outbox: Outbox) -> None:
    """The SEG may be refused once it is tried again."""
    outbox.build("seg", "sr", "sc")
    outbox.deliver((Outcome.PERMANENT, 0xA900), STORED)
    assert [row.role for row in outbox.rows.all(schema.objects)] == ["seg", "sr", "sc"]


def retry(outbox: Outbox, *destinations: str) -> str:
    rows = outbox.rows
    return rows.database.write(
        lambda c: unpark.retry(c, builders.STUDY, destinations, rows.clock())
    )


def test_what_was_replaced_can_be_sent_later(outbox: Outbox) -> None:
    """The destination was set wrongly: once it takes SEG, a person sends it after all."""
    outbox.build("seg", "sr", "sc")
    outbox.deliver(REFUSED, STORED, STORED)
    assert retry(outbox, "pacs") == "1 delivery is queued again"
    assert outbox.rows.study().state == "delivering"
    outbox.deliver(STORED)
    assert outbox.states == [("seg", "delivered"), ("sr", "delivered"), ("sc", "delivered")]
    assert outbox.rows.study().reason == "3 deliveries confirmed"


def test_what_is_refused_again_is_replaced_again(outbox: Outbox) -> None:
    outbox.build("seg", "sr", "sc")
    outbox.deliver(REFUSED, STORED, STORED)
    retry(outbox, "pacs")
    outbox.deliver(REFUSED)
    assert outbox.states == [("seg", "replaced"), ("sr", "delivered"), ("sc", "delivered")]


def test_pictures_that_were_refused_stand_in_for_nothing(outbox: Outbox) -> None:
    outbox.build("seg", "sc")
    outbox.deliver(REFUSED, REFUSED)
    rows = outbox.rows
    rows.database.write(lambda c: move_delivery(c, 1, DeliveryState.PENDING, "", rows.clock()))
    outbox.deliver(REFUSED)
    assert outbox.states == [("seg", "parked"), ("sc", "parked")]


def test_status_does_not_call_a_replaced_seg_a_failure(outbox: Outbox) -> None:
    outbox.build("seg", "sr", "sc")
    outbox.deliver(REFUSED, STORED, STORED)
    with outbox.rows.database.read() as connection:
        (pacs,) = status.destinations(connection, ["pacs"])
    assert (pacs["replaced"], pacs["last_failure"]) == (1, "")


def test_two_refused_segs_queue_the_pictures_once(outbox: Outbox) -> None:
    outbox.build("seg", "seg", "sc")
    outbox.deliver(REFUSED, REFUSED, STORED)
    assert outbox.states == [("seg", "replaced"), ("seg", "replaced"), ("sc", "delivered")]


def test_pictures_that_went_at_once_are_not_sent_again(outbox: Outbox) -> None:
    outbox.build("seg", "sc", at_once=("seg", "sc"))
    send = outbox.deliver(REFUSED, STORED)
    assert outbox.states == [("seg", "replaced"), ("sc", "delivered")]
    assert len(send.sent) == 2


def test_only_the_destination_that_refuses_gets_the_pictures(outbox: Outbox) -> None:
    outbox.build("seg", "sc", pacs=["pacs", "old"])
    outbox.deliver(STORED, name="pacs")
    outbox.deliver(REFUSED, STORED, name="old")
    rows = outbox.rows.all(schema.deliveries)
    assert [(row.destination, row.state) for row in rows] == [
        ("pacs", "delivered"),
        ("old", "replaced"),
        ("old", "delivered"),
    ]
