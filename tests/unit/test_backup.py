"""Back-up and restore of a node's state."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from daemon import backup, reconcile, schema, setup
from daemon.cli import main
from daemon.config import Config
from daemon.database import Database
from daemon.errors import ConfigError, InputError, UnavailableError
from daemon.spool import Spool
from tests import builders
from tests.builders import Picture, Rows
from tests.node import toml


class Site:
    """A node's state with two studies of one image: one delivers, one is queued."""

    def __init__(self, folder: Path, rows: Rows) -> None:
        self.rows = rows
        self.config = builders.config(folder)
        self.spool, self.objects = Spool(folder / "spool"), Spool(folder / "objects")
        self.rows.receive("1.2.3.1", digest=self.image("1.2.3.1"))
        self.built = [builders.stored(1, self.objects)]
        self.rows.assemble()
        self.rows.finish(self.rows.claimed(), self.built, ["pacs"])
        self.rows.queued("1.2.4.1", "1.2.4", self.image("1.2.4.1"))

    def image(self, sop: str) -> str:
        """Lay an image into the spool."""
        return builders.spooled(self.spool, Picture(sop))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "state").mkdir()
    with builders.database(tmp_path / "state") as opened:
        yield Site(tmp_path / "state", Rows(opened))


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.dcm")
    }


def elsewhere(tmp_path: Path) -> Config:
    return builders.config(tmp_path / "again")


def test_what_was_backed_up_comes_back_whole_and_goes_on(site: Site, tmp_path: Path) -> None:
    """Taken from a node that runs: its database is open, with a log that is not merged."""
    report = backup.back_up(site.config, tmp_path / "copy")
    assert (report.files, report.copied, report.problems) == (3, 3, ())
    config = elsewhere(tmp_path)
    assert backup.restore(config, tmp_path / "copy") == report
    assert tree(config.state_dir) == tree(site.config.state_dir)
    database = Database(config.database_url)
    try:
        again = Rows(database)
        again.clock = site.rows.clock
        for table in (schema.instances, schema.objects, schema.deliveries, schema.events):
            assert again.all(table) == site.rows.all(table)
        assert again.claimed().study_uid == "1.2.4"
        # the UIDs to come differ, those that follow nodes through studies do not
        assert database.database_id != site.rows.database.database_id
        assert database.node_id == site.rows.database.node_id
    finally:
        database.close()
    assert not list(config.state_dir.glob("*.new*"))


def test_a_second_back_up_copies_what_is_new_and_drops_what_is_gone(
    site: Site, tmp_path: Path
) -> None:
    backup.back_up(site.config, tmp_path / "copy")
    site.rows.receive("1.2.4.2", study="1.2.4", digest=site.image("1.2.4.2"))
    gone = builders.stored(7, site.objects)
    Spool(tmp_path / "copy" / "objects").put(site.objects.path(gone.file_hash).read_bytes())
    site.objects.remove(gone.file_hash)
    report = backup.back_up(site.config, tmp_path / "copy")
    assert (report.files, report.copied) == (4, 1)
    assert tree(tmp_path / "copy") == tree(site.config.state_dir)


def test_what_cannot_be_copied_whole_is_named(site: Site, tmp_path: Path) -> None:
    path = site.objects.path(site.built[0].file_hash)
    path.write_bytes(b"other")
    report = backup.back_up(site.config, tmp_path / "copy")
    (line,) = report.problems
    assert "the file of a result of study 1.2.3 is damaged" in line
    assert (report.files, report.copied) == (3, 2)
    restored = backup.restore(elsewhere(tmp_path), tmp_path / "copy")
    assert len(restored.problems) == 1


