"""A node under test: ``axnode serve`` as a process of its own, on free loopback ports."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from sqlalchemy import select

from daemon import config as configuration
from daemon import schema, status
from daemon.database import Database
from dicom_io import scu
from dicom_io.scu import Remote, StoreResult
from tests.peers import free_port

AT_REST = ("delivered", "not_evaluable", "ignored", "parked")


def toml(tables: Mapping[str, Any]) -> str:
    """Write a configuration: tables of scalars, and lists of such tables."""
    lines: list[str] = []
    for name, table in tables.items():
        if not isinstance(table, (Mapping, list)):
            lines.insert(0, f"{name} = {json.dumps(table)}")
            continue
        many = isinstance(table, list)
        for item in table if many else [table]:
            lines.append(f"[[{name}]]" if many else f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in item.items()]
    return "\n".join(lines) + "\n"


def axnode(*words: str, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
    """Run the command ``axnode`` and return what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Node:
    """A running node: `with Node(tmp_path, destinations=[…]) as node:`.

    `stop()` and `start()` inside the block restart it on the same ports and state.
    """

    command: tuple[str, ...] = ("daemon.cli", "serve")  # module and its arguments

    def __init__(
        self,
        folder: Path,
        destinations: Sequence[Mapping[str, Any]] = (),
        sources: Sequence[Mapping[str, Any]] = (),
        **tables: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.http_port = free_port()
        merged: dict[str, Any] = {
            "node": {"port": self.port, "state_dir": str(folder / "state"), "disk_floor_gb": 0.1},
            "http": {"port": self.http_port},
            "study": {"quiet_period_s": 0.5, "version_interval_s": 0},
            "sources": list(sources),
            "destinations": list(destinations),
        }
        for name, table in tables.items():
            whole = isinstance(table, Mapping)
            merged[name] = {**merged.get(name, {}), **table} if whole else list(table)
        self.port, self.http_port = merged["node"]["port"], merged["http"]["port"]
        self.state_dir = Path(merged["node"]["state_dir"])
        self.config_file = folder / "axnode.toml"
        self.config_file.write_text(toml(merged))
        self._log = folder / "node.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What the node has logged so far."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Process id of the service."""
        return self._process.pid

    def start(self, *, ready: bool = True, **environ: str) -> None:
        """Start the service; with `ready`, wait until the model is loaded."""
        self.launch(**environ)
        try:
            self._wait_http("readyz" if ready else "livez")
        except BaseException:
            self.kill()
            raise

    def launch(self, **environ: str) -> None:
        """Start the process, with more in its environment, and wait for nothing."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.command, "--config", str(self.config_file)],
                stderr=log,
                env={**os.environ, **environ},
            )

    def wait_end(self, timeout_s: float) -> int | None:
        """Wait for the process to end by itself; return its code, None where it goes on."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def _wait_http(self, path: str, timeout_s: float = 90) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log[-2000:]
            try:
                if self.get(path).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"/{path} did not answer 200: {self.log[-2000:]}")

    def get(self, path: str) -> httpx.Response:
        """GET from the node's HTTP port."""
        url = f"http://127.0.0.1:{self.http_port}/{path}"
        return httpx.get(url, timeout=5, trust_env=False)

    def stop(self, timeout_s: float = 40) -> int:
        """Stop by SIGTERM; return the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill as a crash would."""
        self._process.kill()
        self._process.wait()

    def remote(self, calling_ae: str = "MODALITY", called_ae: str = "AXNODE") -> Remote:
        """Return the node as a modality would configure it."""
        return Remote("node", called_ae, "127.0.0.1", self.port, calling_ae)

    def push(self, paths: Iterable[Path], calling_ae: str = "MODALITY") -> list[StoreResult]:
        """C-STORE files to the node."""
        return scu.store(self.remote(calling_ae), list(paths))

    def _rows(self, query: Any) -> list[Any]:
        config = configuration.load(self.config_file, {})
        database = Database(config.database_url, owner=False)
        try:
            with database.read() as connection:
                return list(connection.execute(query))
        finally:
            database.close()

    def events(self, action: str) -> list[Any]:
        """Return the timeline's events of one action."""
        return self._rows(select(schema.events).where(schema.events.c.action == action))

    def transfer_syntaxes(self) -> dict[str, str]:
        """Return the transfer syntax in which each instance came, by SOP Instance UID."""
        table = schema.instances
        return dict(
            map(tuple, self._rows(select(table.c.sop_instance_uid, table.c.transfer_syntax_uid)))
        )

    def studies(self) -> dict[str, dict[str, Any]]:
        """Return the studies as ``axnode studies --json`` would, by study UID."""
        config = configuration.load(self.config_file, {})
        database = Database(config.database_url, owner=False)
        try:
            with database.read() as connection:
                return {item["study_uid"]: item for item in status.studies(connection)}
        finally:
            database.close()

    def summaries(self) -> dict[str, dict[str, Any]]:
        """Return what the latest analysis of each study found, by study UID."""
        analyses, studies = schema.analyses, schema.studies
        query = select(studies.c.study_uid, analyses.c.summary).where(
            analyses.c.study_id == studies.c.id, analyses.c.version == studies.c.version
        )
        return {uid: json.loads(text) for uid, text in self._rows(query)}

    def settle(
        self, study_uids: Iterable[str], states: Sequence[str] = AT_REST, timeout_s: float = 240
    ) -> dict[str, dict[str, Any]]:
        """Wait until the studies are in one of the states; return them."""
        wanted = list(study_uids)
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.studies()
            waiting = [uid for uid in wanted if found.get(uid, {}).get("state") not in states]
            if not waiting:
                return {uid: found[uid] for uid in wanted}
            stuck = [uid for uid in waiting if found.get(uid, {}).get("state") == "ignored"]
            if stuck or time.monotonic() > deadline:
                shown = {uid: found.get(uid) for uid in waiting}
                raise AssertionError(f"not in {states} in time: {shown}\n{self.log[-2000:]}")
            time.sleep(0.1)


def destination(name: str, ae_title: str, port: int) -> dict[str, Any]:
    """Return the configuration of a destination on this machine."""
    return {"name": name, "ae_title": ae_title, "host": "127.0.0.1", "port": port}
