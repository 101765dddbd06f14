"""The calendar's work, of a service that was made and not started: no model is loaded."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import schema
from daemon.child import Child, ChildOptions
from daemon.errors import ConfigError
from daemon.service import Service
from tests import builders
from tests.builders import QUIET_S, Rows
from tests.fakes import FakeClock

NO_MODEL = ChildOptions(None, "cpu", 1, command=(sys.executable, "-c", ""))


@contextlib.contextmanager
def made(folder: Path, clock: FakeClock, **tables: object) -> Iterator[Service]:
    """Make a service, and end it."""
    service = Service(builders.config(folder, **tables), clock, Child(NO_MODEL))
    try:
        yield service
    finally:
        service.stop()


@pytest.mark.parametrize(("days", "left"), [(1, "gone"), (0, "kept")])
def test_a_service_deletes_at_night_what_its_configuration_says(
    tmp_path: Path, days: int, left: str
) -> None:
    clock = FakeClock()
    retention = {"instances_days": days, "events_days": days}
    with made(tmp_path, clock, retention=retention) as service:
        rows = Rows(service.database)
        rows.receive()
        rows.clock.advance(QUIET_S)
        rows.assembler(eligible=lambda hashes: None).sweep()
        for _ in range(2):
            clock.advance(86_400)
            service.nightly()
        assert [row.file for row in rows.all(schema.instances)] == [left]
        assert bool(rows.all(schema.events)) is (left == "kept")


def test_a_service_notes_its_end_in_the_audit_trail(tmp_path: Path) -> None:
    with made(tmp_path, FakeClock()) as service:
        assert service.health.metrics()["axnode_audit_lost_total"] == 0
    (path,) = (tmp_path / "audit").iterdir()
    assert "Application Stop" in path.read_text()


def test_a_bundle_that_cannot_be_used_alerts(tmp_path: Path) -> None:
    settings = builders.config(tmp_path, model={"bundle": str(tmp_path / "none")})
    with pytest.raises(ConfigError, match="no model bundle at"):
        Service(settings, FakeClock(), NO_MODEL)
    (path,) = (tmp_path / "audit").iterdir()
    assert "Software Configuration" in path.read_text()


def test_without_a_trail_none_is_written(tmp_path: Path) -> None:
    with made(tmp_path, FakeClock(), audit={"enabled": False}):
        pass
    assert not (tmp_path / "audit").exists()
