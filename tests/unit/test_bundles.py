"""The bundles of a configuration, and what rules make of them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from daemon import bundles
from daemon.analyser import Analysers
from daemon.child import ChildOptions
from daemon.config import Config
from daemon.errors import ConfigError
from tests import builders, builders_net

PACS = {"name": "pacs", "ae_title": "PACS", "host": "10.0.0.9", "port": 104}


def ruled(tmp_path: Path, *folders: Path | str, model: Path | None = None, **tables: Any) -> Config:
    """Return a configuration whose rules name bundles."""
    rules = [{"name": f"r{n}", "bundle": str(folder)} for n, folder in enumerate(folders)]
    named = {} if model is None else {"bundle": str(model)}
    return builders.config(tmp_path, rules=rules, model=named, **tables)


def test_every_bundle_that_is_named_is_loaded_once(tmp_path: Path) -> None:
    one = builders_net.bundle(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "again")  # another place, the same bundle
    config = ruled(tmp_path, tmp_path / "one", tmp_path / "again", tmp_path / "one")
    found = bundles.load(config)
    assert [each.digest for each in found.every] == [found.first.digest, one.digest]
    assert found.named(None) == found.first
    assert found.named(str(tmp_path / "again")).digest == one.digest != found.first.digest


def test_a_rule_may_name_the_bundle_of_the_node(tmp_path: Path) -> None:
    folder = builders_net.bundle(tmp_path / "one").path
    found = bundles.load(ruled(tmp_path, folder, model=folder))
    assert found.every == (found.first,)
    assert ruled(tmp_path, folder, model=folder).bundles_of_rules == ()


def test_a_missing_bundle_names_its_rule(tmp_path: Path) -> None:
    folder = builders_net.bundle(tmp_path / "one").path
    with pytest.raises(ConfigError, match=r"rules\.1\.bundle: no model bundle at .*none"):
        bundles.load(ruled(tmp_path, folder, tmp_path / "none"))


def test_a_rule_does_not_let_a_demonstration_out(tmp_path: Path) -> None:
    """Even where the node's own bundle may go everywhere."""
    yours = builders_net.bundle(tmp_path / "yours", demonstration=False).path
    demo = builders_net.bundle(tmp_path / "demo", demonstration=True).path
    bundles.load(ruled(tmp_path, model=yours, destinations=[PACS]))
    with pytest.raises(ConfigError, match="is a demonstration and destination 'pacs'"):
        bundles.load(ruled(tmp_path, demo, model=yours, destinations=[PACS]))


def test_the_analysing_process_holds_them_all(tmp_path: Path) -> None:
    made = [builders_net.bundle(tmp_path / name, name=name) for name in ("one", "two")]
    config = ruled(tmp_path, made[1].path, model=made[0].path)
    options = ChildOptions.of(config)
    assert [options.bundle, *options.others] == [each.path for each in made]
    loaded = Analysers.load([options.bundle, *options.others], "cpu")
    said = loaded.describe()
    assert said.pop("digests").split() == [each.digest for each in made]
    assert said == {"digest": made[0].digest, "device": "cpu", "together": "4"}
    for each in made:
        assert loaded.analyse({"bundle": each.digest, "studies": []}, print) == {"studies": []}
