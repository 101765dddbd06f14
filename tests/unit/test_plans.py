"""What runs often finds its rows by an index: no plan walks a table that grows, or sorts it."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from daemon import claims, metrics, schema, status
from daemon.asker import Asker
from daemon.callers import Callers
from daemon.clock import seconds
from daemon.commitment import Reports, trust_stored
from daemon.custody import Custody
from daemon.database import Database
from daemon.deliver import Deliverer
from daemon.lifecycle import FileState
from daemon.outbox import park_unknown
from daemon.refused import refusals
from daemon.retention import Retention
from daemon.retry import RetryPolicy
from daemon.spool import Spool
from daemon.status import Page
from daemon.store import is_result, is_spooled
from daemon.teller import Teller
from dicom_io.scu import Outcome, Remote
from tests import builders
from tests.builders import INTERVAL_S, STUDY, Rows
from tests.fakes import FakeSend
from tests.plans import faults, plans

PEER = Remote("pacs", "PACS", "127.0.0.1", 4242, "AXNODE")
PAGES = (
    Page(most=50),
    Page(after=(1, 1), most=50),
    Page(since_us=1, until_us=2, most=50),
    Page(state="delivered", most=50),
    Page(source_ae="US1", most=50),
    Page(source_ae="US1", state="delivered", after=(1, 1), most=50),
)


class Site:
    """A node's rows, and what its threads ask of them; none of it has to find anything."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.rows = Rows(database)
        self.folder = folder
        self.objects = Spool(folder / "objects")

    def reception(self) -> None:
        """Receive images, one of them twice, and look them up."""
        self.rows.receive(f"{STUDY}.1")
        self.rows.receive(f"{STUDY}.2")
        self.rows.receive(f"{STUDY}.2")
        with self.database.read() as connection:
            is_result(connection, "1.2")
            is_spooled(connection, "ab")

    def assembly(self) -> None:
        """Assemble a study, and again with a late image."""
        self.rows.receive(f"{STUDY}.1")
        self.rows.assemble()
        self.rows.receive(f"{STUDY}.2")
        self.rows.assemble()

    def claim(self) -> None:
        """Claim nothing, something, and something that was left behind."""
        self.rows.claim()
        self.rows.queued()
        self.rows.claimed()
        self.database.write(lambda c: claims.release(c, "somebody"))
        self.database.write(lambda c: claims.claim(c, 1, seconds(INTERVAL_S)))

    def delivery(self) -> None:
        """Send two results, of which one is to be tried again."""
        self.rows.delivering(self.objects)
        send = FakeSend([(Outcome.STORED, 0), (Outcome.TRANSIENT, None)])
        clock = self.rows.clock
        Deliverer(PEER, self.database, self.objects, clock, RetryPolicy(), send).deliver_due()

    def adoption(self) -> None:
        """Bring deliveries in line with the destinations, as a start does."""
        self.rows.delivering(self.objects, ["other"])
        self.database.write(lambda c: park_unknown(c, ["pacs"], 1))
        self.database.write(lambda c: trust_stored(c, ["pacs"], 1))

    def commitment(self) -> None:
        """Poll for storage commitment, in all three ways."""
        database, clock = self.database, self.rows.clock
        Asker(PEER, database, Reports(database, self.objects, clock), clock).ask_due()
        config = builders.config(self.folder)
        custody = Custody(Callers(config), database, Spool(self.folder / "spool"), clock)
        custody.verify_next()
        Teller("AXNODE", Callers(config), custody, database, clock).tell_next()

    def shown(self) -> None:
        """Ask what `axnode status` and the metrics show."""
        with self.database.read() as connection:
            metrics.rows(connection, ["pacs"], 1)
            refusals(connection, "AXNODE")
            status.purged(connection)

    def page(self, page: Page) -> None:
        """List a page of studies."""
        with self.database.read() as connection:
            status.studies(connection, page)

    def doomed(self) -> None:
        """Only that of a night which is not about what is at rest: that is all there is."""
        config = builders.config(self.folder).retention
        spool = Spool(self.folder / "spool")
        retention = Retention(config, self.database, spool, self.objects, self.rows.clock)
        for kind in retention._kinds:
            retention._delete_all(kind, lambda: True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with builders.database(tmp_path) as opened:
        yield Site(opened, tmp_path)


OFTEN: dict[str, Callable[[Site], None]] = {
    "reception": Site.reception,
    "assembly": Site.assembly,
    "claim": Site.claim,
    "delivery": Site.delivery,
    "adoption": Site.adoption,
    "commitment": Site.commitment,
    "shown": Site.shown,
    "doomed": Site.doomed,
    **{f"page {number}": partial(Site.page, page=page) for number, page in enumerate(PAGES)},
}
USED_BY = {
    "ix_studies_unassembled": "assembly",
    "ix_studies_received": "page 0",
    "ix_studies_state": "page 3",
    "ix_studies_source": "page 4",
    "ix_studies_source_state": "page 5",
    "ix_studies_purged": "shown",
    "ix_instances_study_id": "assembly",
    "ix_instances_instance_hash": "reception",
    "ix_instances_doomed": "doomed",
    "ix_objects_doomed": "doomed",
    "ix_objects_analysis_id": "delivery",
    "ix_analyses_due": "claim",
    "ix_analyses_turns": "claim",
    "ix_deliveries_due": "delivery",
    "ix_deliveries_failed": "shown",
    "ix_commitment_requests_due": "commitment",
    "ix_refusals_last": "shown",
}


@pytest.mark.parametrize("what", OFTEN)
def test_what_runs_often_walks_no_table(site: Site, what: str) -> None:
    with plans(site.database) as found:
        OFTEN[what](site)
    assert found
    assert faults(found) == []


@pytest.mark.parametrize(("index", "what"), USED_BY.items())
def test_every_index_is_used_by_what_it_was_made_for(site: Site, index: str, what: str) -> None:
    with plans(site.database) as found:
        OFTEN[what](site)
    assert any(f"INDEX {index}" in line for plan in found.values() for line in plan)


_STAND_IN = {
    "ix_studies_source_state",
    "ix_analyses_due",
    "ix_analyses_turns",
    "ix_instances_doomed",
    "ix_objects_doomed",
}


@pytest.mark.parametrize("index", sorted(USED_BY.keys() - _STAND_IN))
def test_a_plan_without_its_index_is_seen_to_walk_or_sort(site: Site, index: str) -> None:
    """Except where another index that begins alike finds the rows, among others."""
    site.database.write(lambda c: c.exec_driver_sql(f"DROP INDEX {index}") and None)
    with plans(site.database) as found:
        OFTEN[USED_BY[index]](site)
    assert faults(found) != []


def test_every_index_has_its_use() -> None:
    known = {index.name for table in schema.metadata.tables.values() for index in table.indexes}
    elsewhere = {
        "ix_objects_file_hash",  # the nightly sweep, and retention
        "ix_events_study_id",  # a study's story
        "ix_commitment_deliveries_delivery_id",  # a delivery that moves leaves its requests
    }
    assert known - elsewhere == set(USED_BY)


def test_the_partial_indices_name_states_that_exist() -> None:
    assert f"'{FileState.DOOMED}'" in str(schema.DOOMED)
    assert all(f"'{state}'" in str(schema.FAILED) for state in ("pending", "stored", "parked"))
