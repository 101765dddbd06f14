"""The service: reception, assembly, worker, deliveries and probes in one process tree."""

import logging
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from daemon import audit, build, certificates, clock, failpoints, jobs, setup, systemd
from daemon.assemble import Assembler
from daemon.audit_notes import Notes
from daemon.bell import Bell
from daemon.callers import Callers
from daemon.child import START_S, Child, ChildOptions
from daemon.commitment import Reports
from daemon.config import Config, guard_open_door
from daemon.custody import Custody
from daemon.database import Database
from daemon.eligibility import by_headers
from daemon.errors import ConfigError, DaemonError, UnavailableError
from daemon.health import Health
from daemon.http import HttpServer
from daemon.nightly import Nightly, started_calendar
from daemon.outbox import Outbox
from daemon.publish import Publisher
from daemon.pulse import Pulse
from daemon.receive import Reception
from daemon.teller import Teller
from daemon.threads import Threads
from daemon.worker import Worker
from dicom_io import scu
from dicom_io.acceptor import Acceptor
from dicom_io.errors import DicomIOError
from dicom_io.reception import Limits

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler
    from fastapi import FastAPI

    from daemon.console.desk import Desk

log = logging.getLogger(__name__)
STALL_S = START_S + 30.0  # a thread that has not advanced for so long is stuck


