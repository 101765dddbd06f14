"""Reception's rules, on requests made by hand; the wire is tested elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from sqlalchemy import Connection, update

from daemon import schema
from daemon.audit_events import Alert, Event, Transfer
from daemon.audit_notes import Notes
from daemon.commitment import Reports
from daemon.config import Config
from daemon.database import Database
from daemon.receive import Reception
from daemon.spool import Spool
from daemon.store import add_refusal, forget_refusals
from dicom_io import part10, syntaxes
from dicom_io.acceptor import Peer, StoreRequest
from dicom_io.errors import InvalidInstanceUID, MalformedInstance, StoreRefused
from tests import builders
from tests.builders import CT, SR, US, Picture, Rows
from tests.fakes import FakeClock, SilentSpool, full_disk, mounted

pytestmark = pytest.mark.engines

PEER = Peer("10.0.0.5", "US1", "AXNODE", "TESTS")
SMALL = builders.tissue(1, 8, 8)


class Site:
    """A node whose rows and files a test can look at."""

    def __init__(self, folder: Path, database: Database, **tables: Any) -> None:
        self.config: Config = builders.config(folder, **tables)
        self.clock = FakeClock()
        self.spool = Spool(folder / "spool")
        self.rows = Rows(database)
        self.noted: list[Event] = []  # for the audit trail
        self.reception = Reception(
            self.config,
            database,
            self.spool,
            self.clock,
            Reports(database, Spool(folder / "objects"), self.clock),
            Notes(self.noted.append),
        )

    def push(
        self,
        ds: Dataset,
        *,
        sop: str = "",
        sop_class: str = "",
        syntax: str = ExplicitVRLittleEndian,
        peer: Peer = PEER,
    ) -> int:
        """Store a data set as the acceptor does: in fragments; return the status."""
        request = StoreRequest(
            peer,
            sop_class or str(ds.SOPClassUID),
            sop or str(ds.get("SOPInstanceUID", "")),
            str(syntax),
        )
        data = encoded(ds, syntax)
        sink = self.reception.store(request)
        try:
            for start in range(0, len(data), 100):
                sink.write(memoryview(data)[start : start + 100])
            return sink.commit()
        except StoreRefused:
            sink.discard()
            raise

    @property
    def files(self) -> list[Path]:
        """Files in the spool, half-written ones too."""
        return [path for path in self.spool.root.rglob("*") if path.is_file()]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with builders.database(tmp_path) as opened:
        yield opened


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    return Site(tmp_path, database)


def image(**changes: Any) -> Dataset:
    return builders.dataset(Picture().but(**changes), SMALL)


def encoded(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, syntax == ImplicitVRLittleEndian
    write_dataset(stream, ds)
    return bytes(stream.getvalue())


def test_an_instance_is_kept_byte_for_byte_and_recorded(site: Site) -> None:
    ds = image()
    assert site.push(ds) == 0x0000
    (row,) = site.rows.all(schema.instances)
    path = site.spool.path(row.instance_hash)
    meta, offset = part10.split(path)
    assert path.read_bytes()[offset:] == encoded(ds)
    assert path.read_bytes()[:128] == bytes(128)
    assert meta.sop_instance_uid == row.sop_instance_uid == "1.2.3.1"
    assert (row.series_uid, row.source_ae, row.size) == ("1.2.3.0.1", "US1", path.stat().st_size)
    assert site.files == [path]
    assert site.rows.study().state == "receiving"


def test_patients_are_told_apart_without_being_named(site: Site) -> None:
    for number, patient in enumerate(("AX-1", "AX-1 ", "AX-2")):
        site.push(image(sop=f"1.2.3.{number}", patient_id=patient))
    keys = [row.patient_key for row in site.rows.all(schema.instances)]
    assert keys[0] == keys[1] != keys[2]
    assert "AX-1" not in str(site.rows.all(schema.instances))


def test_the_same_bytes_again_are_a_success_and_no_news(site: Site) -> None:
    site.push(image())
    before = site.rows.all(schema.studies), site.rows.all(schema.events)
    site.clock.advance(60)
    assert site.push(image()) == 0x0000
    assert (site.rows.all(schema.studies), site.rows.all(schema.events)) == before
    assert len(site.files) == 1


def test_no_row_is_written_for_a_file_that_another_node_deleted_meanwhile(site: Site) -> None:
    ds = builders.dataset(Picture(), SMALL)
    site.push(ds)
    kept = site.spool.path(site.rows.all(schema.instances)[0].instance_hash)
    site.rows.database.write(lambda c: c.execute(schema.instances.delete()))
    with mounted() as share:
        share.deleted(kept)
        with pytest.raises(StoreRefused, match="removed meanwhile; send it again"):
            site.push(ds)
    assert site.rows.all(schema.instances) == []


def test_the_same_image_in_another_syntax_is_a_success_and_told_in_the_timeline(
    site: Site,
) -> None:
    """Headers were compared, not pixels: a person who wonders can see that it happened."""
    site.push(image())
    before = site.rows.all(schema.studies)
    assert site.push(image(), syntax=ImplicitVRLittleEndian) == 0x0000
    assert site.rows.all(schema.studies) == before
    assert len(site.files) == 1
    (event,) = [row for row in site.rows.all(schema.events) if row.entity == "instance"]
    assert event.action == "transcoded"
    assert event.detail.startswith("US1 sent the same image, by its header, in another transfer")
    assert site.rows.all(schema.instances)[0].transfer_syntax_uid == ExplicitVRLittleEndian


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_other_content_under_a_known_uid_is_a_conflict(site: Site, syntax: str) -> None:
    """The first is kept, 0x0111, and the timeline says so (hazards, row 20)."""
    site.push(image())
    (first,) = site.files
    before = first.read_bytes()
    assert site.push(image(number=7), syntax=syntax) == 0x0111
    assert site.files == [first]
    assert first.read_bytes() == before
    assert site.rows.story("instance") == ["conflict"]


def test_a_conflict_deletes_no_other_instances_file(site: Site) -> None:
    """A scanner that leaves the UID to the command gives two instances one hash."""

    def nameless(number: int) -> Dataset:
        ds = image(number=number)
        del ds.SOPInstanceUID
        return ds

    assert site.push(nameless(1), sop="1.2.3.1") == 0x0000
    assert site.push(nameless(2), sop="1.2.3.2") == 0x0000
    assert site.push(nameless(1), sop="1.2.3.2") == 0x0111
    kept = [site.spool.path(row.instance_hash) for row in site.rows.all(schema.instances)]
    assert [path.exists() for path in kept] == [True, True]


@pytest.mark.parametrize("how", ["by its maker", "by its uid"])
def test_our_own_object_back_is_a_success_and_forgotten(site: Site, how: str) -> None:
    site.push(image())
    report = image(sop="1.2.3.9", sop_class=SR)
    if how == "by its maker":
        report.Manufacturer = "AxNode"
    else:
        site.rows.assemble()
        built = builders.stored(0)
        site.rows.finish(site.rows.claimed(), [built])
        report.SOPInstanceUID = built.sop_instance_uid
    before = site.rows.all(schema.studies)
    assert site.push(report) == 0x0000
    assert site.rows.all(schema.studies) == before
    assert len(site.files) == 1
    assert len(site.rows.all(schema.instances)) == 1


def test_a_synthetic_image_of_ours_is_an_image(site: Site) -> None:
    ds = image()
    ds.Manufacturer = "AxNode phantom generator"
    assert site.push(ds) == 0x0000
    assert len(site.rows.all(schema.instances)) == 1


def test_a_report_of_another_system_is_refused(site: Site) -> None:
    with pytest.raises(StoreRefused) as caught:
        site.push(image(sop_class=SR))
    assert caught.value.status == 0x0122
    assert site.files == []


@pytest.mark.parametrize(
    ("sop", "sop_class"), [("1.2.3.99", US), ("1.2.3.1", builders.SECONDARY_CAPTURE)]
)
def test_command_and_data_set_must_agree(site: Site, sop: str, sop_class: str) -> None:
    with pytest.raises(StoreRefused) as caught:
        site.push(image(), sop=sop, sop_class=sop_class)
    assert caught.value.status == 0xA900
    assert (site.files, site.rows.all(schema.instances)) == ([], [])


def test_no_data_set_is_refused(site: Site) -> None:
    sink = site.reception.store(StoreRequest(PEER, US, "1.2.3.1", ExplicitVRLittleEndian))
    with pytest.raises(StoreRefused) as caught:
        sink.commit()
    assert caught.value.status == 0xC000
    assert site.files == []


def test_random_bytes_are_refused(site: Site) -> None:
    sink = site.reception.store(StoreRequest(PEER, US, "1.2.3.1", ExplicitVRLittleEndian))
    sink.write(memoryview(b"\x93\x11\xfe\x07" * 300))
    with pytest.raises(MalformedInstance):
        sink.commit()
    assert (site.files, site.rows.all(schema.instances)) == ([], [])


def test_a_uid_that_is_a_path_is_refused(site: Site) -> None:
    ds = image()
    ds["SOPInstanceUID"]._value = "../../x"
    with pytest.raises(InvalidInstanceUID):
        site.push(ds, sop="../../x")
    assert site.files == []


def test_a_message_that_breaks_off_leaves_nothing(site: Site) -> None:
    sink = site.reception.store(StoreRequest(PEER, US, "1.2.3.1", ExplicitVRLittleEndian))
    sink.write(memoryview(encoded(image())[:50]))
    assert len(site.files) == 1
    sink.discard()
    sink.discard()
    assert (site.files, site.rows.all(schema.instances)) == ([], [])


def test_below_the_disk_floor_nothing_is_taken(tmp_path: Path, database: Database) -> None:
    site = Site(tmp_path, database, node={"disk_floor_gb": 1e9})
    rejection = site.reception.associate(PEER)
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (2, 3, 1)
    with pytest.raises(StoreRefused) as caught:
        site.push(image())
    assert caught.value.status == 0xA700
    assert site.files == []


def test_while_the_images_server_is_away_nobody_is_let_in(
    tmp_path: Path, database: Database
) -> None:
    """PS3.8 9.3.4, transient: the modality tries again, and no thread waits with it."""
    site = Site(tmp_path, database)
    site.reception._spool = SilentSpool(tmp_path / "spool")
    rejection = site.reception.associate(PEER)
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (2, 3, 1)
    assert rejection.message == "node.spool_dir does not answer; is its server there?"


def test_a_database_that_fails_is_out_of_resources(tmp_path: Path) -> None:
    """PS3.4 B.2.3: the modality keeps the instance and tries again; the association lives."""
    with builders.database(tmp_path) as database:
        site = Site(tmp_path, database)
        database.write(_fill_up)
        fill = [image(sop=f"1.2.3.{n}", study=f"1.2.{n}") for n in range(200)]
        with pytest.raises(StoreRefused) as caught:
            list(map(site.push, fill))
        assert caught.value.status == 0xA700
        rows = site.rows.all(schema.instances)
        assert {path.stem for path in site.files} == {row.instance_hash for row in rows}


def _fill_up(connection: Connection) -> None:
    """Have the database take no more."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA max_page_count=1").scalar()
    else:
        connection.exec_driver_sql("ALTER TABLE instances ADD CHECK (id < 3)")


