"""Twenty values that identify a person, files that hold them, and the search for where they got."""

import warnings
from collections.abc import Iterator
from pathlib import Path

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from tests import builders
from tests.builders import Picture

# one value an element; none may leave the data set
CANARIES = {
    "PatientName": "Canary^Nora",
    "PatientID": "CANARY-4711",
    "OtherPatientNames": "Zugvogel^Nora",
    "PatientBirthDate": "19570913",
    "PatientBirthName": "Geburtsvogel",
    "PatientMotherBirthName": "Muttervogel",
    "PatientAddress": "Vogelweg 99",
    "PatientTelephoneNumbers": "0815-4242",
    "PatientComments": "knows her canary",
    "AccessionNumber": "ACCVOGEL77",
    "ReferringPhysicianName": "Hausarzt^Specht",
    "PerformingPhysicianName": "Schall^Amsel",
    "OperatorsName": "Bediener^Drossel",
    "NameOfPhysiciansReadingStudy": "Leser^Fink",
    "InstitutionName": "Vogelklinik",
    "InstitutionAddress": "Nestplatz 5",
    "StudyID": "NEST-1234",
    "IssuerOfPatientID": "AVIARY-ISSUER",
    "MedicalRecordLocator": "SHELF-VOGEL",
    "AdmissionID": "ADM-VOGEL-88",
}
EXTRA = tuple(CANARIES.items())
SMALL = builders.tissue(1, 80, 80)
_TRACES = ("Nora", "ogel", *CANARIES.values())  # no digits alone: a UID may hold them by chance
_VR = {
    "PatientBirthDate": "DA",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "InstanceNumber": "IS",
    "PatientAge": "AS",
    "PatientWeight": "DS",
    "PhotometricInterpretation": "CS",
    "SpecificCharacterSet": "CS",
    "BodyPartExamined": "CS",
}


def traces(text: str | bytes) -> list[str]:
    """Return the canaries that a text holds."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return [trace for trace in _TRACES if trace in text]


def bad_value(ds: Dataset, keyword: str, value: str) -> None:
    """Give an element bytes that pydicom complains about when it reads them."""
    tag = Tag(keyword)
    data = value.encode() + b" " * (len(value) % 2)
    ds[tag] = RawDataElement(tag, _VR[keyword], len(data), data, 0, False, True)


def canary_files(folder: Path) -> list[Path]:
    """Write files that hold every canary: one sound, and others that make readers complain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sound = builders.write(folder / "0.dcm", Picture(extra=EXTRA), SMALL)
        paths = [sound, *complaints(folder)]
    cut = folder / "cut.dcm"
    cut.write_bytes(sound.read_bytes()[:-3000])
    bent = folder / "bent.dcm"
    data = bytearray(sound.read_bytes())
    data[600:1200] = b"Canary^Nora\\CANARY-4711" * 26 + b"AC"
    bent.write_bytes(bytes(data))
    return [*paths, cut, bent]


def complaints(folder: Path) -> Iterator[Path]:
    """Write one file for each element whose value makes readers complain, each its own study."""
    for number, keyword in enumerate(_VR, 1):
        picture = Picture(f"1.2.4.{number}.1", f"1.2.4.{number}", extra=EXTRA)
        ds = builders.dataset(picture, SMALL)
        bad_value(ds, keyword, "Canary^Nora 4711")
        yield builders.save(folder / f"{number}.dcm", ds)
