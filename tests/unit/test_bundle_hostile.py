"""Weights that would run a program when they are unpickled; torch is not needed to refuse them."""

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest

from model.bundle_file import Bundle, write
from model.errors import BundleError
from tests import builders

EMPTY = b"\x02\0\0\0\0\0\0\0{}"  # safetensors that hold nothing


class Program:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Say how to rebuild it."""
        return os.mkdir, (str(self._path),)


def pickled(path: Path) -> bytes:
    """Return a pickle of old."""
    return pickle.dumps(Program(path))


def archived(path: Path) -> bytes:
    """Return a ``.pt`` as torch.save writes it: a zip archive with a pickle in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("weights/data.pkl", pickled(path))
        archive.writestr("weights/version", "3\n")
    return out.getvalue()


@pytest.mark.parametrize("make", [pickled, archived])
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_malicious_file_is_refused_by_hash_and_by_format(
    tmp_path: Path, make: object, name: str
) -> None:
    """Under the right hash too, and whatever it is called; it never runs."""
    assert callable(make)
    trap = tmp_path / "it-ran"
    hostile = make(trap)
    folder = tmp_path / "bundle"
    write(folder, builders.bundle().card, [EMPTY])
    (folder / "weights.safetensors").unlink()
    (folder / name).write_bytes(hostile)
    card = folder / "bundle.toml"
    text = card.read_text().replace("weights.safetensors", name)
    card.write_text(text)
    with pytest.raises(BundleError, match="SHA-256"):
        Bundle.load(folder)
    digest = hashlib.sha256(EMPTY).hexdigest()
    assert digest in text
    card.write_text(text.replace(digest, hashlib.sha256(hostile).hexdigest()))
    with pytest.raises(BundleError, match="safetensors"):
        Bundle.load(folder)
    assert not trap.exists()
    pickle.loads(pickled(trap))  # noqa: S301 - the trap does spring
    assert trap.exists()