def test_a_disk_that_fills_at_the_first_byte_leaves_no_file_open(site: Site) -> None:
    request = StoreRequest(PEER, US, "1.2.3.1", ExplicitVRLittleEndian)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with full_disk(0):
        for _ in range(3):
            sink = site.reception.store(request)
            with pytest.raises(OSError, match="too large"):
                sink.write(memoryview(b"x"))
            sink.discard()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert site.files == []


def test_an_ignored_class_is_answered_and_discarded(tmp_path: Path, database: Database) -> None:
    site = Site(tmp_path, database, node={"ignore_classes": [CT]})
    assert CT in site.reception.accepted
    for _ in range(3):
        assert site.push(image(sop_class=CT)) == 0x0000
    assert (site.files, site.rows.all(schema.instances)) == ([], [])
    (refusal,) = site.rows.all(schema.refusals)
    assert (refusal.what, refusal.count) == ("ignored CT Image Storage", 3)


def test_what_is_accepted_is_images_and_results(site: Site) -> None:
    accepted = site.reception.accepted
    assert set(accepted) == {*syntaxes.RECEIVED_SOP_CLASSES, *syntaxes.RESULT_SOP_CLASSES}
    assert CT not in accepted


def test_without_sources_everyone_may_call(site: Site) -> None:
    assert site.reception.associate(PEER) is None
    assert site.rows.all(schema.refusals) == []


