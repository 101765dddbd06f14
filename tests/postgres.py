"""A PostgreSQL server for the tests, from Debian's package: on loopback, in a temporary folder."""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pytest
from psycopg import sql

from daemon.database import Database
from tests.peers import Process, free_port

_TEMPLATE = "axnode_template"
_SETTINGS = {"max_connections": "200", "log_min_messages": "warning", "timezone": "UTC"}


def binary(name: str) -> str:
    """Return the path of one of PostgreSQL's programs, of the newest version installed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: p.parts[-3])
    if not found:
        pytest.skip(f"PostgreSQL's {name} is not installed (make debian)")
    return str(found[-1])


@dataclass
class PostgreSQL:
    """A server: `with PostgreSQL() as server: Database(server.url("name"))`.

    `stop()`, `kill()` and `start()` inside the block make an outage; data and port stay.
    """

    host: str = "127.0.0.1"
    durable: bool = False  # commits are synced, as they are where it matters
    port: int = field(default_factory=free_port)
    folder: Path = field(init=False)
    _template: bool = False

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="axnode-postgres-"))
        self._data = self.folder / "data"
        self._as: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.folder, "postgres", "postgres")
            self._as = ["runuser", "-u", "postgres", "--"]
        words = ["-D", str(self._data), "-U", "axnode", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(
            [*self._as, binary("initdb"), *words, "--locale=C"],
            cwd=self.folder,
            capture_output=True,
            check=True,
        )
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all axnode 10.0.0.0/8 trust\n")  # of network namespaces
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start, or start again, and wait until it answers."""
        settings = {
            **_SETTINGS,
            "port": str(self.port),
            "listen_addresses": self.host,
            "unix_socket_directories": str(self.folder),
            **({} if self.durable else {"fsync": "off", "synchronous_commit": "off"}),
        }
        options = [word for pair in settings.items() for word in ("-c", "=".join(pair))]
        self._process = Process(
            [*self._as, binary("postgres"), "-D", str(self._data), *options],
            self.folder / "log",
            self.folder,
        )
        self._process.wait_ready(self._answers)

    def stop(self) -> None:
        """Stop at once: connections are cut, what was committed stays."""
        pid = self._data / "postmaster.pid"
        if pid.exists():
            self.go_on()
        if pid.exists():  # runuser hands no signal on to a process of another user
            subprocess.run(
                [*self._as, binary("pg_ctl"), "stop", "-D", str(self._data), "-m", "fast"],
                cwd=self.folder,
                capture_output=True,
                check=False,
            )
        self._process.stop()

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        subprocess.run(
            [*self._as, binary("pg_ctl"), "stop", "-D", str(self._data), "-m", "immediate"],
            cwd=self.folder,
            capture_output=True,
            check=False,
        )
        self._process.stop()

    def freeze(self) -> None:
        """Stop its processes as they are: connections stay, new ones come, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End what `freeze` did."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, number)  # first: it has no more children then
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                if parent == postmaster:
                    os.kill(int(stat.parent.name), number)

    def _answers(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self, name: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host=self.host, port=self.port, user="axnode", dbname=name, autocommit=True
        )

    def url(self, name: str) -> str:
        """Return the URL of a database, as the configuration has it."""
        return f"postgresql+psycopg://axnode@{self.host}:{self.port}/{name}"

    def database(self, name: str) -> str:
        """Return the URL of a database that exists: made where it is missing, with its schema."""
        if not self._template:
            self._create(_TEMPLATE, "template0")
            Database(self.url(_TEMPLATE)).close()
            self._template = True
            with self._connect(_TEMPLATE) as connection:
                connection.execute("DELETE FROM node")  # every database is a node of its own
        self._create(name, _TEMPLATE)
        return self.url(name)

    def of_folder(self, folder: Path) -> str:
        """Return the URL of the database that stands in for a folder's SQLite file."""
        return self.database(f"t{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}")

    def empty(self, name: str) -> str:
        """Return the URL of a database without any table."""
        self._create(name, "template0")
        return self.url(name)

    def _create(self, name: str, template: str) -> None:
        with self._connect("postgres") as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if known.fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                        sql.Identifier(name), sql.Identifier(template)
                    )
                )
