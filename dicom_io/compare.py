"""Whether two files that claim one SOP Instance UID hold the same image."""

from pathlib import Path

from dicom_io.errors import FrameError
from dicom_io.header import read_header, transfer_syntax

_TELLING = (
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "InstanceNumber",
    "ContentDate",
    "ContentTime",
    "Rows",
    "Columns",
    "NumberOfFrames",
)
# A lossy copy counts as the same image: PS3.4 B.2.3 has no status that would tell the modality
# anything it could act on, and the first is kept either way.


def same_image_transcoded(first: Path, second: Path) -> bool:
    """Tell whether the second file is the first's image in another transfer syntax.

    Headers are compared, pixels are not decoded. Two files in one transfer syntax are never a
    transcoding of each other.
    """
    try:
        a, b = read_header(first), read_header(second)
        if transfer_syntax(a) == transfer_syntax(b):
            return False
    except FrameError:
        return False
    return all(str(a.get(keyword, "")) == str(b.get(keyword, "")) for keyword in _TELLING)
