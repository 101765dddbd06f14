"""What the pages call things."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

STATES: Final[Mapping[str, str]] = {
    "receiving": "images are coming",
    "queued": "waits for the model",
    "analysing": "the model reads it",
    "delivering": "results are on their way",
    "delivered": "done",
    "not_evaluable": "done, and could not be evaluated",
    "ignored": "not for this node, by rule",
    "parked": "needs a person",
}
ROLES: Final[Mapping[str, str]] = {
    "seg": "Segmentation (SEG)",
    "sr": "Structured report (SR)",
    "sc": "Picture (Secondary Capture)",
    "pr": "Presentation state",
}
DELIVERIES: Final[Mapping[str, str]] = {
    "pending": "to be sent",
    "stored": "sent; waits for storage commitment",
    "delivered": "delivered",
    "parked": "needs a person",
    "replaced": "refused; pictures went in its place",
    "dropped": "given up",
}
SIDES: Final[Mapping[str | None, str]] = {"R": "right", "L": "left", None: "side unknown"}


def local(at_us: int | None) -> str:
    """Return a time in this machine's zone."""
    if at_us is None:
        return "never"
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def iso(at_us: int) -> str:
    """Return a time for machines."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="seconds")


def size(count: int) -> str:
    """Return a number of bytes."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def duration(seconds: float | None) -> str:
    """Return a span of time, rounded to what matters."""
    if seconds is None:
        return "none"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
