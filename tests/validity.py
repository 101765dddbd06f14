"""Whether DICOM objects are valid and hang together, by dicom3tools and by their references."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from tests.peers import system_tool


def errors(path: Path) -> list[str]:
    """Return dciodvfy's error lines."""
    done = subprocess.run(
        [system_tool("dciodvfy"), str(path)], capture_output=True, text=True, check=False
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]


def referenced_instances(ds: Dataset) -> Iterator[str]:
    """Yield every SOP Instance UID that a data set refers to, at any depth."""
    for element in ds:
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)
        elif element.VR == "SQ":
            for item in element.value:
                yield from referenced_instances(item)


def read(path: Path) -> Dataset:
    """Read a file without its pixels."""
    return pydicom.dcmread(path, stop_before_pixels=True)
