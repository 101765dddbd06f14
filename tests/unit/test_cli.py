"""The command: quick help, one line an error, and the exit codes of the documentation."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import nights, setup
from daemon.cli import COMMANDS, main
from daemon.clock import now_us
from daemon.config import load
from daemon.database import Database
from daemon.spool import Spool
from tests import builders
from tests.builders import CT, STUDY, Picture, Rows

HEAVY = ("torch", "numpy", "pydantic", "sqlalchemy", "pydicom", "fastapi", "alembic", "PIL")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Return a configuration file whose ports are free and whose state lies in tmp_path."""
    path = tmp_path / "axnode.toml"
    path.write_text(
        f'[node]\nport = 0\ndisk_floor_gb = 0\nstate_dir = "{tmp_path / "state"}"\n'
        "[http]\nport = 0\n"
    )
    return path


@pytest.fixture
def rows(settings: Path, tmp_path: Path) -> Iterator[Rows]:
    """Return the rows of a service that has run with `settings`."""
    (tmp_path / "state").mkdir()
    opened = Database(load(settings, {}).database_url)
    yield Rows(opened)
    opened.close()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what stands on standard error, which must be one line."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert error.startswith("axnode ")
    return error


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom daemon.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n"
        f"    print(end.code, sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    for name in COMMANDS:
        assert f"\n    {name} " in done.stdout


LATE = ("torch", "alembic", "apscheduler", "fastapi", "uvicorn", "highdicom")


def test_a_service_opens_its_port_before_it_imports_what_that_does_not_take(
    rows: Rows, settings: Path
) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom daemon.config import load\n"
        "from daemon.service import Service\n"
        "service = Service(load(Path(sys.argv[1]), {}))\nservice._receiving.open()\n"
        f"print(service.port > 0, sorted(set({LATE!r}) & set(sys.modules)))\n"
        "service._receiving.acceptor.stop(0)\nservice.database.close()\n"
    )
    words = [sys.executable, "-c", code, str(settings)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True []"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: axnode {name}")


@pytest.mark.parametrize("words", [[], ["fly"], ["status", "--fast"], ["retry"], ["analyze"]])
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: axnode" in capsys.readouterr().err


COMMANDS_WITH_CONFIG = ("serve", "check", "status", "studies", "retry")


def with_config(name: str, path: Path) -> list[str]:
    return [name, "--config", str(path), *([STUDY] if name == "retry" else [])]


@pytest.mark.parametrize("name", COMMANDS_WITH_CONFIG)
def test_a_missing_configuration_is_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(with_config(name, tmp_path / "none.toml")) == 2
    assert "no configuration at" in one_line(capsys)


@pytest.mark.parametrize("name", COMMANDS_WITH_CONFIG)
def test_bad_toml_is_2(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "axnode.toml").write_text("[node\n")
    assert main(with_config(name, tmp_path / "axnode.toml")) == 2
    assert "is not valid TOML" in one_line(capsys)


def test_an_unknown_key_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "axnode.toml").write_text("[node]\nprot = 1\n")
    assert main(["serve", "--config", str(tmp_path / "axnode.toml")]) == 2
    assert "node.prot: unknown key" in one_line(capsys)


