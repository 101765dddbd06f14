"""`axnode retry`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import schema, unpark
from daemon.config_destination import Destination
from daemon.deliver import Deliverer
from daemon.errors import InputError
from daemon.outbox import park_unknown
from daemon.spool import Spool
from daemon.ways import remote
from dicom_io.scu import Outcome
from tests import builders
from tests.builders import STUDY, Rows
from tests.fakes import FakeSend

pytestmark = pytest.mark.engines

PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=4242)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with builders.database(tmp_path) as opened:
        yield Rows(opened)


def retry(rows: Rows, uid: str = STUDY, destinations: tuple[str, ...] = ("pacs",)) -> str:
    return rows.database.write(lambda c: unpark.retry(c, uid, destinations, rows.clock()))


def parked(rows: Rows) -> None:
    """Bring the study's analysis to rest after three failures."""
    for _ in range(3):
        rows.fail(rows.claimed())
        rows.clock.advance(60)


def deliver(rows: Rows, objects: Spool, *script: tuple[Outcome, int]) -> None:
    send = FakeSend(list(script))
    Deliverer(remote(PACS, "AXNODE"), rows.database, objects, rows.clock, None, send).deliver_due()


def test_a_parked_analysis_gets_all_its_attempts_again(rows: Rows) -> None:
    rows.queued()
    parked(rows)
    assert retry(rows) == "the analysis is queued again"
    assert (rows.study().state, rows.study().reason) == ("queued", "retried by hand")
    assert rows.claimed().attempt == 1


def test_parked_deliveries_are_tried_again_and_only_they(rows: Rows, tmp_path: Path) -> None:
    objects = Spool(tmp_path / "objects")
    rows.delivering(objects, count=2)
    deliver(rows, objects, (Outcome.PERMANENT, 0xA900))
    assert rows.study().state == "parked"
    assert retry(rows) == "1 delivery is queued again"
    assert rows.study().state == "delivering"
    assert rows.states(schema.deliveries) == ["pending", "delivered"]
    deliver(rows, objects)
    assert rows.study().state == "delivered"


def test_what_nobody_would_send_is_given_up_and_the_study_rests(rows: Rows, tmp_path: Path) -> None:
    """A PACS was renamed: its studies must not wait for it for ever."""
    objects = Spool(tmp_path / "objects")
    rows.delivering(objects, ["old", "pacs"], count=1)
    rows.database.write(lambda c: park_unknown(c, ["pacs"], rows.clock()))
    deliver(rows, objects)
    assert rows.study().state == "parked"
    assert retry(rows) == "1 delivery is given up"
    assert sorted(rows.states(schema.deliveries)) == ["delivered", "dropped"]
    assert (rows.study().state, rows.study().reason) == ("delivered", "1 delivery confirmed")
    with pytest.raises(InputError, match="not parked"):
        retry(rows)


def test_what_is_given_up_holds_back_nothing_that_can_be_sent(rows: Rows, tmp_path: Path) -> None:
    objects = Spool(tmp_path / "objects")
    rows.delivering(objects, ["old", "pacs"], count=1)
    rows.database.write(lambda c: park_unknown(c, ["pacs"], rows.clock()))
    deliver(rows, objects, (Outcome.PERMANENT, 0xA900))
    assert retry(rows) == "1 delivery is queued again; 1 delivery is given up"
    assert rows.study().state == "delivering"
    deliver(rows, objects)
    assert rows.study().state == "delivered"


def test_analysis_and_deliveries_are_tried_again_together(rows: Rows, tmp_path: Path) -> None:
    """A late version failed while an earlier one's report waits for a person: one retry."""
    objects = Spool(tmp_path / "objects")
    rows.delivering(objects, count=1)
    rows.receive("1.2.3.2")
    rows.assemble()
    deliver(rows, objects, (Outcome.PERMANENT, 0xA900))
    rows.clock.advance(builders.INTERVAL_S)
    parked(rows)
    assert rows.study().state == "parked"
    done = retry(rows)
    assert done == "the analysis is queued again; 1 delivery is queued again"
    assert rows.states(schema.deliveries) == ["pending"]
    assert rows.study().state == "queued"
    rows.finish(rows.claimed())
    deliver(rows, objects)
    assert rows.study().state == "delivered"


def test_a_study_of_two_patients_is_looked_at_again(rows: Rows) -> None:
    rows.receive("1.2.3.1", patient="p")
    rows.receive("1.2.3.2", patient="q")
    rows.assemble()
    assert retry(rows) == "the study will be looked at again"
    rows.assemble()
    assert rows.study().state == "parked"
    rows.database.write(lambda c: c.execute(schema.instances.update().values(patient_key="p")))
    retry(rows)
    rows.assemble()
    assert rows.study().state == "queued"


def test_a_superseded_parked_version_is_left_alone(rows: Rows, tmp_path: Path) -> None:
    """An old version that ran after the new one would replace it in the PACS."""
    objects = Spool(tmp_path / "objects")
    rows.queued()
    parked(rows)
    rows.receive("1.2.3.2")
    rows.assemble()
    rows.clock.advance(builders.INTERVAL_S)
    job = rows.claimed()
    assert job.version == 2
    rows.finish(job, [builders.stored(0, objects)], ["pacs"])
    deliver(rows, objects, (Outcome.PERMANENT, 0xA900))
    assert rows.study().state == "parked"
    assert retry(rows) == "1 delivery is queued again"
    assert rows.claim() is None


def test_an_unknown_study_is_said_to_be(rows: Rows) -> None:
    with pytest.raises(InputError, match="axnode studies lists them"):
        retry(rows, "1.2.999")


def test_a_study_that_is_not_parked_is_left_alone(rows: Rows) -> None:
    rows.receive()
    with pytest.raises(InputError, match="the study is receiving, not parked"):
        retry(rows)
    assert rows.story() == ["receiving"]


@pytest.mark.parametrize("what", ["analysis", "delivery"])
def test_a_study_of_two_patients_stays_parked_whatever_is_tried_again(
    rows: Rows, tmp_path: Path, what: str
) -> None:
    """Its delivery or analysis may go on, and then it would look as if all were well."""
    objects = Spool(tmp_path / "objects")
    if what == "analysis":
        rows.queued()
        parked(rows)
    else:
        rows.delivering(objects, count=1)
        deliver(rows, objects, (Outcome.PERMANENT, 0xA900))
    rows.receive("1.2.3.2", patient="another")
    rows.assemble()
    assert rows.study().reason.startswith("its instances name different patients")
    assert retry(rows).endswith("; the study will be looked at again")
    if what == "analysis":
        rows.finish(rows.claimed(), [builders.stored(0, objects)], ["pacs"])
    deliver(rows, objects)
    rows.assemble()
    assert rows.states(schema.deliveries) == ["delivered"]
    assert rows.study().state == "parked"
    assert rows.study().reason.startswith("its instances name different patients")