def test_of_invented_titles_the_latest_are_remembered(site: Site) -> None:
    def refuse(connection: Connection, number: int) -> None:
        add_refusal(connection, "10.0.0.5", f"T{number}", "association", "", "why", number)

    for number in range(5):
        site.rows.database.write(lambda c, n=number: refuse(c, n))
    for most, left in ((7, 5), (5, 5), (2, 2)):
        site.rows.database.write(lambda c, most=most: forget_refusals(c, most))
        assert len(site.rows.all(schema.refusals)) == left
    assert {row.calling_ae for row in site.rows.all(schema.refusals)} == {"T3", "T4"}


def test_a_wrong_called_title_is_rejected_and_recorded(site: Site) -> None:
    rejection = site.reception.associate(Peer("10.0.0.5", "US1", "OTHER", ""))
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (1, 1, 7)
    (refusal,) = site.rows.all(schema.refusals)
    assert (refusal.address, refusal.calling_ae, refusal.what) == ("10.0.0.5", "US1", "association")
    assert "OTHER" in refusal.reason
    assert "AXNODE" in refusal.reason


@pytest.mark.parametrize(
    ("address", "calling", "admitted"),
    [
        ("10.0.0.5", "US1", True),
        ("10.0.0.6", "US1", True),  # listed twice, once a host
        ("10.0.0.7", "US1", False),
        ("10.0.0.7", "US2", True),  # no host: any address
        ("10.0.0.5", "US9", False),
        ("10.0.0.5", "us1", False),
    ],
)
def test_sources_decide_who_may_call(
    tmp_path: Path, database: Database, address: str, calling: str, admitted: bool
) -> None:
    sources = [
        {"ae_title": "US1", "host": "10.0.0.5"},
        {"ae_title": "US1", "host": "10.0.0.6"},
        {"ae_title": "US2"},
    ]
    site = Site(tmp_path, database, sources=sources)
    rejection = site.reception.associate(Peer(address, calling, "AXNODE", ""))
    assert (rejection is None) is admitted
    if rejection is not None:
        assert (rejection.result, rejection.source, rejection.reason) == (1, 1, 3)


