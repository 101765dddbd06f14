"""Log lines of one association: every line has an action and the association's number."""

import logging
import traceback

_LOG = logging.getLogger("dicom_io.acceptor")


class Journal:
    """Writes log lines that carry the association's number; no value of a data set reaches it."""

    def __init__(self, assoc: str) -> None:
        self.assoc = assoc

    def note(self, level: int, action: str, message: str, **fields: object) -> None:
        """Write one line."""
        _LOG.log(level, message, extra={"action": action, "assoc": self.assoc, **fields})

    def fault(self, error: Exception) -> None:
        """Write where an unforeseen exception arose, without its text, which may hold values."""
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{f.name}:{f.lineno}" for f in reversed(frames[-5:]))
        self.note(
            logging.ERROR,
            "association_fault",
            f"unforeseen {type(error).__name__} in {where}; please report it",
        )
