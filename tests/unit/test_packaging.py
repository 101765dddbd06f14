"""The files that install, configure and guard AxNode agree with the code and with each other."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel

from daemon.config import Config, parse
from deploy.supply import lock
from tests.check_no_skips import main as check_no_skips
from tests.check_no_skips import problems

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "axnode.example.toml"
UNIT = ROOT / "deploy" / "axnode.service"
PACKAGES = ("daemon", "dicom_io", "model", "sample_dicoms")


def requirements() -> list[Requirement]:
    """Return everything pyproject.toml asks for, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for group in [project["dependencies"], *extras] for line in group]


def test_every_requirement_is_pinned_to_a_version_it_allows() -> None:
    pinned = lock.constraints()
    for requirement in requirements():
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} has no line in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} against {version}"


def test_pinned_versions_are_exact() -> None:
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in lock.constraints().values())


def test_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    """Weights, samples, migrations and templates are read from the installed packages."""
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    expected = {
        str(path.relative_to(source)) for name in PACKAGES for path in files_below(source / name)
    }
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (wheel,) = wheels.iterdir()
    missing = expected - set(zipfile.ZipFile(wheel).namelist())
    assert missing == set()


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def keys_of(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def uncommented(text: str) -> dict[str, Any]:
    """Parse the example with every setting in force: ``#key = …`` and ``#[[table]]`` too."""
    return tomllib.loads(re.sub(r"^#(?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE))


def test_example_names_every_key_of_the_configuration() -> None:
    example = uncommented(EXAMPLE.read_text())
    assert keys_of(Config) == set(example)
    for table, value in example.items():
        if table == "allow_any_source":
            continue
        default = Config.model_fields[table].annotation
        (first, *_) = value if isinstance(value, list) else [value]
        model = default if isinstance(value, dict) else default.__args__[0]  # type: ignore[union-attr]
        assert keys_of(model) == set(first), table  # type: ignore[arg-type]


def test_example_is_the_defaults_and_a_local_destination() -> None:
    example = parse(tomllib.loads(EXAMPLE.read_text()))
    (destination,) = example.destinations
    assert destination.host == "127.0.0.1"
    assert example == Config(destinations=(destination,))


def test_example_with_every_setting_in_force_is_valid() -> None:
    everything = uncommented(EXAMPLE.read_text())
    pacs = everything["destinations"][0]
    web = {key: pacs.pop(key) for key in ("dicomweb", "user", "password", "token")}
    assert parse(everything).sources[0].ae_title == "US1"
    for ways in (("user", "password"), ("token",)):
        there = {key: web[key] for key in ("dicomweb", *ways)}
        assert parse({"destinations": [{"name": "pacs", **there}]}).destinations[0].machine


def test_readme_lists_every_key_and_default() -> None:
    """Each key stands in the table of the README."""
    table = (ROOT / "README.md").read_text().split("## Configuration")[1].split("## Exit codes")[0]
    for name, value in uncommented(EXAMPLE.read_text()).items():
        (first, *_) = value if isinstance(value, list) else [value]
        for key in first if isinstance(first, dict) else [name]:
            assert re.search(rf"[`.]{key}`", table), f"{name}.{key}"


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def without_gpu(unit: str) -> str:
    """Change the unit as it says itself for a machine without a GPU."""
    unit = re.sub(r"^DeviceAllow=.*\n", "", unit, flags=re.MULTILINE)
    return unit.replace("[Service]\n", "[Service]\nPrivateDevices=yes\n")


@needs_systemd
@pytest.mark.parametrize(("change", "exposure"), [(str, 1.4), (without_gpu, 1.2)])
def test_unit_is_hardened(tmp_path: Path, change: Callable[[str], str], exposure: float) -> None:
    """At most 2.0 is what a unit may have, and the figures in the threat model are these.

    An unhardened one scores 9.2; another release of systemd may weigh a setting differently.
    """
    unit = tmp_path / UNIT.name
    unit.write_text(change(UNIT.read_text()))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = re.findall(r"Overall exposure level for axnode.service: ([0-9.]+)", done.stdout)
    assert float(found) == pytest.approx(exposure, abs=0.3)


@needs_systemd
@pytest.mark.parametrize("name", ["axnode.service", "axnode.socket"])
def test_unit_is_valid(tmp_path: Path, name: str) -> None:
    shutil.copy(UNIT.with_suffix(".socket"), tmp_path)
    unit = UNIT.read_text().replace("/opt/axnode/venv/bin/axnode", sys.executable)
    (tmp_path / UNIT.name).write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_unit_starts_the_service_as_documented() -> None:
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line)
    expected = "/opt/axnode/venv/bin/axnode serve --config /etc/axnode/axnode.toml"
    assert settings["ExecStart"] == expected
    assert settings["StateDirectoryMode"] == "0700"
    conventions = {
        "Type": "notify",
        "WatchdogSec": "180",
        "User": "axnode",
        "StateDirectory": "axnode",
        "UMask": "0077",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "DevicePolicy": "closed",
        "LimitCORE": "0",
    }
    assert conventions.items() <= settings.items()
    assert "SystemCallFilter=@system-service\n" in UNIT.read_text()


def installs(folder: Path, *arguments: str) -> list[str]:
    """Return what pip would be told to install, each without pip's own options."""
    (folder / ".venv").mkdir()
    (folder / ".venv" / ".created").touch()
    lines = make(folder, "--dry-run", "venv", *arguments).stdout.replace("\\\n", "").splitlines()
    return [line.split(" install ")[1] for line in lines if " install " in line]


LOCKED = "--require-hashes --no-deps --only-binary :all:"
OWN = "--no-deps --no-build-isolation --editable ."


def test_make_installs_by_hash(bare: Path) -> None:
    assert installs(bare) == [
        f"{LOCKED} -r deploy/supply/torch.txt -r deploy/supply/runtime.txt",
        OWN,
    ]


def test_make_takes_torch_alone_from_an_index_of_its_own(bare: Path) -> None:
    torch, rest, own = installs(bare, "TORCH_INDEX=https://example.org/cpu")
    assert "--no-deps --index-url 'https://example.org/cpu'" in torch
    assert torch.endswith("torch torchvision")
    assert rest == f"{LOCKED} -r deploy/supply/runtime.txt"
    assert own == OWN


INTEGRATION = '<testcase classname="tests.integration.test_a" name="test_1">{}</testcase>'
ACCEPTANCE = '<testcase classname="tests.acceptance.test_b" name="test_1"/>'
SKIPPED = '<skipped type="pytest.skip" message="no dcmtk"/>'


def report(folder: Path, *cases: str) -> Path:
    path = folder / "junit.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return path


def test_a_run_without_skips_passes(tmp_path: Path) -> None:
    unit = f'<testcase classname="tests.unit.test_c" name="test_1">{SKIPPED}</testcase>'
    xfail = INTEGRATION.format('<skipped type="pytest.xfail" message="known"/>')
    path = report(tmp_path, INTEGRATION.format(""), xfail, ACCEPTANCE, unit)
    assert problems(path) == []
    assert check_no_skips([str(path)]) == 0


def test_a_skipped_integration_test_fails_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = report(tmp_path, INTEGRATION.format(SKIPPED), ACCEPTANCE)
    assert check_no_skips([str(path)]) == 1
    assert "test_a::test_1: no dcmtk" in capsys.readouterr().err


def test_a_module_skipped_as_a_whole_fails_the_run(tmp_path: Path) -> None:
    module = f'<testcase classname="" name="tests.acceptance.test_b">{SKIPPED}</testcase>'
    assert len(problems(report(tmp_path, INTEGRATION.format(""), module))) == 1


@pytest.mark.parametrize("text", [None, "", "<testsuites/>"])
def test_a_run_without_a_report_or_tests_fails(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "junit.xml"
    if text is not None:
        path.write_text(text)
    assert check_no_skips([str(path)]) == 1


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return a copy of the set-up files, and a ``bin`` whose ``id`` says: not root."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "deploy" / "supply").mkdir(parents=True)
    locks = [str(lock.path(group).relative_to(ROOT)) for group in lock.GROUPS]
    for name in (
        "Makefile",
        "constraints.txt",
        "pyproject.toml",
        "tests/debian-packages.sh",
        *locks,
    ):
        shutil.copy(ROOT / name, tmp_path / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    script(tools / "id", "echo 1000")
    return tmp_path


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # the tests themselves may run under make, whose flags would reach this one
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    environ["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, "is not installed: install Python 3.11 or newer"),
        ("exit 1", "AxNode needs Python 3.11 or newer"),
        # new enough, and no ensurepip
        ('case "$*" in *ensurepip*) exit 1;; esac', "python3-venv"),
    ],
)
def test_make_says_in_one_line_which_python_it_needs(
    bare: Path, body: str | None, expected: str
) -> None:
    if body is not None:
        script(bare / "bin" / "python3.x", body)
    done = make(bare, "venv", "PYTHON=python3.x")
    line, verdict = done.stderr.splitlines()
    assert expected in line
    assert verdict.startswith("make: ***")
    assert not (bare / ".venv").exists()
