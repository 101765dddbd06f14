"""What a person has done to a study."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from daemon import by_hand, schema, unpark
from daemon.config_destination import Destination
from daemon.deliver import Deliverer
from daemon.errors import InputError, LostLease, UnknownError
from daemon.lifecycle import FileState
from daemon.spool import Spool
from daemon.ways import remote
from dicom_io.scu import Outcome
from tests import builders
from tests.builders import STUDY, Rows, stored
from tests.fakes import FakeSend

pytestmark = pytest.mark.engines

PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=4242)
SAME, OTHER = ("bundle", "recipe"), ("bundle 2", "recipe")


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with builders.database(tmp_path) as opened:
        yield Rows(opened)


@pytest.fixture
def objects(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "objects")


def send(rows: Rows, destination: str = "pacs", *more: str) -> str:
    roles = ("seg", "sr", *more)
    return rows.database.write(
        lambda c: by_hand.send(
            c, rows.study().id, destination, rows.clock(), by="anna", roles=roles
        )
    )


def analyse(rows: Rows, identity: tuple[str, str] = SAME) -> str:
    return rows.database.write(
        lambda c: by_hand.analyse(c, rows.study().id, identity, rows.clock(), by="anna")
    )


def park(rows: Rows) -> str:
    return rows.database.write(lambda c: by_hand.park(c, rows.study().id, rows.clock(), by="anna"))


def deliver(rows: Rows, objects: Spool, *script: tuple[Outcome, int]) -> FakeSend:
    fake = FakeSend(list(script))
    Deliverer(remote(PACS, "AXNODE"), rows.database, objects, rows.clock, None, fake).deliver_due()
    return fake


def test_what_was_delivered_is_sent_again_as_it_was(rows: Rows, objects: Spool) -> None:
    rows.delivering(objects)
    deliver(rows, objects)
    assert rows.study().state == "delivered"
    assert send(rows) == "2 objects are queued for pacs"
    assert rows.study().state == "delivering"
    assert [row.delivered_us for row in rows.all(schema.deliveries)] == [None, None]
    deliver(rows, objects)
    assert rows.study().state == "delivered"
    assert rows.story("study")[-3:] == ["sent_by_hand", "delivering", "delivered"]


def test_another_destination_gets_objects_and_no_pictures(rows: Rows, objects: Spool) -> None:
    built = [stored(0, objects), stored(1, objects, role="sc")]
    rows.deliver(built, lambda role: ["pacs"] if role == "sr" else [])
    deliver(rows, objects)
    assert send(rows, "other") == "1 objects are queued for other"
    assert rows.states(schema.deliveries) == ["delivered", "pending"]


def test_a_viewer_that_draws_no_contours_gets_pictures_too(rows: Rows, objects: Spool) -> None:
    rows.deliver([stored(0, objects), stored(1, objects, role="sc")], lambda role: [])
    rows.clock.advance(1)
    assert rows.study().state == "delivered"
    # nobody asked for the picture: its file is released when the study comes to rest
    assert send(rows, "other", "sc").endswith("queued for other")


def test_what_is_on_its_way_is_not_sent_twice(rows: Rows, objects: Spool) -> None:
    rows.delivering(objects)
    with pytest.raises(InputError, match="on its way to pacs already"):
        send(rows)


def test_nothing_is_sent_of_a_study_without_results(rows: Rows) -> None:
    rows.receive()
    with pytest.raises(InputError, match="the study is receiving"):
        send(rows)


def test_results_whose_files_are_gone_are_not_sent(rows: Rows, objects: Spool) -> None:
    rows.delivering(objects)
    deliver(rows, objects)
    gone = update(schema.objects).values(file=FileState.GONE)
    rows.database.write(lambda c: c.execute(gone) and None)
    with pytest.raises(InputError, match=r"retention\.results_days"):
        send(rows)
    assert rows.study().state == "delivered"


def test_the_same_bundle_would_say_the_same(rows: Rows, objects: Spool) -> None:
    rows.delivering(objects)
    deliver(rows, objects)
    with pytest.raises(InputError, match="nothing would change"):
        analyse(rows)


def test_another_bundle_reads_the_study_again(rows: Rows, objects: Spool) -> None:
    rows.delivering(objects)
    deliver(rows, objects)
    assert analyse(rows, OTHER) == "the study will be analysed"
    rows.assembler("bundle 2").sweep()
    assert (rows.study().state, rows.study().version) == ("queued", 2)


def test_a_study_that_was_ignored_is_analysed_on_a_persons_word(rows: Rows) -> None:
    rows.receive()
    rows.clock.advance(builders.QUIET_S)
    rows.assembler(eligible=lambda hashes: None).sweep()
    assert rows.study().state == "ignored"
    analyse(rows)
    rows.assembler(eligible=lambda hashes: None).sweep()
    assert rows.study().state == "queued"


def test_what_is_under_way_is_left_alone(rows: Rows) -> None:
    rows.queued()
    with pytest.raises(InputError, match="the study is queued"):
        analyse(rows, OTHER)


def test_a_queued_study_is_set_aside_and_comes_back(rows: Rows) -> None:
    rows.queued()
    assert park(rows) == "the study is parked"
    assert (rows.study().state, rows.study().reason) == ("parked", "parked by hand (anna)")
    assert rows.claim() is None
    rows.database.write(lambda c: unpark.retry(c, STUDY, ["pacs"], rows.clock()))
    assert rows.claimed().attempt == 1


def test_the_answer_to_a_study_set_aside_is_dropped(rows: Rows) -> None:
    rows.queued()
    job = rows.claimed()
    park(rows)
    with pytest.raises(LostLease):
        rows.finish(job)
    assert rows.study().state == "parked"


def test_deliveries_of_a_study_set_aside_wait_for_a_person(rows: Rows, objects: Spool) -> None:
    rows.delivering(objects)
    park(rows)
    assert deliver(rows, objects).sent == []
    assert rows.states(schema.deliveries) == ["parked", "parked"]


def test_a_study_that_still_arrives_is_set_aside_until_more_comes(rows: Rows) -> None:
    rows.receive()
    park(rows)
    rows.assemble()
    assert rows.study().state == "parked"
    rows.receive("1.2.3.2")
    rows.assemble()
    assert rows.study().state == "queued"


def test_what_came_before_it_was_set_aside_is_analysed_after_a_retry(rows: Rows) -> None:
    rows.queued()
    rows.receive("1.2.3.2")
    park(rows)
    rows.database.write(lambda c: unpark.retry(c, STUDY, ["pacs"], rows.clock()))
    rows.finish(rows.claimed())
    rows.clock.advance(builders.INTERVAL_S)
    rows.assemble()
    assert (rows.study().state, rows.study().version) == ("queued", 2)


def test_sending_does_not_forget_that_a_study_has_two_patients(rows: Rows, objects: Spool) -> None:
    rows.delivering(objects)
    deliver(rows, objects)
    rows.receive("1.2.3.9", patient="another")
    rows.assemble()
    assert rows.study().state == "parked"
    send(rows, "other")
    rows.assemble()
    assert (rows.study().state, "different patients" in rows.study().reason) == ("parked", True)


def test_a_study_without_its_images_is_not_analysed_again(rows: Rows, objects: Spool) -> None:
    rows.delivering(objects)
    deliver(rows, objects)
    gone = update(schema.instances).values(file=FileState.GONE)
    rows.database.write(lambda c: c.execute(gone) and None)
    with pytest.raises(InputError, match=r"retention\.instances_days"):
        analyse(rows, OTHER)
    assert rows.study().state == "delivered"


def test_an_answer_to_what_was_set_aside_on_its_way_is_kept_in_words(
    rows: Rows, objects: Spool
) -> None:
    rows.delivering(objects, count=1)
    fake = FakeSend(before=lambda path: park(rows) and None)
    Deliverer(remote(PACS, "AXNODE"), rows.database, objects, rows.clock, None, fake).deliver_due()
    (delivery,) = rows.all(schema.deliveries)
    assert (delivery.state, delivery.status) == ("parked", 0)
    assert "set aside meanwhile" in delivery.detail
    assert rows.study().state == "parked"


def test_a_study_at_rest_is_not_set_aside(rows: Rows, objects: Spool) -> None:
    rows.delivering(objects)
    deliver(rows, objects)
    with pytest.raises(InputError, match="nothing to park"):
        park(rows)


def test_a_study_that_nobody_knows_is_said_to_be_so(rows: Rows) -> None:
    with pytest.raises(UnknownError):
        rows.database.write(lambda c: by_hand.park(c, 7, rows.clock(), by="anna"))
    with pytest.raises(UnknownError), rows.database.read() as connection:
        by_hand.study_id_of(connection, "1.9")
