"""What identifies an instance, from a bounded walk over its raw bytes before anything is answered.

Nothing is decoded and nothing is copied but the few values that identify the instance; pixel data
are stepped over. A data set that passes can be parsed later without surprise: every length lies
within its container, nesting is limited, and uncompressed pixel data are as long as they must be.
"""

import mmap
from dataclasses import dataclass
from typing import Literal

from dicom_io.errors import InvalidInstanceUID, MalformedInstance
from dicom_io.structure import Structure
from dicom_io.syntaxes import UNCOMPRESSED_TRANSFER_SYNTAXES
from dicom_io.uids import is_uid, uid_text

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_MODALITY = 0x00080060
_MANUFACTURER = 0x00080070
_PATIENT_ID = 0x00100020
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_SAMPLES_PER_PIXEL = 0x00280002
_PHOTOMETRIC_INTERPRETATION = 0x00280004
_NUMBER_OF_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_BITS_ALLOCATED = 0x00280100
_WANTED = frozenset(
    (
        _SOP_CLASS_UID,
        _SOP_INSTANCE_UID,
        _MODALITY,
        _MANUFACTURER,
        _PATIENT_ID,
        _STUDY_INSTANCE_UID,
        _SERIES_INSTANCE_UID,
        _SAMPLES_PER_PIXEL,
        _PHOTOMETRIC_INTERPRETATION,
        _NUMBER_OF_FRAMES,
        _ROWS,
        _COLUMNS,
        _BITS_ALLOCATED,
    )
)


@dataclass(frozen=True)
class InstanceHeader:
    """What identifies an instance, read from its data set."""

    sop_class_uid: str
    sop_instance_uid: str  # "" where the data set has none: only the command names it then
    study_instance_uid: str
    series_instance_uid: str
    patient_id: bytes  # as it came, without padding; in the data set's own character set
    modality: str  # "" where absent
    manufacturer: str  # "" where absent; "AxNode" marks this product's own objects


def walk(data: memoryview | bytes | mmap.mmap, transfer_syntax_uid: str) -> InstanceHeader:
    """Check a data set's structure and return what identifies the instance.

    `data` begins at the first element after group 0002.

    Raises
    ------
    MalformedInstance
        The bytes are not a data set of that transfer syntax.
    InvalidInstanceUID
        The SOP Instance UID is not a UID.
    """
    with memoryview(data) as view, view.cast("B") as octets:
        found = Structure(octets, transfer_syntax_uid, _WANTED)
        found.run()
        if transfer_syntax_uid in UNCOMPRESSED_TRANSFER_SYNTAXES:
            _check_pixel_length(found)
        return _identify(found)


def _identify(found: Structure) -> InstanceHeader:
    values = found.values
    # Sonoque's scanners leave the element out of the data set; the command still has it.
    instance = uid_text(values.get(_SOP_INSTANCE_UID, b""))
    if instance and not is_uid(instance):
        raise InvalidInstanceUID("the SOP Instance UID is not a UID; check the sender")
    return InstanceHeader(
        sop_class_uid=_uid(values, _SOP_CLASS_UID, "SOPClassUID"),
        sop_instance_uid=instance,
        study_instance_uid=_uid(values, _STUDY_INSTANCE_UID, "StudyInstanceUID"),
        series_instance_uid=_uid(values, _SERIES_INSTANCE_UID, "SeriesInstanceUID"),
        patient_id=values.get(_PATIENT_ID, b"").strip(b" \0"),
        modality=_text(values, _MODALITY),
        manufacturer=_text(values, _MANUFACTURER),
    )


def _uid(values: dict[int, bytes], tag: int, keyword: str) -> str:
    uid = uid_text(values.get(tag, b""))
    if not is_uid(uid):
        raise MalformedInstance(f"{keyword} is missing or not a UID; check the sender")
    return uid


def _text(values: dict[int, bytes], tag: int) -> str:
    return values.get(tag, b"").decode("ascii", "replace").strip(" \0")[:64]


def _check_pixel_length(found: Structure) -> None:
    """Refuse native pixel data that are shorter than rows, columns and frames ask for.

    Absurd values that fit the bytes are left to the decoder, which says why it gives up.
    """
    if found.pixel_length is None:
        return
    rows, columns, samples, bits = (
        _number(found, tag) for tag in (_ROWS, _COLUMNS, _SAMPLES_PER_PIXEL, _BITS_ALLOCATED)
    )
    if found.values.get(_PHOTOMETRIC_INTERPRETATION, b"").strip(b" \0") == b"YBR_FULL_422":
        samples = min(samples, 2)  # PS3.3 C.7.6.3.1.2: two pixels share their chrominance
    needed = (rows * columns * samples * bits * _frames(found) + 7) // 8
    if found.pixel_length < needed:
        raise MalformedInstance(
            "the pixel data are shorter than rows, columns and frames ask for; send it again"
        )


def _number(found: Structure, tag: int) -> int:
    """Value of a US element; 0 where there is none, which asks for no pixel data."""
    value = found.values.get(tag, b"")
    order: Literal["big", "little"] = "big" if found.big_endian else "little"
    return int.from_bytes(value[:2], order) if len(value) >= 2 else 0


def _frames(found: Structure) -> int:
    text = found.values.get(_NUMBER_OF_FRAMES, b"").strip(b" \0")
    return max(1, int(text)) if text.isdigit() else 1
