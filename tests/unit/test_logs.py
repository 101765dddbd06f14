"""Log lines, and that nothing about a person gets into them."""

import json
import logging
import resource
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from daemon.logs import JsonLines
from tests import builders
from tests.builders import Picture
from tests.builders_net import bundle as tiny_bundle

# what identifies a person, one value an element; none may leave the data set
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


def line(record: logging.LogRecord) -> dict[str, Any]:
    text = JsonLines().format(record)
    assert "\n" not in text
    return dict(json.loads(text))


def record(name: str, message: str, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, "file.py", 1, message, (), None)
    vars(made).update(extra)
    return made


def test_there_are_twenty_canaries() -> None:
    assert len(set(CANARIES.values())) == 20


def test_a_line_is_json_with_its_action() -> None:
    found = line(record("daemon.deliver", "delivery attempted", action="deliver", delivery=7))
    assert (found["action"], found["delivery"], found["level"]) == ("deliver", 7, "warning")
    assert found["message"] == "delivery attempted"
    assert found["at"].endswith("+00:00")


def test_newlines_and_escapes_stay_inside_the_line() -> None:
    found = line(record("daemon.receive", "a\nb", reason="\x1b[2Jc\r\n"))
    assert (found["message"], found["reason"]) == ("a\nb", "\x1b[2Jc\r\n")


@pytest.mark.parametrize("name", ["pydicom.valuerep", "pynetdicom.acse", "daemonic", "sqlalchemy"])
def test_the_words_of_libraries_are_withheld(name: str) -> None:
    found = JsonLines().format(
        record(name, "Invalid value for VR DA: 'Canary^Nora'", value="CANARY-4711")
    )
    assert "Nora" not in found
    assert "4711" not in found
    assert name in found


@pytest.mark.parametrize("name", ["daemon.worker", "pydicom"])
def test_an_exception_gives_its_type_and_place_only(name: str) -> None:
    try:
        raise ValueError("Invalid value: Canary^Nora")
    except ValueError:
        made = logging.LogRecord(name, logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    text = JsonLines().format(made)
    assert "Nora" not in text
    assert "ValueError at " in text
    assert "test_logs.py" in text


CONFIGURED = """
import logging, sys, warnings
from daemon import logs
logs.configure()
warnings.warn("Invalid value for VR DA: 'Canary^Nora'")
for name in ("pydicom", "pynetdicom.dul", "urllib3"):
    logging.getLogger(name).error("Invalid value: %s", "Canary^Nora")
logging.getLogger("daemon.test").info("ready", extra={"action": "start"})
"""


def test_configured_warnings_and_libraries_say_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED], capture_output=True, text=True, check=True
    )
    assert "Nora" not in done.stderr + done.stdout
    lines = [json.loads(text) for text in done.stderr.splitlines()]
    assert lines[-1]["action"] == "start"
    assert {item["message"] for item in lines[:-1]} == {"message of a library, withheld"}


def bad_value(ds: Dataset, keyword: str, value: str) -> None:
    """Give an element bytes that pydicom complains about when it reads them."""
    tag = Tag(keyword)
    data = value.encode() + b" " * (len(value) % 2)
    vr = {"PatientBirthDate": "DA", "StudyDate": "DA", "InstanceNumber": "IS", "Rows": "US"}
    ds[tag] = RawDataElement(tag, vr[keyword], len(data), data, 0, False, True)


def canary_files(folder: Path) -> list[Path]:
    """Write files that hold every canary: one sound, and others that make readers complain."""
    small = builders.tissue(1, 80, 80)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sound = builders.write(folder / "0.dcm", Picture(extra=tuple(CANARIES.items())), small)
        paths = [sound]
        for number, keyword in enumerate(("PatientBirthDate", "StudyDate", "InstanceNumber"), 1):
            ds = builders.dataset(Picture(f"1.2.3.{number}", extra=tuple(CANARIES.items())), small)
            bad_value(ds, keyword, "Canary^Nora 4711")
            path = folder / f"{number}.dcm"
            builders.save(path, ds)
            paths.append(path)
    cut = folder / "cut.dcm"
    cut.write_bytes(sound.read_bytes()[:-3000])
    bent = folder / "bent.dcm"
    data = bytearray(sound.read_bytes())
    data[600:1200] = b"Canary^Nora\\CANARY-4711" * 26 + b"AC"
    bent.write_bytes(bytes(data))
    return [*paths, cut, bent]


def test_no_canary_leaves_the_analysing_process(tmp_path: Path) -> None:
    """The real process, the real decoders and a real if tiny network; row 13 of the hazards."""
    bundle = tiny_bundle(tmp_path / "bundle")
    paths = canary_files(tmp_path / "in")
    requests = [
        {
            "inputs": [[f"1.2.3.{n}", str(path)] for n, path in enumerate(chosen)],
            "masks": str(tmp_path / "masks.npz"),
            "cine_frames": 3,
            "tracking_root": "root",
            "pictures": "always",
        }
        for chosen in (paths, paths[1:], [])
    ]
    options = {
        "bundle": str(bundle.path),
        "device": "cpu",
        "memory_bytes": resource.RLIM_INFINITY,
    }
    done = subprocess.run(
        [sys.executable, "-m", "daemon.inference", json.dumps(options)],
        input="".join(json.dumps(request) + "\n" for request in requests) + '{"broken": 1}\n',
        capture_output=True,
        text=True,
        check=True,
    )
    said = [json.loads(text) for text in done.stdout.splitlines()]
    assert sum("answer" in message for message in said) == 3
    assert sum("error" in message for message in said) == 1
    for canary in ("Nora", "4711", *CANARIES.values()):
        assert canary not in done.stdout + done.stderr
