"""Another bundle in a configuration that somebody has commented, and the way back."""

import stat
import tomllib
from pathlib import Path

import pytest

from daemon import cli
from daemon.config_edit import SHIPPED, bundle_before, replace, with_bundle
from model.bundle_file import SHIPPED as FOLDER
from tests.node import toml

PLAIN = """# mine
[node]
ae_title = "A"

[model]  # the model
# a word
device = "cpu"

[http]
port = 1
"""


@pytest.mark.parametrize(
    "text", [PLAIN, "", "[model]\n", PLAIN.replace("[model]", "[model]\nbundle = '/a'\n#")]
)
def test_a_bundle_is_named_and_the_rest_stays(text: str) -> None:
    named = with_bundle(text, "/b")
    before, after = tomllib.loads(text), tomllib.loads(named)
    assert after.pop("model") == {**before.pop("model", {}), "bundle": "/b"}
    assert after == before
    assert ("# mine" in named) == ("# mine" in text)


def test_the_way_back_is_known() -> None:
    assert bundle_before(PLAIN) is None
    first = with_bundle(PLAIN, "/one")
    assert bundle_before(first) == SHIPPED
    second = with_bundle(first, "/two")
    assert bundle_before(second) == "/one"
    shipped = with_bundle(second, None)
    assert bundle_before(shipped) == "/two"
    assert "bundle" not in tomllib.loads(shipped)["model"]
    again = with_bundle(shipped, "/two")
    assert bundle_before(again) == SHIPPED
    assert again.count("bundle") == 1


def test_the_file_keeps_its_mode_and_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "axnode.toml"
    file.write_text(PLAIN)
    file.chmod(0o640)
    replace(file, with_bundle(PLAIN, "/b"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["axnode.toml"]


def test_a_bundle_is_used_and_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "axnode.toml"
    file.write_text(toml({"node": {"state_dir": str(tmp_path)}}))
    words = ["bundle", "use", str(FOLDER), "--config", str(file)]
    assert cli.main(["bundle", "back", "--config", str(file)]) == 3
    assert cli.main(words) == 0
    assert tomllib.loads(file.read_text())["model"]["bundle"] == str(FOLDER)
    assert "systemctl reload axnode" in capsys.readouterr().out
    assert cli.main(words) == 0
    assert "already" in capsys.readouterr().out
    assert cli.main(["bundle", "back", "--config", str(file)]) == 0
    assert "bundle" not in tomllib.loads(file.read_text())["model"]


def test_one_that_could_not_serve_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "axnode.toml"
    file.write_text(toml({"node": {"state_dir": str(tmp_path)}}))
    before = file.read_text()
    assert cli.main(["bundle", "use", str(tmp_path / "none"), "--config", str(file)]) == 2
    assert "no model bundle" in capsys.readouterr().err
    assert file.read_text() == before
