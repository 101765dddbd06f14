"""STOW-RS served on the rows of a test's making, and what a client of it sends, byte by byte."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from daemon import schema
from daemon.audit_events import Event
from daemon.audit_notes import Notes
from daemon.commitment import Reports
from daemon.config import Http
from daemon.console.accounts import hash_token
from daemon.http import HttpServer
from daemon.receive import Reception
from daemon.spool import Spool
from daemon.stow import STOW_LIMITS, StowLimits
from daemon.stow_http import PATH, StowDoor
from dicom_io import part10
from dicom_io.archive import Archive
from tests import builders
from tests import builders_wire as wire
from tests.builders import Rows
from tests.console import USERS, FakeRunning

SOURCE = "GATEWAY"
TOKEN = "token-of-a-gateway"  # noqa: S105 - of nobody
GATEWAY = {"name": SOURCE, "role": "source", "token_hash": hash_token(TOKEN)}
OTHER_TOKEN = "token-of-another-gateway"  # noqa: S105 - likewise
OTHER = {"name": "OTHER", "role": "source", "token_hash": hash_token(OTHER_TOKEN)}
MARK = "5c0f9a"
TYPE = f'multipart/related; type="application/dicom"; boundary={MARK}'


def file(instance: str = "1.2.3.4", **changes: Any) -> bytes:
    """Return a small Part 10 file; changes are those of `builders_wire.dataset`."""
    syntax = changes.get("syntax", wire.EXPLICIT)
    sop_class = changes.get("sop_class", wire.US_IMAGE)
    return part10.header(sop_class, instance, syntax) + wire.dataset(instance=instance, **changes)


def body(files: Sequence[bytes], *, end: str = "--\r\n") -> bytes:
    """Return a body of files; `end` follows the last boundary."""
    head = f"\r\n--{MARK}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + each for each in files) + f"\r\n--{MARK}{end}".encode()


@dataclass
class Stow:
    """A door that is open, and what is behind it."""

    root: str
    door: StowDoor
    stopping: threading.Event
    rows: Rows
    spool: Spool
    audit: list[Event]

    @property
    def archive(self) -> Archive:
        """The node as an archive that we store to."""
        return Archive("node", f"{self.root}/dicom-web", token=TOKEN)

    @property
    def files(self) -> list[Path]:
        """Files in the spool, half-written ones too."""
        return [path for path in self.spool.root.rglob("*") if path.is_file()]

    @property
    def port(self) -> int:
        """Of the server."""
        return int(self.root.rpartition(":")[2])

    def post(
        self, content: Any, study: str = "", token: str = TOKEN, **headers: str
    ) -> httpx.Response:
        """POST a body; an iterator goes in chunks."""
        sent = {"Content-Type": TYPE, "Authorization": f"Bearer {token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.root}{PATH}" + (f"/{study}" if study else "")
        return httpx.post(url, content=content, headers=sent, timeout=30, trust_env=False)

    def refusals(self) -> dict[tuple[str, str], str]:
        """Map title and thing of what was refused to the reason."""
        return {(r.calling_ae, r.what): r.reason for r in self.rows.all(schema.refusals)}

    def instances(self) -> list[str]:
        """Return the SOP Instance UIDs of the rows."""
        return sorted(row.sop_instance_uid for row in self.rows.all(schema.instances))


@contextlib.contextmanager
def served(
    folder: Path,
    limits: StowLimits = STOW_LIMITS,
    life_s: float = 20.0,
    gateways: Sequence[dict[str, str]] = (GATEWAY,),
    **tables: Any,
) -> Iterator[Stow]:
    """Serve on a free port; `tables` are of the configuration, beside `users`."""
    config = builders.config(folder / "state", users=[*USERS, *gateways], **tables)
    audit: list[Event] = []
    notes = Notes(audit.append)
    with builders.database(folder) as database:
        rows, spool = Rows(database), Spool(folder / "spool")
        reports = Reports(database, Spool(folder / "objects"), rows.clock)
        reception = Reception(config, database, spool, rows.clock, reports, notes)
        stopping = threading.Event()
        door = StowDoor(config, reception, notes, stopping, limits)
        server = HttpServer(FakeRunning(), Http(port=0), life_s=life_s, stow=lambda: door)
        server.start()
        try:
            root = f"http://127.0.0.1:{server.port}"
            yield Stow(root, door, stopping, rows, spool, audit)
        finally:
            server.stop()


def values(answer: httpx.Response, tag: str, inner: str) -> list[Any]:
    """Return an element's value in each item of a sequence of an answer (DICOM JSON)."""
    items = answer.json().get(tag, {}).get("Value", [])
    return [item[inner]["Value"][0] for item in items]