@pytest.mark.parametrize(
    ("address", "names", "words"),
    [
        ("10.0.0.5", {"us1.example.org", "localhost"}, None),
        ("10.0.0.5", {"us2.example.org", "a"}, "US1 shows the certificate of a, us2.example.org"),
        ("10.0.0.5", set(), "US1 shows the certificate of nobody"),
        ("10.0.0.5", None, "US1 shows the certificate of nobody"),
        ("10.0.0.6", {"us1.example.org"}, "US1 may not call from this address"),
    ],
)
def test_a_source_is_known_by_its_certificate(
    tmp_path: Path,
    database: Database,
    address: str,
    names: set[str] | None,
    words: str | None,
) -> None:
    site = Site(
        tmp_path,
        database,
        tls={"certificate": "a", "key": "b", "ca": "c"},
        sources=[
            {"ae_title": "US1", "host": "10.0.0.5", "certificate_name": "us1.example.org"},
            {"ae_title": "US2"},
        ],
    )
    held = None if names is None else frozenset(names)
    rejection = site.reception.associate(Peer(address, "US1", "AXNODE", "", held))
    if words is None:
        assert rejection is None
    else:
        assert rejection is not None
        assert (rejection.result, rejection.source, rejection.reason) == (1, 1, 3)
        assert rejection.message.startswith(words)
    assert site.reception.associate(Peer("10.0.0.9", "US2", "AXNODE", "", held)) is None