class Service:
    """Everything `axnode serve` runs.

    Parameters
    ----------
    config
        The configuration.
    now
        The wall clock.
    child
        The analysing process, which may load its model already; left out: a new one.
    reload
        Reads the configuration again and has the service start anew; raises where it is wrong.

    Raises
    ------
    DaemonError
        Something the service needs is not there; says what to do.
    """

    def __init__(
        self,
        config: Config,
        now: clock.Clock = clock.now_us,
        child: Child | None = None,
        reload: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self._reload = reload
        self._trail = audit.open_trail(config, now)
        self._notes = notes = Notes(self._trail.note if self._trail else audit.nowhere)
        try:
            bundle = setup.load_bundle(config)
            setup.guard_demonstration(config, bundle)
            self._tls = tls = certificates.load(config, now())
            watched = certificates.watched(config, tls)
        except ConfigError as error:
            notes.misconfigured(str(error))
            self._end_trail()
            raise
        self._folders = setup.make_folders(config)
        self._lock = setup.lock(config.state_dir)
        failpoints.reach("start.locked")
        for left in self._folders.scratch.iterdir():
            left.unlink(missing_ok=True)  # masks and pictures of a process that was killed
        self.database = Database(config.database_url)
        holder = setup.holder(config)
        self.database.write(lambda c: jobs.release(c, holder))
        failpoints.reach("start.opened")
        recipe = setup.recipe_digest(config)
        self._stopping = threading.Event()
        self._threads = Threads(self._stopping, STALL_S)
        self._analyses = Bell()
        self._clock = now
        self._child = child or Child(ChildOptions.of(config))
        self._child.on_life = self._on_life
        reader = setup.make_reader(config, bundle, self.database)
        objects = self._folders.objects
        reports = Reports(self.database, objects, now)
        client = tls.client if tls else None
        self._outbox = Outbox(config, self.database, objects, now, reports, client, notes)
        self._worker = Worker(
            config,
            self.database,
            now,
            self._folders,
            self._child,
            Publisher(config, self.database, now, objects, reader, recipe),
            holder,
            self._analyses,
            self._outbox.ring,
        )
        judge = by_headers(self._folders.spool, config.rules)
        identity = bundle.digest, recipe
        self._assembler = Assembler(
            config, self.database, now, judge, *identity, queued=self._analyses.ring
        )
        self._nightly = Nightly(
            config.retention, self.database, self._folders, watched, now, self._stopping
        )
        reception = Reception(config, self.database, self._folders.spool, now, reports, notes)
        self._teller: Teller | None = None
        provider = None
        if config.node.storage_commitment_scp:
            callers = Callers(config)
            provider = Custody(callers, self.database, self._folders.spool, now)
            self._teller = Teller(
                config.node.ae_title, callers, provider, self.database, now, self._sources_tls()
            )
        server = tls.server if tls else None
        self._acceptor = _acceptor(config, reception, provider, server)
        self.health = Health(
            config,
            self.database,
            self._folders.spool,
            now,
            self._threads,
            self._child,
            watched,
            self._trail,
            lambda: self._acceptor.alive,
        )
        self._bundle, self._recipe = bundle, recipe
        self._desk: Desk | None = None
        self._http = HttpServer(self.health, config.http, self._console)
        self._calendar: BackgroundScheduler | None = None

    @property
    def port(self) -> int:
        """Port on which instances are received."""
        return self._acceptor.port

    @property
    def http_port(self) -> int:
        """Port of probes and metrics."""
        return self._http.port

    def start(self) -> None:
        """Open the ports and start the threads; the model loads meanwhile."""
        try:
            self._acceptor.start()
        except DicomIOError as error:
            raise UnavailableError(str(error)) from error
        self._http.start()
        self._outbox.start(self._threads, self._stopping)
        self._threads.start("assembler", self._assemble)
        self._threads.start("worker", self._work)
        if self._teller is not None:
            self._threads.start("commitment", partial(self._teller.run, self._stopping))
        if self.config.notify.webhook is not None:
            from daemon.notify import notifier

            told = notifier(self.config, self.health.troubles)
            self._threads.start("notify", partial(told.run, self._stopping))
        self._calendar = started_calendar(self.nightly)
        self._notes.activity(started=True)
        systemd.notify("READY=1")
        log.info(
            "ready",
            extra={"action": "start", "port": self.port, "http_port": self.http_port},
        )
        build.load()

    def _sources_tls(self) -> ssl.SSLContext | None:
        """Return what modalities are called back in: what they call in."""
        return self._tls.client if self._tls and self.config.tls.receive else None

    def serve(self, stop: threading.Event) -> None:
        """Tell the service manager that all is well until `stop` is set."""
        while not stop.wait(5.0):
            if not self.health.ailments():
                systemd.notify("WATCHDOG=1")

    def stop(self, drain_s: float = 20.0) -> None:
        """Let running associations and the job at hand finish, within `drain_s`, and stop."""
        log.info("stopping", extra={"action": "stop"})
        deadline = time.monotonic() + drain_s
        self._acceptor.stop(drain_s)
        self._stopping.set()
        self._analyses.ring()
        self._outbox.wake()
        if not self._worker.busy:
            self._child.kill()  # nobody waits for a model that is still loading
        self._threads.join(deadline)
        self._child.kill()  # a job that did not finish is given back and claimed at the next start
        self._threads.join(time.monotonic() + 5.0)
        self._child.stop()
        if self._calendar is not None:
            self._calendar.shutdown(wait=False)
        self._http.stop()
        if self._desk is not None:
            self._desk.stop()
        self.database.close()
        self._notes.activity(started=False)
        self._end_trail()
        self._lock.close()

    def _end_trail(self) -> None:
        if self._trail is not None:
            self._trail.stop()

    def _assemble(self, pulse: Pulse) -> None:
        while not self._stopping.is_set():
            pulse()
            if not self._assembler.sweep():
                self._stopping.wait(self._assembler.pause_s)

    def _work(self, pulse: Pulse) -> None:
        try:
            self._child.start()
        except DaemonError as error:
            self.health.model_problem, self.health.model_failed = str(error), True
            raise
        self.health.model_problem, self.health.model_failed = "", False
        self._worker.run(self._stopping, pulse)

    def _on_life(self) -> None:
        self._threads.advance("worker")
        self._worker.alive()

    def nightly(self) -> None:
        """Do what the calendar asks for once a night."""
        self._nightly.run()

    def _console(self, app: "FastAPI") -> None:
        """Add the pages for people to the HTTP application; in its thread, for it takes a while."""
        from daemon.console.app import install
        from daemon.console.desk import Desk

        self._desk = Desk(
            self.config,
            self.database,
            self._folders,
            self._clock,
            self._bundle,
            self._recipe,
            self._notes,
            self.health,
            self,
        )
        install(app, self._desk, self._notes)

    def echo(self, destination: str) -> str:
        """C-ECHO a destination; return what came of it, raise `PeerError` where nothing did."""
        scu.echo(self._outbox.peers[destination])
        return f"{destination} answered C-ECHO"

    def wake(self) -> None:
        """Say that there is new work."""
        self._analyses.ring()
        self._outbox.ring()

    def reload(self) -> None:
        """Read the configuration again and start anew; raise `DaemonError` where it is wrong."""
        try:
            self._reload()
        except DaemonError as error:
            self.health.refused_reload = str(error)
            raise


def _acceptor(
    config: Config,
    reception: Reception,
    provider: Custody | None,
    tls: ssl.SSLContext | None,
) -> Acceptor:
    node = config.node
    limits = Limits(max_associations=node.max_associations)
    listener = systemd.listener()
    if listener is not None:
        guard_open_door(config, listener.getsockname()[0])
    return Acceptor(
        reception,
        reception.accepted,
        node.host,
        node.port,
        limits,
        listener,
        tls=tls,
        provider=provider,
    )
