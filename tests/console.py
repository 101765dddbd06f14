"""The console over real HTTP: on rows of a test's making, or of a node that runs."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from daemon.audit_events import Event
from daemon.audit_notes import Notes
from daemon.clock import Clock
from daemon.config import Http
from daemon.console.accounts import hash_password, hash_token
from daemon.console.app import install
from daemon.console.desk import Desk
from daemon.errors import ConfigError
from daemon.http import HttpServer
from daemon.spool import Folders, Spool
from dicom_io.errors import PeerError
from tests import builders
from tests.builders import Rows

PASSWORD = "a password of tests"  # noqa: S105 - of nobody
TOKENS = {"admin": "token-of-an-admin", "viewer": "token-of-a-viewer"}
_HASH = hash_password(PASSWORD)
USERS = [
    {"name": name, "role": role, "password_hash": _HASH, "token_hash": hash_token(TOKENS[role])}
    for name, role in (("anna", "admin"), ("vera", "viewer"))
]
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 4242}


@dataclass
class FakeRunning:
    """The service behind a desk (`daemon.console.desk.Ailments`, `Running`)."""

    sick: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    expiring: list[tuple[str, bool]] = field(default_factory=list)
    silent: bool = False  # its destinations do not answer
    wrong: str = ""  # what the configuration has become
    refused_reload: str = ""
    woken: int = 0
    reloads: int = 0

    def ailments(self) -> list[str]:
        """Return what the test says."""
        return self.sick

    def unready(self) -> list[str]:
        """Return what the test says."""
        return self.waiting

    def metrics(self) -> dict[str, float]:
        """Return one."""
        return {"axnode_ready": 1.0}

    def certificates(self) -> list[tuple[str, bool]]:
        """Return what the test says."""
        return self.expiring

    def device(self) -> str:
        """Return one."""
        return "cpu"

    def echo(self, destination: str) -> str:
        """Answer as the test says."""
        if self.silent:
            raise PeerError(
                f"{destination} did not answer C-ECHO: connection refused", transient=True
            )
        return f"{destination} answered C-ECHO"

    def wake(self) -> None:
        """Count."""
        self.woken += 1

    def reload(self) -> None:
        """Count, or refuse as the test says."""
        if self.wrong:
            raise ConfigError(self.wrong)
        self.reloads += 1


@dataclass
class Console:
    """A console that is served, and what is behind it."""

    root: str
    rows: Rows
    running: FakeRunning
    objects: Spool
    spool: Spool
    audit: list[Event]

    def browser(self, name: str = "", **options: Any) -> httpx.Client:
        """Return a browser; with a name, one that has signed in."""
        return browser(self.root, name, **options)

    def program(self, role: str) -> httpx.Client:
        """Return a program with the token of a role."""
        headers = {"Authorization": f"Bearer {TOKENS[role]}"}
        return httpx.Client(base_url=f"{self.root}/api/v1", headers=headers, trust_env=False)


def browser(root: str, name: str = "", **options: Any) -> httpx.Client:
    """Return a browser; with a name, one that has signed in."""
    settings = {"base_url": root, "trust_env": False, "timeout": 30, **options}
    if name:
        with httpx.Client(**settings) as first:
            answer = first.post("/login", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
            settings["cookies"] = first.cookies
    return httpx.Client(**settings)


def form_token(page: str) -> str:
    """Return what the forms of a page carry."""
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def press(client: httpx.Client, page: str, action: str, **fields: str) -> httpx.Response:
    """Press a button of a page."""
    shown = client.get(page)
    assert f'action="{action}"' in shown.text
    return client.post(action, data={"form_token": form_token(shown.text), **fields})


@contextlib.contextmanager
def served(
    folder: Path, running: FakeRunning | None = None, clock: Clock | None = None, **tables: Any
) -> Iterator[Console]:
    """Serve a console on the rows of a folder; `tables` are of its configuration."""
    running = running or FakeRunning()
    settings = {"users": USERS, "destinations": [PACS], **tables}
    config = builders.config(folder / "state", **settings)
    scratch = folder / "scratch"
    scratch.mkdir()
    config.state_dir.mkdir()
    audit: list[Event] = []
    with builders.database(folder) as database:
        rows = Rows(database)
        folders = Folders(Spool(folder / "spool"), Spool(folder / "objects"), scratch)
        notes = Notes(audit.append)
        common = builders.common(config, database, folders, clock or rows.clock, notes)
        desk = Desk(common, running, running)
        server = HttpServer(running, Http(port=0), lambda app: install(app, desk, notes))
        server.start()
        try:
            root = f"http://127.0.0.1:{server.port}"
            yield Console(root, rows, running, folders.objects, folders.spool, audit)
        finally:
            server.stop()
            desk.stop()
