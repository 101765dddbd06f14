"""Log lines: one JSON object each, with an ``action``; never anything about a person.

Only fields that our own code names are written. Libraries' messages may quote values of a data set
("Invalid value for VR DA: …"), so their text is replaced by the name of the logger.
"""

import json
import logging
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

_OURS = ("daemon", "dicom_io", "model")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        ours = record.name.partition(".")[0] in _OURS
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage() if ours else "message of a library, withheld",
        }
        if ours:
            line |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = f"{type(error).__name__}{place_of(error)}"
        return json.dumps(line, default=str)


def place_of(error: BaseException) -> str:
    """Return where an exception was raised; its message may quote a data set and stays out."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def configure(level: int = logging.INFO) -> None:
    """Send every log line to standard error as JSON; warnings of libraries are dropped."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("pynetdicom", "pydicom", "alembic", "uvicorn", "apscheduler", "highdicom"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