@pytest.mark.parametrize("name", ["status", "studies", "retry"])
def test_a_node_that_never_ran_is_4(
    name: str, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(with_config(name, settings)) == 4
    assert "axnode serve has not run" in one_line(capsys)
    assert not list(settings.parent.rglob("*.sqlite"))


SERVE_EACH = """
import contextlib, io, json, os, sys
from daemon.cli import main
for config, environ in json.loads(sys.argv[1]):
    os.environ.update(environ)
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
        code = main(["serve", "--config", config])
    for name in environ:
        del os.environ[name]
    print(json.dumps([code, error.getvalue()]), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def refused_starts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Start the service in every way that must fail; return exit codes and the line for a person.

    All in one process of its own: the service changes its process's logging and signals.
    """
    folder = tmp_path_factory.mktemp("serve")
    (folder / "file").write_text("a file where the folder should be")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "axnode.sqlite").write_bytes(b"no database " * 500)
    settings = (
        f'[node]\nport = 0\ndisk_floor_gb = 0\nstate_dir = "{folder / "state"}"\n[http]\nport = 0\n'
    )
    pacs = '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "10.0.0.9"\nport = 104\n'
    for name, text in (("plain", settings), ("demonstration", settings + pacs)):
        (folder / f"{name}.toml").write_text(text)
    plain, demonstration = str(folder / "plain.toml"), str(folder / "demonstration.toml")
    (folder / "used").mkdir()
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        setup.lock(folder / "used"),
    ):
        port = str(taken.getsockname()[1])
        # a folder each: one that could not start keeps its lock until its process ends
        cases: dict[str, tuple[str, dict[str, str]]] = {
            "dicom port": (
                plain,
                {"AXNODE_NODE_PORT": port, "AXNODE_NODE_STATE_DIR": str(folder / "one")},
            ),
            "http port": (
                plain,
                {"AXNODE_HTTP_PORT": port, "AXNODE_NODE_STATE_DIR": str(folder / "two")},
            ),
            "state in use": (plain, {"AXNODE_NODE_STATE_DIR": str(folder / "used")}),
            "state is a file": (plain, {"AXNODE_NODE_STATE_DIR": str(folder / "file")}),
            "state below a file": (plain, {"AXNODE_NODE_STATE_DIR": str(folder / "file" / "b")}),
            "bundle": (plain, {"AXNODE_MODEL_BUNDLE": str(folder / "none")}),
            "damaged database": (plain, {"AXNODE_NODE_STATE_DIR": str(folder / "damaged")}),
            "demonstration": (demonstration, {}),
        }
        done = subprocess.run(
            [sys.executable, "-c", SERVE_EACH, json.dumps(list(cases.values()))],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (code, text) for name, (code, text) in zip(cases, answers, strict=True)}


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("dicom port", 4, "cannot listen on 127.0.0.1:"),
        ("http port", 4, "http: cannot listen on 127.0.0.1:"),
        ("state in use", 4, "is in use by another axnode: stop that one"),
        ("state is a file", 4, "cannot write node.state_dir"),
        ("state below a file", 4, "make it a folder that the service's user owns"),
        ("bundle", 2, "model.bundle: no model bundle at"),
        ("damaged database", 4, "database: cannot be opened"),
        ("demonstration", 2, "allow_demonstration = true under [model]"),
    ],
)
def test_a_service_that_cannot_start_says_why(
    case: str, code: int, words: str, refused_starts: dict[str, tuple[int, str]]
) -> None:
    found, error = refused_starts[case]
    lines = [line for line in error.splitlines() if not line.startswith("{")]
    assert (found, len(lines)) == (code, 1), error
    assert lines[0].startswith("axnode serve: ")
    assert words in lines[0]


def test_what_the_service_writes_is_for_its_user_only(tmp_path: Path) -> None:
    """Whatever the umask of who starts it; this one ends once its state is made."""
    (tmp_path / "axnode.toml").write_text("")
    state = tmp_path / "new" / "state"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", "daemon.cli", "serve", "--config", tmp_path / "axnode.toml"],
            env={
                **os.environ,
                "AXNODE_HTTP_PORT": str(taken.getsockname()[1]),
                "AXNODE_NODE_PORT": "0",
                "AXNODE_NODE_STATE_DIR": str(state),
            },
            umask=0o022,
            check=False,
        )
    assert done.returncode == 4
    made = [tmp_path / "new", state, *state.rglob("*")]
    assert {"axnode.sqlite", "lock", "spool", "objects", "scratch"} <= {path.name for path in made}
    assert [path for path in made if path.stat().st_mode & 0o077] == []


SMALL = builders.tissue(1, 16, 16)


def bad_input(kind: str, folder: Path) -> tuple[Path, str]:
    """Make an input that cannot be analysed; return it and the words that must be said."""
    path = folder / "input"
    if kind == "text":
        path.write_text("Dear colleague, please find attached no image at all.")
        return path, "not a DICOM file"
    if kind == "truncated":
        builders.write(path, Picture(), SMALL)
        path.write_bytes(path.read_bytes()[:700])
        return path, "input: "
    if kind == "CT":
        return builders.write(path, Picture(sop_class=CT), SMALL), "CT Image Storage"
    if kind == "empty folder":
        path.mkdir()
        return path, "name DICOM ultrasound files or folders"
    if kind == "empty file":
        path.write_bytes(b"")
        return path, "the file is empty"
    return path, "does not exist"