@pytest.mark.parametrize(
    ("address", "assumed"), [("10.0.0.5", True), ("10.0.0.6", False), ("10.0.0.7", None)]
)
def test_what_a_source_pushes_is_decided_by_title_and_address(
    tmp_path: Path, database: Database, address: str, assumed: bool | None
) -> None:
    """Two modalities may share a title; only one of them pushes nothing but axillae."""
    sources = [
        {"ae_title": "US1", "host": "10.0.0.5", "assume_axilla": True},
        {"ae_title": "US1", "host": "10.0.0.6"},
    ]
    site = Site(tmp_path, database, sources=sources if assumed is not None else [])
    site.push(image(), peer=Peer(address, "US1", "AXNODE", "TESTS"))
    assert [row.assumed for row in site.rows.all(schema.instances)] == [bool(assumed)]


def test_a_rejected_context_is_recorded_in_words(site: Site) -> None:
    for _ in range(2):
        site.reception.context_rejected(
            PEER, CT, ("1.2.840.10008.1.2.1.99",), "class not taken here"
        )
    (refusal,) = site.rows.all(schema.refusals)
    assert (refusal.what, refusal.count) == ("CT Image Storage", 2)
    assert "Deflated" in refusal.transfer_syntaxes
    assert refusal.reason == "class not taken here"


def test_a_broken_association_is_recorded(site: Site) -> None:
    site.reception.association_failed("10.0.0.8", "silence for 30 s", abuse=False, calling_ae="US9")
    (refusal,) = site.rows.all(schema.refusals)
    assert (refusal.address, refusal.reason) == ("10.0.0.8", "silence for 30 s")
    assert (refusal.calling_ae, refusal.what) == ("US9", "association cut short")


def test_a_report_that_is_none_is_answered_with_a_failure_and_noted(site: Site) -> None:
    assert site.reception.event_report(PEER, 1, b"", ExplicitVRLittleEndian) == 0x0115
    (refusal,) = site.rows.all(schema.refusals)
    assert (refusal.calling_ae, refusal.what) == ("US1", "storage commitment report")


COMMITTING = {
    "name": "pacs",
    "ae_title": "PACS",
    "host": "10.0.0.9",
    "port": 104,
    "storage_commitment": True,
}


def test_a_pacs_that_may_only_report_stores_nothing(tmp_path: Path, database: Database) -> None:
    sources = [{"ae_title": "US1", "host": "10.0.0.5"}]
    site = Site(tmp_path, database, sources=sources, destinations=[COMMITTING])
    pacs = Peer("10.0.0.9", "PACS", "AXNODE", "")
    assert site.reception.associate(pacs) is None
    with pytest.raises(StoreRefused, match="may only report") as caught:
        site.push(image(), peer=pacs)
    assert caught.value.status == 0x0124
    assert (site.files, site.rows.all(schema.instances)) == ([], [])


def test_a_report_is_let_in_where_images_find_no_space(tmp_path: Path, database: Database) -> None:
    """What is committed may be purged: turning the report away would keep the disk full."""
    node = {"disk_floor_gb": 1e9}
    sources = [{"ae_title": "US1"}]
    site = Site(tmp_path, database, node=node, sources=sources, destinations=[COMMITTING])
    assert site.reception.associate(Peer("10.0.0.9", "PACS", "AXNODE", "")) is None
    rejection = site.reception.associate(PEER)
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (2, 3, 1)


# After retention has deleted a file


def doom(site: Site, state: str = "doomed") -> None:
    """Give up the files of every instance, as retention does."""
    site.rows.database.write(lambda c: c.execute(update(schema.instances).values(file=state)))


def purge(site: Site) -> None:
    """Delete the files of every instance, as retention does."""
    doom(site, "gone")
    for path in site.files:
        path.unlink()


def test_a_deleted_image_that_comes_again_lies_in_the_spool_again(site: Site) -> None:
    site.push(image())
    before = site.files
    purge(site)
    assert site.push(image()) == 0x0000
    assert site.files == before
    assert [row.file for row in site.rows.all(schema.instances)] == ["kept"]
    assert site.rows.story("instance") == ["kept_again"]


