"""``axnode config init`` and ``axnode user``: what they write is what the service reads."""

import io
import os
import pty
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from daemon import cli
from daemon.config import load, parse
from daemon.console.accounts import Accounts, Person
from daemon.errors import ConfigError

EXAMPLE = Path("daemon/axnode.example.toml")
SCRYPT = f"scrypt:15:{'0' * 32}:{'0' * 64}"
GATEWAY = {"name": "GATEWAY", "role": "source", "token_hash": f"sha256:{'0' * 64}"}


def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_without_a_terminal_the_example_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, "")
    file = tmp_path / "axnode.toml"
    assert cli.main(["config", "init", "--out", str(file)]) == 0
    assert "axnode user NAME --role admin" in capsys.readouterr().out
    assert load(file, {}) == parse(tomllib.loads(EXAMPLE.read_text()))
    assert stat.S_IMODE(file.stat().st_mode) & 0o007 == 0


def test_what_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "axnode.toml"
    file.write_text("mine")
    assert cli.main(["config", "init", "--out", str(file)]) == 3
    assert "is there already" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_a_folder_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, "")
    assert cli.main(["config", "init", "--out", str(tmp_path / "no" / "axnode.toml")]) == 3
    assert "cannot write" in capsys.readouterr().err


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    """A person who mistypes an address and a port is asked again."""
    answers = ["AXILLA", "US7", "10.0.0.300", "10.0.0.7", "perhaps", "y", "seventy", "104", ""]
    answers += ["8081", "PACS", "pacs.example", "11113", "anna", "too short"]
    answers += ["correct horse battery", "correct house", "correct horse battery"]
    answers += ["correct horse battery"]
    pid, terminal = pty.fork()
    if pid == 0:
        command = ["-m", "daemon.cli", "config", "init", "--out", str(tmp_path / "axnode.toml")]
        os.execv(sys.executable, [sys.executable, *command])  # noqa: S606
    said = b""
    for answer in answers:
        while not said.endswith(b": "):
            said += os.read(terminal, 4096)
        said = b""
        os.write(terminal, answer.encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    config = load(tmp_path / "axnode.toml", {})
    assert (config.node.ae_title, config.node.host, config.node.port) == ("AXILLA", "0.0.0.0", 104)  # noqa: S104
    assert [(s.ae_title, s.host) for s in config.sources] == [("US7", "10.0.0.7")]
    (pacs,) = config.destinations
    assert (pacs.ae_title, pacs.host, pacs.port) == ("PACS", "pacs.example", 11113)
    accounts = Accounts(config.users, lambda: 0.0)
    assert accounts.by_password("anna", "correct horse battery", "") == Person("anna", "admin")


def test_a_user_is_printed_for_the_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, "correct horse battery\n")
    assert cli.main(["user", "anna", "--role", "admin"]) == 0
    config = parse(tomllib.loads(capsys.readouterr().out))
    accounts = Accounts(config.users, lambda: 0.0)
    assert accounts.by_password("anna", "correct horse battery", "") == Person("anna", "admin")


def test_a_token_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["user", "robot", "--token"]) == 0
    said = capsys.readouterr()
    token = said.err.strip().rpartition(" ")[2]
    assert token not in said.out
    accounts = Accounts(parse(tomllib.loads(said.out)).users, lambda: 0.0)
    assert accounts.by_token(token, "") == Person("robot", "viewer")


def test_a_source_gets_a_token_and_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["user", "GATEWAY 1", "--role", "source"]) == 0
    said = capsys.readouterr()
    tables = {**tomllib.loads(said.out), "sources": [{"ae_title": "GATEWAY 1"}]}
    accounts = Accounts(parse(tables).users, lambda: 0.0)
    token = said.err.strip().rpartition(" ")[2]
    assert accounts.by_token(token, "") == Person("GATEWAY 1", "source")


@pytest.mark.parametrize("name", ['"', "a\nb", "", "x" * 65])
def test_a_name_that_would_break_the_file_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, "correct horse battery\n")
    assert cli.main(["user", name]) == 2
    assert capsys.readouterr().out == ""


def test_a_short_password_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, "short\n")
    assert cli.main(["user", "anna"]) == 3
    assert "at least 12" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"users": [{"name": "a"}]}, "neither password_hash nor token_hash"),
        ({"users": [{"name": "a", "password_hash": "secret"}]}, r"users\.0\.password_hash"),
        ({"users": [{"name": "a", "role": "root"}]}, r"users\.0\.role"),
        (
            {"users": 2 * [{"name": "a", "token_hash": f"sha256:{'0' * 64}"}]},
            "two have the same name",
        ),
        ({"users": [{**GATEWAY, "name": "x" * 17}]}, r"users\.0\.name: a source is named as"),
        ({"users": [{**GATEWAY, "name": "US\xc41"}]}, r"users\.0\.name: a source is named as"),
        ({"users": [{**GATEWAY, "name": "US1 "}]}, r"users\.0\.name: a source is named as"),
        ({"users": [{**GATEWAY, "password_hash": SCRYPT}]}, "a source has a token and no password"),
        (
            {"users": [{"name": "US1", "role": "source", "password_hash": SCRYPT}]},
            "axnode user US1 --role source",
        ),
        (
            {"users": [GATEWAY], "sources": [{"ae_title": "US1"}]},
            r"users\.0\.name: no \[\[sources\]\] entry has this ae_title",
        ),
        ({"http": {"certificate": "a"}}, r"http\.key: missing"),
        ({"notify": {"webhook": "ftp://a"}}, r"notify\.webhook"),
    ],
)
def test_what_cannot_be_meant_is_refused(tables: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(tables)
