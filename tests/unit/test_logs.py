"""Log lines, and that nothing about a person gets into them."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from daemon.logs import JsonLines

NAME = "Canary^Nora"


def line(record: logging.LogRecord) -> dict[str, Any]:
    text = JsonLines().format(record)
    assert "\n" not in text
    return dict(json.loads(text))


def record(name: str, message: str, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, "file.py", 1, message, (), None)
    vars(made).update(extra)
    return made


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
    found = line(record(name, f"Invalid value for VR DA: {NAME!r}", value="CANARY-4711"))
    assert found["message"] == "message of a library, withheld"
    assert (found["logger"], found["place"]) == (name, "file.py:1")
    assert not {"Nora", "4711"} & set(
        "".join(map(str, found.values())).replace("-", "^").split("^")
    )


def test_what_stands_in_a_librarys_code_is_written_without_its_values() -> None:
    made = record("pynetdicom.acse", "Invalid value for VR %s: %s")
    made.args = ("DA", NAME)
    assert line(made)["message"] == "Invalid value for VR %s: %s"


@pytest.mark.parametrize("message", [ValueError(NAME), NAME.encode(), None, 4711])
def test_what_is_no_text_is_withheld(message: object) -> None:
    made = record("pydicom", "")
    made.msg = message  # type: ignore[assignment]
    assert line(made)["message"] == "message of a library, withheld"


@pytest.mark.parametrize("name", ["daemon.worker", "pydicom"])
def test_an_exception_gives_its_type_and_its_places_only(name: str) -> None:
    def raising() -> None:
        raise ValueError(f"Invalid value: {NAME}")

    try:
        raising()
    except ValueError:
        made = logging.LogRecord(name, logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    found = line(made)
    assert "Nora" not in str(found)
    assert found["error"].startswith("ValueError at test_logs.py:")
    assert [place.partition(":")[0] for place in found["trace"]] == ["test_logs.py"] * 2


def printed(script: str) -> list[dict[str, Any]]:
    """Run a script whose output is configured; return the lines it wrote, all of them JSON."""
    start = "import logging, sys, threading, warnings\nfrom daemon import logs\nlogs.configure()\n"
    name = "NAME = sys.argv[1]\n"
    done = subprocess.run(
        [sys.executable, "-c", start + name + script, NAME],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Nora" not in done.stderr + done.stdout
    assert done.stdout == ""
    return [json.loads(text) for text in done.stderr.splitlines()]


LIBRARIES = """
for name in ("pydicom", "pynetdicom.dul", "urllib3"):
    logging.getLogger(name).error("Invalid value: %s", NAME)
    logging.getLogger(name).error(f"Invalid value: {NAME}")
    logging.getLogger(name).info("a PDU came")
logging.getLogger("daemon.test").info("ready", extra={"action": "start"})
"""


def test_libraries_say_what_their_code_says_and_ours_says_all() -> None:
    *libraries, ours = printed(LIBRARIES)
    assert (ours["message"], ours["action"]) == ("ready", "start")
    words = ["Invalid value: %s", "message of a library, withheld"]
    assert [item["message"] for item in libraries] == words * 3


REMARKS = """
for number in range(50):
    warnings.warn(f"Invalid value for VR DA: {NAME} {number}")
    warnings.warn("The value length is odd", stacklevel=1)
    logging.getLogger("pydicom").warning(f"Invalid value {NAME} {number}")
    logging.getLogger("pydicom").error("Invalid file")
"""


def test_a_remark_is_written_once_for_each_line_of_code_and_an_error_always() -> None:
    lines = printed(REMARKS)
    said = [(item["logger"], item["message"]) for item in lines if item["level"] == "warning"]
    assert said == [
        ("warnings.UserWarning", "message of a library, withheld"),
        ("warnings.UserWarning", "The value length is odd"),
        ("pydicom", "message of a library, withheld"),
    ]
    assert sum(item["level"] == "error" for item in lines) == 50


UNCAUGHT = """
def fail():
    raise ValueError(NAME)
class Finalised:
    def __del__(self):
        fail()
thread = threading.Thread(target=fail, name="poller")
thread.start()
thread.join()
Finalised()
logging.getLogger("daemon.test").info("%d", NAME)  # cannot be formatted
fail()
"""


def test_what_nobody_caught_is_told_without_its_words() -> None:
    lines = printed(UNCAUGHT)
    assert [item["thread_name"] for item in lines] == ["poller", "finalizer", "main"]
    assert {item["action"] for item in lines} == {"uncaught"}
    assert {item["error"].partition(" at ")[0] for item in lines} == {"ValueError"}
    assert {item["logger"] for item in lines} == {"daemon.logs"}
