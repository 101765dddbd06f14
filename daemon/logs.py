"""Log lines: one JSON object each, with an ``action``; never anything about a person.

Our own messages are written for the log. Those of libraries may quote values of a data set
("Invalid value for VR DA: …"), so of them only text that stands in the code is written.
"""

import contextlib
import faulthandler
import inspect
import io
import json
import logging
import sys
import threading
import traceback
import warnings
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

_OURS = ("daemon", "dicom_io", "model")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_WITHHELD = "message of a library, withheld"
_FRAMES = 8  # of a traceback, the innermost
log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if _is_ours(record):
            line["message"] = record.getMessage()
            line |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        else:
            line["message"] = _words(record)
            line["place"] = f"{Path(record.pathname).name}:{record.lineno}"
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = f"{type(error).__name__}{place_of(error)}"
            line["trace"] = places_of(error)[-_FRAMES:]
        return json.dumps(line, default=str)


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _OURS


def _words(record: logging.LogRecord) -> str:
    """Return what a library's record says, without the values that it says it of."""
    return str(record.msg) if _stands_in_code(record.msg) else _WITHHELD


def _stands_in_code(text: object) -> bool:
    """Tell whether a text is a constant of the code that is running, and so holds no value.

    A format string is one, before its arguments are put in; what an f-string has made is none.
    """
    frame = inspect.currentframe()
    while isinstance(text, str) and frame is not None:
        if text in frame.f_code.co_consts:
            return True
        frame = frame.f_back
    return False


class _Once(logging.Filter):
    """Lets a library's remark through once for each line of code and what is written of it.

    It may come with every value of every file. Errors always pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[tuple[str, int, str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is written."""
        if _is_ours(record) or record.levelno >= logging.ERROR:
            return True
        place = record.pathname, record.lineno, _words(record)
        new = place not in self._seen
        self._seen.add(place)
        return new


class Recent(logging.Handler):
    """Keeps the latest lines in memory, as they were written."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__()
        self._lines: deque[tuple[int, str]] = deque(maxlen=most)
        self.setFormatter(JsonLines())
        self.addFilter(_Once())

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        try:
            self._lines.append((record.levelno, self.format(record)))
        except Exception:  # noqa: BLE001 - as logging's own handlers: a line is not worth a thread
            self.handleError(record)

    def lines(self, level: str) -> list[str]:
        """Return the lines of a level and above, the oldest first; "": all."""
        least = logging.getLevelNamesMapping()[level.upper()] if level else 0
        return [line for number, line in list(self._lines) if number >= least]


RECENT = Recent()
"""What the console shows; filled once `configure` was called."""


def level() -> str:
    """Return the level of our own lines."""
    return logging.getLevelName(logging.getLogger(_OURS[0]).level).lower()


def set_level(name: str) -> None:
    """Write our own lines of a level and above from now on: debug, info or warning."""
    for ours in _OURS:
        logging.getLogger(ours).setLevel(name.upper())


def place_of(error: BaseException) -> str:
    """Return where an exception was raised; its message may quote a data set and stays out."""
    places = places_of(error)
    return f" at {places[-1]}" if places else ""


def places_of(error: BaseException) -> list[str]:
    """Return the file and line of each call on the way to where an exception was raised."""
    return [
        f"{Path(frame.f_code.co_filename).name}:{number}"
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]


def configure(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send whatever Python would print of itself to `stream` as JSON lines.

    Log lines, warnings, and exceptions that nobody catches. Left out, the stream is standard error.
    A crash of the interpreter leaves the places of code that its threads were at, as text.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(_Once())
    handlers = [handler, RECENT]
    logging.basicConfig(level=max(level, logging.WARNING), handlers=handlers, force=True)
    set_level(logging.getLevelName(level))
    logging.raiseExceptions = False  # it would print a line that cannot be formatted, values first
    warnings.simplefilter("always")  # `_Once` thins them; Python's own way would keep every text
    warnings.showwarning = _warned
    sys.excepthook = lambda kind, error, trace: _uncaught(error, "main")
    threading.excepthook = lambda args: _uncaught(
        args.exc_value, args.thread.name if args.thread else ""
    )
    sys.unraisablehook = lambda args: _uncaught(args.exc_value, "finalizer")
    with contextlib.suppress(io.UnsupportedOperation):  # a stream in memory
        faulthandler.enable(handler.stream)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    logger = logging.getLogger(f"warnings.{category.__name__}")
    logger.handle(
        logger.makeRecord(logger.name, logging.WARNING, filename, lineno, str(message), (), None)
    )


def _uncaught(error: BaseException | None, where: str) -> None:
    log.critical(
        "an exception that nobody caught; please report it",
        exc_info=error,
        extra={"action": "uncaught", "thread_name": where},
    )
