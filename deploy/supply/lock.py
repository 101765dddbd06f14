"""The lock files: every dependency with its version and the SHA-256 of its published files.

pyproject.toml says what is needed, constraints.txt which release of it; the lock files follow from
both (`make lock`) and are never edited. Three of them, and no package stands in two:

torch.txt     torch, torchvision and what their CUDA build brings; another build has other hashes
runtime.txt   everything else that serves
develop.txt   what only training, tests and these checks need
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
GROUPS = ("torch", "runtime", "develop")
SERVING = ("torch", "runtime")  # what an installed node consists of

# only torch asks for these, and its build without CUDA does not
_WITH_TORCH = re.compile(r"torch|torchvision|triton|(nvidia|cuda)-.*")
_HEAD = "# Made by `make lock` from pyproject.toml and constraints.txt. Do not edit.\n"


@dataclass(frozen=True)
class Pin:
    """One locked package."""

    name: str  # canonical (PEP 503)
    version: str
    hashes: tuple[str, ...]  # SHA-256 of each file of that release, hexadecimal
    wanted_by: tuple[str, ...]  # canonical names; "axnode" is this project
    text: str  # its lines in the lock file, as pip reads them


def path(group: str) -> Path:
    """Return the lock file of a group."""
    return ROOT / "deploy" / "supply" / f"{group}.txt"


def read(groups: Iterable[str] = GROUPS) -> list[Pin]:
    """Return the pins of these groups by name."""
    pins = [pin for group in groups for pin in parse(path(group).read_text(encoding="utf-8"))]
    return sorted(pins, key=lambda pin: pin.name)


def parse(text: str) -> list[Pin]:
    """Read what `uv pip compile` writes: a line that names the release, and indented ones."""
    blocks = re.findall(r"^[a-z0-9].*\n(?:[ \t].*\n)*", text, flags=re.MULTILINE)
    return [_pin(block) for block in blocks]


def _pin(block: str) -> Pin:
    name, version = block.split()[0].split("==")
    (via,) = re.findall(r"# via (.*)", block)
    wanted = [item.split()[0] for item in via.split(", ") if not item.startswith("-c ")]
    return Pin(
        name=canonicalize_name(name),
        version=version,
        hashes=tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", block)),
        wanted_by=tuple(sorted(map(canonicalize_name, wanted))),
        text=block,
    )


def constraints() -> dict[str, str]:
    """Return the versions of constraints.txt by canonical name."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def differences(pins: Iterable[Pin]) -> list[str]:
    """Say where constraints.txt and these pins disagree; nothing: they are one truth."""
    wanted, locked = constraints(), {pin.name: pin.version for pin in pins}
    return [
        f"{name}: constraints.txt says {wanted.get(name)}, the lock {locked.get(name)}"
        for name in sorted({*wanted, *locked})
        if wanted.get(name) != locked.get(name)
    ]


def resolve(*options: str) -> list[Pin]:
    """Ask the package index what pyproject.toml needs; downloads no package.

    Wheels only: installing one runs none of its code. Python 3.11, because that is what is tested;
    hashes are those of every file of a release, so other versions and machines find theirs.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lock.txt"
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config"]
        command += ["--generate-hashes", "--only-binary", ":all:", "--python-version", "3.11"]
        command += ["--annotation-style", "line", "--constraint", CONSTRAINTS.name]
        command += ["--output-file", str(out), *options]
        subprocess.run([*command, "pyproject.toml"], cwd=ROOT, check=True)
        return parse(out.read_text(encoding="utf-8"))


def grouped() -> dict[str, list[Pin]]:
    """Resolve every group anew; what serves is listed with what asks for it in service."""
    serving = resolve()
    names = {pin.name for pin in serving}
    return {
        "torch": [pin for pin in serving if _WITH_TORCH.fullmatch(pin.name)],
        "runtime": [pin for pin in serving if not _WITH_TORCH.fullmatch(pin.name)],
        "develop": [pin for pin in resolve("--all-extras") if pin.name not in names],
    }


def main() -> int:
    """Write the lock files; 1 and nothing written where constraints.txt must be mended first."""
    try:
        groups = grouped()
    except subprocess.CalledProcessError as error:
        print("The lock files stay as they were: see above", file=sys.stderr)
        return error.returncode
    if wrong := differences(pin for pins in groups.values() for pin in pins):
        print("Mend constraints.txt first, nothing was written:", *wrong, sep="\n", file=sys.stderr)
        return 1
    for group, pins in groups.items():
        path(group).write_text(_HEAD + "".join(pin.text for pin in pins), encoding="utf-8")
        print(f"{path(group).relative_to(ROOT)}: {len(pins)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
