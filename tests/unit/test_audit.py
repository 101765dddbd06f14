"""The audit trail: messages by the standard's schema, and files that survive whatever happens."""

import os
import threading
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from daemon import audit
from daemon.audit import Trail, open_trail
from daemon.audit_events import (
    KNOWN,
    MINOR_FAILURE,
    NODE_AUTHENTICATION,
    RESTRICTED_FUNCTION,
    SOFTWARE_CONFIGURATION,
    Activity,
    Alert,
    Event,
    Noted,
    Transfer,
)
from daemon.audit_messages import messages
from tests import builders
from tests.audit_schema import check, code, roles, subjects
from tests.fakes import NOON_US, FakeClock, full_disk
from tests.peers import wait_until

CAME = Transfer(
    sent=False,
    peer_ae="US1",
    peer_address="10.0.0.5",
    study_uid="1.2.3",
    patient_key="ab" * 32,
    sop_class_uid=builders.US,
    sop_instance_uid="1.2.3.1",
)
SENT = replace(CAME, sent=True, peer_ae="PACS", peer_address="pacs.example")
STRANGER = Alert(NODE_AUTHENTICATION, "XYZ is not among the [[sources]]", "XYZ", "10.0.0.9")
EVENTS = [
    Activity(started=True),
    Activity(started=False),
    CAME,
    replace(CAME, action=KNOWN, outcome=MINOR_FAILURE, words="other content"),
    SENT,
    STRANGER,
    Alert(RESTRICTED_FUNCTION, "a PDU of an unknown type", peer_address="2001:db8::1"),
    Alert(SOFTWARE_CONFIGURATION, "model.bundle: its weights are not those of its card"),
]


def said(*events: Event) -> list[Element]:
    """Return the messages of events that were noted together, checked."""
    noted = [Noted(NOON_US + number, event) for number, event in enumerate(events)]
    return [check(line) for line in messages(noted, "AXNODE")]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_message_is_by_the_standard(event: Event) -> None:
    (root,) = said(event)
    (source,) = root.findall("AuditSourceIdentification")
    assert source.attrib["AuditSourceID"].startswith("AXNODE@")
    (when,) = root.findall("EventIdentification")
    assert when.attrib["EventDateTime"] == "2027-01-15T08:00:00.000+00:00"


def test_the_checker_finds_faults() -> None:
    (line,) = messages([Noted(NOON_US, CAME)], "AXNODE")
    for old, new in (
        ('EventOutcomeIndicator="0"', 'EventOutcomeIndicator="1"'),
        ('UserIsRequestor="true"', 'UserIsRequestor="yes"'),
        ("110153", "110152"),
        ('NumberOfInstances="1"', 'NumberOfInstances="2"'),
        ("<ParticipantObjectName>withheld</ParticipantObjectName>", ""),
        ("AuditSourceID=", "AuditSource="),
        ('ParticipantObjectID="1.2.3"', 'ParticipantObjectID="Doe^Jane"'),
    ):
        assert old in line
        with pytest.raises((AssertionError, ValueError)):
            check(line.replace(old, new))


def test_a_transfer_names_both_ends_the_study_and_the_hash_of_the_patient() -> None:
    for event, ends, hosts in (
        (CAME, ["110153", "110152"], ["10.0.0.5", os.uname().nodename]),
        (SENT, ["110153", "110152"], [os.uname().nodename, "pacs.example"]),
    ):
        (root,) = said(event)
        assert roles(root) == ends
        people = root.findall("ActiveParticipant")
        assert [one.attrib["NetworkAccessPointID"] for one in people] == hosts
        assert [one.attrib["UserIsRequestor"] for one in people] == ["true", "false"]
        assert subjects(root, "110180")[0].attrib["ParticipantObjectID"] == "1.2.3"
        assert subjects(root, "2")[0].attrib["ParticipantObjectID"] == "ab" * 32
    assert people[0].attrib["AlternativeUserID"] == "AETITLES=AXNODE"
    assert people[1].attrib["AlternativeUserID"] == "AETITLES=PACS"


def test_transfers_of_a_study_become_one_message() -> None:
    many = [replace(CAME, sop_instance_uid=f"1.2.3.{n}") for n in range(5)]
    other_class = replace(CAME, sop_class_uid=builders.US_MULTIFRAME, sop_instance_uid="1.2.3.9")
    other_study = replace(CAME, study_uid="1.2.4", sop_instance_uid="1.2.4.1")
    first, second = said(*many[:2], other_study, *many[2:], other_class)
    classes = {
        one.attrib["UID"]: [item.attrib["UID"] for item in one] for one in first.iter("SOPClass")
    }
    assert classes == {
        builders.US: [f"1.2.3.{n}" for n in range(5)],
        builders.US_MULTIFRAME: ["1.2.3.9"],
    }
    assert subjects(second, "110180")[0].attrib["ParticipantObjectID"] == "1.2.4"


