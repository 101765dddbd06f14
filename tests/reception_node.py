"""`tests.reception_process`, started, looked into and stopped; and a modality beside it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Table, select

from daemon import schema
from daemon.database import Database
from tests import builders_wire as wire
from tests.fakes_wire import RawPeer
from tests.footprint import MIB, Footprint
from tests.node import toml
from tests.peers import wait_until

MODALITY = "127.0.0.2"  # its address; hostile peers call from 127.0.0.1
ASSOCIATE = wire.associate_rq(
    [
        wire.context(1, wire.US_IMAGE, [wire.EXPLICIT]),
        wire.context(3, wire.VERIFICATION, [wire.IMPLICIT]),
    ]
)
ECHO = wire.p_data((3, 3, wire.command(0x0030)))


def store_pdu(instance: str, data: bytes, sop_class: str = wire.US_IMAGE) -> bytes:
    """Return a whole C-STORE in one PDU, in context 1."""
    command = wire.command(0x0001, sop_class=sop_class, instance=instance, has_data_set=True)
    return wire.p_data((1, 3, command), (1, 2, data))


def associated(
    port: int, request: bytes = ASSOCIATE, source: str = "127.0.0.1", patience_s: float = 15
) -> RawPeer:
    """Associate, or fail the test."""
    peer = RawPeer(port, source)
    peer.sock.settimeout(patience_s)
    peer.send(request)
    kind, body = peer.receive()
    if kind != 2:
        peer.close()
    assert kind == 2, f"PDU type {kind}, body {body.hex()}"
    return peer


class ReceptionNode:
    """A node that receives: `with ReceptionNode(tmp_path, pdu_s=1) as node:`.

    Parameters
    ----------
    folder
        Configuration, log and, unless `state` says another, state.
    limits
        Of reception, where they differ from the defaults.
    tables
        Tables of the configuration.
    wrapper
        A command line that ends by running what follows it, such as ``unshare``.
    state
        Where its state is, on a file system that `wrapper` mounts.
    """

    def __init__(
        self,
        folder: Path,
        limits: Mapping[str, float] | None = None,
        tables: Mapping[str, Any] | None = None,
        wrapper: Sequence[str] = (),
        state: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.state = state or folder / "state"
        self._apart = state is not None  # on a file system that only the process sees
        self.state.mkdir(parents=True, exist_ok=True)
        tables = dict(tables or {})
        settings = {"port": 0, "state_dir": str(self.state), "disk_floor_gb": 0}
        tables["node"] = {**settings, **tables.get("node", {})}
        config = folder / "axnode.toml"
        config.write_text(toml(tables))
        self._log = folder / "node.log"
        command = [*wrapper, sys.executable, "-m", "tests.reception_process", str(config)]
        self._command = [*command, json.dumps(dict(limits or {}))]

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log[-2000:]
        self.port = int(line)
        self._resting = self.footprint().threads
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop orderly; harmless after the end."""
        try:
            self._process.communicate(timeout=20)
        except (subprocess.TimeoutExpired, ValueError):
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text(errors="replace")

    @property
    def root(self) -> Path:
        """Its state folder as it sees it, though it may have mounts of its own."""
        return Path(f"/proc/{self.pid}/root") / self.state.relative_to("/")

    def files(self) -> list[Path]:
        """Files in the spool, half-written ones too."""
        return [path for path in (self.root / "spool").rglob("*") if path.is_file()]

    def rows(self, table: Table) -> Sequence[Any]:
        """Return the committed rows of a table."""
        with tempfile.TemporaryDirectory() as name:
            folder = self.state
            if self._apart:  # SQLite resolves links, and would not find it through the process
                folder = Path(name)
                for path in self.root.glob("axnode.sqlite*"):
                    shutil.copy(path, folder)
            return _rows(folder / "axnode.sqlite", table)

    def refusals(self) -> dict[tuple[str, str, str], tuple[str, int]]:
        """Map address, title and thing of what was refused to reason and count."""
        rows = self.rows(schema.refusals)
        return {(r.address, r.calling_ae, r.what): (r.reason, r.count) for r in rows}

    def warm_up(self) -> None:
        """Be used until memory no longer grows: allocators fill up over the first associations."""
        held = 0
        for _ in range(30):
            for peer in [self._store(f"1.2.9.{number}") for number in range(16)]:
                peer.close()
            self.at_rest()
            before, held = held, self.footprint().memory
            if held - before < MIB // 4:
                return

    def _store(self, uid: str) -> RawPeer:
        peer = associated(self.port, source=MODALITY)
        peer.send(store_pdu(uid, wire.dataset(instance=uid, study="1.2.9")))
        assert peer.status() == 0
        return peer

    def at_rest(self) -> Footprint:
        """Wait until no association is left; return what the process then holds."""
        wait_until(lambda: self.footprint().threads <= self._resting, 30, "associations to end")
        return self.footprint()

    def footprint(self) -> Footprint:
        """Measure what the process holds."""
        return Footprint.of(self.pid)


def _rows(path: Path, table: Table) -> Sequence[Any]:
    database = Database(f"sqlite:///{path}", owner=False)
    try:
        with database.read() as connection:
            return connection.execute(select(table)).all()
    finally:
        database.close()


class Modality:
    """A well-behaved peer that associates, echoes, stores and releases, over and over.

    `with Modality(node) as modality:`; the end waits for a round that began and ended within.
    """

    _runs = 0

    def __init__(self, node: ReceptionNode, pause_s: float = 0.05) -> None:
        Modality._runs += 1
        self._study = f"1.2.8.{os.getpid()}.{Modality._runs}"
        self._port = node.port
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.stored: list[str] = []
        self.trouble: list[str] = []
        self.waits_s: list[float] = []  # to be associated
        self.rounds_s: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seen = len(self.rounds_s)
        if kind is None:
            wait_until(lambda: len(self.rounds_s) > seen or bool(self.trouble), 30)
        self._stop.set()
        self._thread.join(30)
        assert self.trouble == []

    def _run(self) -> None:
        while not self._stop.is_set() and not self.trouble:
            try:
                self._round(f"{self._study}.{len(self.stored)}")
            except (AssertionError, OSError) as error:
                self.trouble.append(f"{type(error).__name__}: {error}")
            self._stop.wait(self._pause_s)

    def _round(self, uid: str) -> None:
        started = time.monotonic()
        with associated(self._port, source=MODALITY) as peer:
            self.waits_s.append(time.monotonic() - started)
            peer.send(ECHO)
            assert peer.status() == 0
            peer.send(store_pdu(uid, wire.dataset(instance=uid, study=self._study)))
            assert peer.status() == 0
            self.stored.append(uid)
            peer.send(wire.pdu(5, bytes(4)))
            assert peer.receive() == (6, bytes(4))
        self.rounds_s.append(time.monotonic() - started)
