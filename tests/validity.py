"""Whether DICOM objects are valid and hang together, by dicom3tools and by their references."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from tests.peers import dcmtk, system_tool


def errors(path: Path) -> list[str]:
    """Return dciodvfy's error lines."""
    done = subprocess.run(
        [system_tool("dciodvfy"), str(path)], capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert lines, "dciodvfy said nothing"
    return [line for line in lines if "Error" in line]


def inflated(path: Path) -> Path:
    """Return a deflated object as DCMTK unfolds it, any other as it is."""
    if not pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID.is_deflated:
        return path
    copy = path.with_suffix(".inflated.dcm")
    dcmtk("dcmconv", "+te", path, copy)
    return copy


def referenced_instances(ds: Dataset) -> Iterator[str]:
    """Yield every SOP Instance UID that a data set refers to, at any depth."""
    for element in ds:
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)
        elif element.VR == "SQ":
            for item in element.value:
                yield from referenced_instances(item)


def listed_images(seg: Dataset) -> Iterator[str]:
    """Yield the SOP Instance UIDs that a SEG lists in its Common Instance Reference."""
    for series in seg.ReferencedSeriesSequence:
        yield from (
            str(item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence
        )


def evidence(report: Dataset) -> Iterator[tuple[str, str, str]]:
    """Yield series, SOP class and instance of everything that a report names as evidence."""
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    for series in study.ReferencedSeriesSequence:
        for item in series.ReferencedSOPSequence:
            yield (
                str(series.SeriesInstanceUID),
                str(item.ReferencedSOPClassUID),
                str(item.ReferencedSOPInstanceUID),
            )


def read(path: Path) -> Dataset:
    """Read a file without its pixels."""
    return pydicom.dcmread(path, stop_before_pixels=True)
