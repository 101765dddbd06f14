"""What every command that opens the service's state needs."""

from pathlib import Path
from typing import Any

import pytest

from daemon import bundles, setup
from daemon.config import Config
from daemon.errors import ConfigError, UnavailableError
from model.bundle_file import OperatingPoint
from tests import builders
from tests.fakes import mounted

HERE = {"name": "here", "ae_title": "A", "host": "127.0.0.1", "port": 1}
THERE = {"name": "there", "ae_title": "B", "host": "10.0.0.9", "port": 1}


def config(folder: Path, *destinations: dict[str, Any], **tables: Any) -> Config:
    return builders.config(folder, destinations=list(destinations), **tables)


def test_a_demonstration_stays_on_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        bundles.guard_demonstration(config(tmp_path, HERE, THERE), builders.bundle())
    assert "'there' is not on this machine" in str(caught.value)
    assert "allow_demonstration = true under [model]" in str(caught.value)


@pytest.mark.parametrize("host", ["pacs.example", "192.168.1.2", "0.0.0.0"])  # noqa: S104
def test_only_loopback_is_this_machine(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="is a demonstration"):
        bundles.guard_demonstration(config(tmp_path, {**HERE, "host": host}), builders.bundle())


def test_what_is_allowed_to_leave_leaves(tmp_path: Path) -> None:
    bundles.guard_demonstration(config(tmp_path), builders.bundle())
    bundles.guard_demonstration(config(tmp_path, HERE), builders.bundle())
    bundles.guard_demonstration(config(tmp_path, THERE), builders.bundle(demonstration=False))
    allowed = config(tmp_path, THERE, model={"allow_demonstration": True})
    bundles.guard_demonstration(allowed, builders.bundle())


def test_a_missing_bundle_names_the_key(tmp_path: Path) -> None:
    settings = config(tmp_path, model={"bundle": str(tmp_path / "none")})
    with pytest.raises(ConfigError, match=r"model\.bundle: no model bundle at .*none"):
        bundles.load(settings)


def test_left_out_the_bundle_that_ships_is_taken(tmp_path: Path) -> None:
    bundle = bundles.load(config(tmp_path)).first
    assert bundle.path.name == "bundle"
    assert bundle.demonstration


@pytest.mark.parametrize(
    "tables",
    [
        {"node": {"ae_title": "OTHER"}},
        {"study": {"cine_frames": 7}},
        {"model": {"aggregation": "mean"}},
        {"model": {"operating_point": "x"}},
        {"results": {"seg": False}},
        {"results": {"seg_geometry": "volume"}},
    ],
)
def test_what_changes_the_output_changes_the_recipe(tmp_path: Path, tables: dict[str, Any]) -> None:
    assert setup.recipe_digest(config(tmp_path, **tables)) != setup.recipe_digest(config(tmp_path))


@pytest.mark.parametrize(
    "tables",
    [
        {"node": {"port": 7}},
        {"study": {"quiet_period_s": 7}},
        {"model": {"device": "cpu"}},
        {"http": {"port": 7}},
        {"destinations": [HERE]},
    ],
)
def test_what_does_not_leaves_it(tmp_path: Path, tables: dict[str, Any]) -> None:
    one = builders.config(tmp_path, **tables)
    assert setup.recipe_digest(one) == setup.recipe_digest(builders.config(tmp_path / "elsewhere"))


def test_an_operating_point_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = config(tmp_path, model={"operating_point": "youden"})
    bundle = builders.bundle(OperatingPoint("max_accuracy", 0.5), OperatingPoint("rule_out", 0.2))
    with pytest.raises(ConfigError, match="no 'youden'; it has max_accuracy, rule_out"):
        bundles.make_reader(settings, bundle, "node")


def test_the_folders_are_made_for_the_user_only(tmp_path: Path) -> None:
    state = tmp_path / "state"
    folders = setup.make_folders(config(state))
    assert folders.scratch.is_dir()
    assert (folders.spool.root, folders.objects.root) == (state / "spool", state / "objects")
    assert state.stat().st_mode & 0o077 == 0


def test_a_state_folder_serves_one_service(tmp_path: Path) -> None:
    held = setup.lock(tmp_path)
    with pytest.raises(UnavailableError, match="is in use by another axnode: stop that one"):
        setup.lock(tmp_path)
    held.close()
    setup.lock(tmp_path).close()


def test_a_look_at_the_state_folder_leaves_nothing_in_it(tmp_path: Path) -> None:
    """What ``axnode check`` made as root, the service could not write."""
    state = tmp_path / "state"
    setup.check_writable(config(state))
    assert list(state.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match=r"cannot write node\.state_dir"):
        setup.check_writable(config(tmp_path / "file" / "state"))


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match=r"cannot write node\.state_dir .*file/state"):
        setup.make_folders(config(tmp_path / "file" / "state"))


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"model": {"operating_point": "typo"}}, r"model\.operating_point"),
        ({"database": {"url": "mysql+none://a/b"}}, r"database\.url"),
        ({"node": {"host": "192.0.2.1", "port": 11112}, "allow_any_source": True}, "cannot listen"),
        ({"http": {"certificate": "/none", "key": "/none"}}, r"http\.certificate"),
        ({"model": {"bundle": "/none"}}, r"model\.bundle"),
    ],
)
def test_a_configuration_that_could_not_start_is_not_loaded(
    tmp_path: Path, tables: dict[str, Any], words: str
) -> None:
    now = builders.config(tmp_path)
    setup.check_usable(now, now)
    with pytest.raises(ConfigError, match=words):
        setup.check_usable(builders.config(tmp_path, **tables), now)


def test_a_shared_folder_that_another_node_has_marked_since_is_seen(tmp_path: Path) -> None:
    """Who looked for the mark before it was there finds none for a minute, over NFS."""
    shared = tmp_path / "shared"
    url = "postgresql+psycopg://nowhere/axnode"
    found = config(tmp_path, node={"spool_dir": str(shared)}, database={"url": url})
    with builders.database(tmp_path) as database:
        setup.guard_folder(found, database)
        with mounted() as share:
            share.missing(shared / setup.MARK)
            setup.guard_folder(found, database)
        (shared / setup.MARK).unlink()
        with pytest.raises(UnavailableError, match="does not hold this database's images"):
            setup.guard_folder(found, database)