def test_a_deleted_image_may_come_again_in_another_syntax(site: Site) -> None:
    """From an archive, for one: otherwise no study could be sent again whole."""
    site.push(image())
    (first,) = site.rows.all(schema.instances)
    purge(site)
    assert site.push(image(), syntax=ImplicitVRLittleEndian) == 0x0000
    (second,) = site.rows.all(schema.instances)
    assert site.files == [site.spool.path(second.instance_hash)]
    assert second.instance_hash != first.instance_hash
    assert (second.file, second.transfer_syntax_uid) == ("kept", ImplicitVRLittleEndian)
    assert second.size == site.files[0].stat().st_size
    (event,) = [row for row in site.rows.all(schema.events) if row.entity == "instance"]
    assert "other bytes" in event.detail


@pytest.mark.parametrize("changes", [{"patient_id": "AX-2"}, {"series": 2}, {"study": "1.2.4"}])
def test_another_image_under_a_deleted_ones_uid_is_a_conflict(
    site: Site, changes: dict[str, Any]
) -> None:
    site.push(image())
    purge(site)
    assert site.push(image(**changes)) == 0x0111
    assert site.files == []
    (event,) = [row for row in site.rows.all(schema.events) if row.entity == "instance"]
    assert event.action == "conflict"
    assert "the first was deleted, so nothing was compared" in event.detail


def test_a_doomed_file_keeps_its_name_until_it_is_deleted(site: Site) -> None:
    """Else it would lie there for ever."""
    site.push(image())
    before = site.files
    doom(site)
    assert site.push(image(), syntax=ImplicitVRLittleEndian) == 0x0111
    assert site.files == before
    assert site.push(image()) == 0x0000
    assert [row.file for row in site.rows.all(schema.instances)] == ["kept"]


# The audit trail


def transfers(site: Site) -> list[tuple[str, str, str]]:
    """Return action, outcome and instance of what was noted as transferred."""
    return [
        (item.action, item.outcome, item.sop_instance_uid)
        for item in site.noted
        if isinstance(item, Transfer)
    ]


def alerts(site: Site) -> list[tuple[str, str, str]]:
    """Return kind, title and address of the alerts that were noted."""
    return [
        (item.kind.meaning, item.peer_ae, item.peer_address)
        for item in site.noted
        if isinstance(item, Alert)
    ]


def test_what_came_is_noted_with_its_sender_and_no_name(site: Site) -> None:
    site.push(image(patient_id="AX-1"))
    (event,) = site.noted
    assert isinstance(event, Transfer)
    assert (event.peer_ae, event.peer_address, event.sent) == ("US1", "10.0.0.5", False)
    assert (event.study_uid, event.sop_class_uid) == ("1.2.3", US)
    assert event.patient_key == site.rows.all(schema.instances)[0].patient_key
    assert "AX-1" not in str(event)


def test_a_known_image_is_noted_as_known_and_a_conflict_alerts(site: Site) -> None:
    site.push(image())
    site.push(image())
    site.push(image(), syntax=ImplicitVRLittleEndian)
    assert alerts(site) == []
    site.push(image(number=7))
    uid = "1.2.3.1"
    assert transfers(site) == [("C", "0", uid), ("R", "0", uid), ("R", "0", uid), ("R", "4", uid)]
    assert alerts(site) == [("Use of Restricted Function", "US1", "10.0.0.5")]


def test_a_stranger_alerts_and_a_full_disk_does_not(tmp_path: Path, database: Database) -> None:
    full = Site(tmp_path / "full", database, node={"disk_floor_gb": 1e9})
    assert full.reception.associate(PEER) is not None
    assert full.noted == []
    site = Site(tmp_path, database, sources=[{"ae_title": "US2"}])
    for peer in (PEER, Peer("10.0.0.9", "US2", "OTHER", "")):
        assert site.reception.associate(peer) is not None
    assert alerts(site) == [
        ("Node Authentication", "US1", "10.0.0.5"),
        ("Node Authentication", "US2", "10.0.0.9"),
    ]


def test_only_a_broken_protocol_alerts(site: Site) -> None:
    site.reception.association_failed("10.0.0.8", "silence for 30 s", abuse=False)
    site.reception.association_failed("10.0.0.8", "a PDU of an unknown type", abuse=True)
    assert alerts(site) == [("Use of Restricted Function", "", "10.0.0.8")]
