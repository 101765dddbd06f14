"""Data from outside never becomes code: no pickle, no eval, no shell; weights are safetensors."""

import ast
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.bundle_file import CARD_NAME, SHIPPED, Bundle, write
from model.errors import BundleError

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for package in ("daemon", "dicom_io", "model", "sample_dicoms", "deploy/supply")
    for path in (ROOT / package).rglob("*.py")
)

# modules that turn bytes into objects of the writer's choice
MODULES = {"_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve"}
MODULES |= {"ruamel", "yaml"}  # configuration is TOML, answers are JSON
CALLS = {"__import__", "compile", "eval", "exec"}
CALLS |= {"os.popen", "os.system", "subprocess.getoutput", "subprocess.getstatusoutput"}
CALLS |= {"pandas.read_pickle", "torch.jit.load", "torch.load", "torch.package.PackageImporter"}
CALLS |= {"torch.hub.load", "torch.hub.load_state_dict_from_url"}
CALLS |= {"shutil.unpack_archive"}  # writes where the archive says
KEYWORDS = {"allow_pickle", "pretrained", "shell"}  # anything but a literal False

# Read at training time only, from bytes whose SHA-256 stands in the code.
EXCEPTED = {"model/training/initial.py": ["torch.load"]}


def names_of(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for, for example ``t`` for ``torch``."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                bound = item.asname or item.name.split(".")[0]
                names[bound] = item.name if item.asname else bound
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the full name of what is used, for example ``torch.load`` for ``t.load``."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def dangers(source: str) -> Iterator[str]:
    """Yield what a module uses that it must not."""
    tree = ast.parse(source)
    names = names_of(tree)
    yield from (name for name in names.values() if name.split(".")[0] in MODULES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = dotted(node, names)
            if name in CALLS:
                yield name
        elif isinstance(node, ast.keyword) and node.arg in KEYWORDS:
            yield from () if is_false(node.value) else (f"{node.arg}={ast.unparse(node.value)}",)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml",
        "from joblib import load",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=True)",
        "from torch import load as read\nread(path)",
        "import torch\nf = torch.load",
        "import torch.hub\ntorch.hub.load('a', 'b')",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=flag)",
        "eval(text)",
        "exec(text)",
        "import os\nos.system(text)",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "import timm\ntimm.create_model(name, pretrained=True)",
    ],
)
def test_what_is_looked_for_is_found(source: str) -> None:
    assert len(list(dangers(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "network.eval()",
        "import re\nre.compile('a')",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import json\njson.loads(text)",
        "from safetensors.torch import load\nload(data)",
    ],
)
def test_what_is_harmless_is_left_alone(source: str) -> None:
    assert list(dangers(source)) == []


def test_nothing_from_outside_becomes_code() -> None:
    found = {
        str(path.relative_to(ROOT)): used
        for path in SOURCES
        if (used := list(dangers(path.read_text(encoding="utf-8"))))
    }
    assert found == EXCEPTED


class Trap:
    """What runs code where it is unpickled."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.touched,)


@pytest.fixture(params=["pickle", "torch zip"])
def trap(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[bytes, Path]:
    """Return the bytes of a malicious `.pt` file, and the file it would make."""
    touched = tmp_path / "touched"
    data = pickle.dumps(Trap(touched))
    pickle.loads(data)  # noqa: S301
    assert touched.exists(), "the trap is one"
    touched.unlink()
    if request.param == "torch zip":
        with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
            archive.writestr("archive/data.pkl", data)
            archive.writestr("archive/version", "3\n")
        data = (tmp_path / "evil.pt").read_bytes()
    return data, touched


def test_a_malicious_file_is_refused_by_its_format(
    tmp_path: Path, trap: tuple[bytes, Path]
) -> None:
    """Whoever writes the bundle also writes the hash, so the hash is right here."""
    data, touched = trap
    with pytest.raises(BundleError, match="is not a safetensors file"):
        write(tmp_path / "bundle", Bundle.load(SHIPPED).card, [data])
    assert not touched.exists()


def test_a_malicious_file_is_refused_by_its_hash(tmp_path: Path, trap: tuple[bytes, Path]) -> None:
    data, touched = trap
    folder = tmp_path / "bundle"
    folder.mkdir()
    shutil.copy(SHIPPED / CARD_NAME, folder)
    (folder / "weights.safetensors").write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256"):
        Bundle.load(folder)
    assert not touched.exists()