@pytest.mark.parametrize(
    "kind", ["text", "truncated", "CT", "empty folder", "empty file", "missing"]
)
def test_an_input_that_cannot_be_analysed_is_3(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, words = bad_input(kind, tmp_path)
    assert main(["analyze", str(path), "--out", str(tmp_path / "out")]) == 3
    error = one_line(capsys)
    assert str(path) in error
    assert words in error
    assert not (tmp_path / "out").exists()


def test_an_unwritable_out_folder_is_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = builders.write(tmp_path / "1.dcm", Picture(), SMALL)
    assert main(["analyze", str(path), "--out", str(path / "out")]) == 3
    assert "choose another --out" in one_line(capsys)


@pytest.mark.parametrize("words", [["bundle", "show"], ["bundle", "verify"]])
def test_a_bundle_that_is_not_there_is_2(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, str(tmp_path / "none")]) == 2
    assert "no model bundle at" in one_line(capsys)


def test_status_counts_and_is_1_where_something_is_parked(
    settings: Path, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.queued()
    assert main(["status", "--config", str(settings)]) == 0
    text = capsys.readouterr().out
    assert "queued         1" in text
    assert "none is configured: results stay on this node" in text
    for _ in range(3):
        rows.fail(rows.claimed())
        rows.clock.advance(60)
    assert main(["status", "--config", str(settings), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["studies"]["parked"], report["destinations"]) == (1, [])


def test_status_says_what_needs_a_person_and_no_number_shows(
    settings: Path, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.queued()
    for _ in range(3):
        rows.fail(rows.claimed())
        rows.clock.advance(60)
    assert main(["status", "--config", str(settings)]) == 1
    assert "needs attention" not in capsys.readouterr().out  # the number of parked ones says it
    rows.database.write(lambda c: nights.failed(c, "2026-01-01", "Permission denied", 0))
    words = "the night's work has failed once: Permission denied"
    main(["status", "--config", str(settings)])
    assert f"needs attention\n  {words}\n      put that right" in capsys.readouterr().out
    main(["status", "--config", str(settings), "--json"])
    (told,) = json.loads(capsys.readouterr().out)["attention"]
    assert told["words"] == words


def test_studies_are_listed(settings: Path, rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    rows.queued()
    assert main(["studies", "--config", str(settings), "--json"]) == 0
    (study,) = json.loads(capsys.readouterr().out)
    assert (study["study_uid"], study["state"], study["version"]) == (STUDY, "queued", 1)
    assert main(["studies", "--config", str(settings)]) == 0
    assert f"queued         v1    1 instances  {STUDY}" in capsys.readouterr().out
    assert main(["studies", "--config", str(settings), "--state", "parked", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_retry_says_what_it_did(
    settings: Path, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.clock.now_us = now_us()
    rows.queued()
    assert main(with_config("retry", settings)) == 3
    assert "the study is queued, not parked" in one_line(capsys)
    for _ in range(3):
        rows.fail(rows.claimed())
        rows.clock.advance(60)
    assert main(with_config("retry", settings)) == 0
    assert capsys.readouterr().out == "the analysis is queued again\n"
    assert rows.study().state == "queued"


def test_retry_of_an_unknown_study_is_3(
    settings: Path, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retry", "--config", str(settings), "1.2.999"]) == 3
    assert "axnode studies lists them" in one_line(capsys)


def test_status_of_a_parked_delivery_names_destination_and_reason(
    settings: Path, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write_text(
        settings.read_text()
        + '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\n'
    )
    rows.delivering(Spool(tmp_path / "state" / "objects"), count=2)
    assert main(["status", "--config", str(settings)]) == 0
    assert "pacs           0 delivered, 2 pending, 0 parked" in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_error(settings: Path, rows: Rows) -> None:
    """As in ``axnode studies | head -1``."""
    for number in range(50):
        rows.receive(f"1.2.{number}.1", study=f"1.2.{number}")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "studies", "--config", str(settings)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