def test_a_back_up_that_breaks_off_leaves_the_one_before(site: Site, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    backup.back_up(site.config, copy)
    site.rows.receive("1.2.4.2", study="1.2.4", digest=site.image("1.2.4.2"))
    incoming = copy / "spool" / "incoming"
    incoming.rmdir()
    incoming.write_bytes(b"")  # nothing can be written there
    with pytest.raises(UnavailableError):
        backup.back_up(site.config, copy)
    incoming.unlink()
    database = Database(f"sqlite:///{copy / 'axnode.sqlite'}", owner=False)
    try:
        with database.read() as connection:
            uids = connection.execute(select(schema.instances.c.sop_instance_uid)).scalars().all()
        assert uids == ["1.2.3.1", "1.2.4.1"]
        kind = reconcile.instances(Spool(copy / "spool", owner=False))
        assert list(reconcile.harmed(database, kind)) == []
    finally:
        database.close()


def test_a_state_is_never_written_over(site: Site, tmp_path: Path) -> None:
    backup.back_up(site.config, tmp_path / "copy")
    with pytest.raises(InputError, match="holds a node's state: move it away first"):
        backup.restore(site.config, tmp_path / "copy")


def test_a_node_that_runs_is_not_restored_under_its_feet(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup.back_up(site.config, tmp_path / "copy")
    config = elsewhere(tmp_path)
    config.state_dir.mkdir()
    file = tmp_path / "axnode.toml"
    file.write_text(toml({"node": {"state_dir": str(config.state_dir)}}))
    with setup.lock(config.state_dir):
        words = ["restore", "--config", str(file), "--from", str(tmp_path / "copy")]
        assert main(words) == 4
    assert "is in use by another axnode" in capsys.readouterr().err
    assert main(words) == 0
    assert "3 files are in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["restore", "--from", "{}/none"], 3, "no back-up in"),
        (["backup", "--to", "{}/copy"], 3, "nothing to back up in"),
        (["backup", "--to", "{}/axnode.toml"], 3, "nothing to back up in"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "axnode.toml"
    file.write_text(toml({"node": {"state_dir": str(tmp_path / "new")}}))
    command, *rest = (word.format(tmp_path) for word in words)
    assert main([command, "--config", str(file), *rest]) == code
    assert text in capsys.readouterr().err


def test_another_database_is_left_to_its_own_tools(tmp_path: Path) -> None:
    config = builders.config(tmp_path, database={"url": "postgresql+psycopg://localhost/x"})
    for act in (backup.back_up, backup.restore):
        with pytest.raises(ConfigError, match="pg_dump"):
            act(config, tmp_path)


def test_an_empty_node_does_not_wipe_the_back_up_of_another(site: Site, tmp_path: Path) -> None:
    """A node that was installed anew, with the same nightly job."""
    backup.back_up(site.config, tmp_path / "copy")
    config = elsewhere(tmp_path)
    setup.make_folders(config)
    Database(config.database_url).close()
    with pytest.raises(InputError, match="holds the back-up of another node"):
        backup.back_up(config, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(site.config.state_dir)


def test_a_state_folder_is_no_place_for_its_back_up(site: Site) -> None:
    with pytest.raises(InputError, match=r"is node\.state_dir itself"):
        backup.back_up(site.config, site.config.state_dir)
    assert len(site.rows.all(schema.instances)) == 2


def test_a_log_that_was_left_is_not_played_into_what_is_restored(
    site: Site, tmp_path: Path
) -> None:
    backup.back_up(site.config, tmp_path / "copy")
    config = elsewhere(tmp_path)
    config.state_dir.mkdir()
    (config.state_dir / "axnode.sqlite-wal").write_bytes(b"of the node that was")
    with pytest.raises(InputError, match=r"axnode\.sqlite-wal"):
        backup.restore(config, tmp_path / "copy")


def test_two_back_ups_into_one_folder_do_not_meet(site: Site, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with setup.lock(tmp_path / "copy"), pytest.raises(UnavailableError, match="is in use"):
        backup.back_up(site.config, tmp_path / "copy")
    assert backup.back_up(site.config, tmp_path / "copy").files == 3


def test_a_folder_that_a_url_would_cut_is_backed_up(tmp_path: Path) -> None:
    config = builders.config(tmp_path / "a#b")
    setup.make_folders(config)
    with builders.database(config.state_dir) as opened:
        Rows(opened).receive()
        assert backup.back_up(config, tmp_path / "copy").files == 1


def test_what_root_restores_is_the_folders_owners(site: Site, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    backup.back_up(site.config, tmp_path / "copy")
    config = elsewhere(tmp_path)
    config.state_dir.mkdir()
    os.chown(config.state_dir, 12345, 12345)
    backup.restore(config, tmp_path / "copy")
    assert {path.stat().st_uid for path in config.state_dir.rglob("*")} == {12345}