def test_alerts_that_say_the_same_become_one_that_says_how_often() -> None:
    (root,) = said(*[STRANGER] * 200)
    (event,) = root.findall("EventIdentification")
    assert event.findtext("EventOutcomeDescription") == f"{STRANGER.words} (200 times)"
    assert code(event, "EventTypeCode") == "110126"
    (detail,) = root.iter("ParticipantObjectDetail")
    assert b64decode(detail.attrib["value"]).decode().startswith("XYZ is not among")


@pytest.mark.parametrize("name", ["<b>\"&'", "a\nb", "\x1b[2J", "\x00", "\ud800", "é"])
def test_what_a_peer_calls_itself_breaks_neither_line_nor_xml(name: str) -> None:
    (line,) = messages([Noted(NOON_US, replace(STRANGER, peer_ae=name, words=name))], "AXNODE")
    assert line.encode().splitlines() == [line.encode()]
    check(line)


# Files


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    made = Trail(tmp_path / "audit", "AXNODE", FakeClock(), gather_s=0.0)
    yield made
    made.stop()


def lines(folder: Path, name: str = "audit-2027-01-15.log") -> list[str]:
    """Return the lines of a day; none where there is no file."""
    path = folder / name
    return path.read_text().splitlines() if path.exists() else []


def test_what_was_noted_is_written_before_the_end(tmp_path: Path) -> None:
    slow = Trail(tmp_path / "audit", "AXNODE", FakeClock(), gather_s=3600.0)
    for event in EVENTS:
        slow.note(event)
    slow.stop()
    written = lines(tmp_path / "audit")
    assert len(written) == len(EVENTS)
    for line in written:
        check(line)
    assert slow.lost == 0


def test_folder_and_files_are_for_the_user_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        made = Trail(tmp_path / "audit", "AXNODE", FakeClock())
        made.note(CAME)
        made.stop()
    finally:
        os.umask(before)
    (path,) = (tmp_path / "audit").iterdir()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_moved_away_or_deleted_is_begun_anew(tmp_path: Path, trail: Trail) -> None:
    folder = tmp_path / "audit"
    for number in range(3):
        trail.note(replace(CAME, study_uid=f"1.2.{number}"))
        wait_until(lambda: len(lines(folder)) == 1, what="the line")
        assert f'"1.2.{number}"' in lines(folder)[0]
        (folder / "audit-2027-01-15.log").rename(folder / f"rotated-{number}")
    assert trail.lost == 0


def test_every_day_has_its_file(tmp_path: Path) -> None:
    clock = FakeClock()
    trail = Trail(tmp_path, "AXNODE", clock, gather_s=0.0)
    trail.note(CAME)
    wait_until(lambda: len(lines(tmp_path)) == 1, what="the line")
    clock.advance(86_400)
    trail.note(CAME)
    trail.stop()
    assert len(lines(tmp_path, "audit-2027-01-16.log")) == 1


def test_on_a_full_disk_events_are_counted_and_no_half_line_stays(
    tmp_path: Path, trail: Trail
) -> None:
    folder = tmp_path / "audit"
    trail.note(CAME)
    wait_until(lambda: len(lines(folder)) == 1, what="the line")
    size = (folder / "audit-2027-01-15.log").stat().st_size
    with full_disk(size + 100):
        for number in range(4):
            trail.note(replace(STRANGER, words=f"reason {number}"))
        wait_until(lambda: trail.lost == 4, what="the loss")
    assert (folder / "audit-2027-01-15.log").stat().st_size == size
    trail.note(SENT)
    wait_until(lambda: len(lines(folder)) == 2, what="the line after")
    for line in lines(folder):
        check(line)


def test_a_folder_that_cannot_be_made_costs_events_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    trail = Trail(tmp_path / "file" / "audit", "AXNODE", FakeClock(), gather_s=0.0)
    trail.note(CAME)
    wait_until(lambda: trail.lost == 1, what="the loss")
    trail.stop()


class StuckClock(FakeClock):
    """A clock at which the writing thread waits, as a disk that hangs would make it."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck, self.gate = threading.Event(), threading.Event()

    def __call__(self) -> int:
        """Tell the time, when it may."""
        if threading.current_thread().name == "audit":
            self.stuck.set()
            self.gate.wait(30)
        return self.now_us


def test_a_writer_that_is_stuck_holds_up_nobody(tmp_path: Path) -> None:
    clock = StuckClock()
    trail = Trail(tmp_path, "AXNODE", clock, gather_s=0.0)
    trail.note(CAME)
    assert clock.stuck.wait(30)
    for _ in range(audit._WAITING + 50):
        trail.note(STRANGER)
    assert trail.lost == 50
    clock.gate.set()
    trail.stop()
    _, line = lines(tmp_path)
    assert f"({audit._WAITING} times)" in line


def test_the_configuration_says_whether_and_where(tmp_path: Path) -> None:
    assert open_trail(builders.config(tmp_path, audit={"enabled": False}), FakeClock()) is None
    for settings, folder in (({}, "audit"), ({"folder": str(tmp_path / "there")}, "there")):
        trail = open_trail(builders.config(tmp_path, audit=settings), FakeClock())
        assert trail is not None
        trail.note(CAME)
        trail.stop()
        assert len(lines(tmp_path / folder)) == 1
