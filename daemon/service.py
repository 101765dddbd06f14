"""The service: the parts that its roles ask for, and the probes, in one process tree."""

import logging
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from daemon import (
    audit,
    build,
    bundles,
    certificates,
    claims,
    clock,
    failpoints,
    setup,
    systemd,
    ways,
)
from daemon.analysing import Analysing
from daemon.audit_notes import Notes
from daemon.child import START_S, Child, ChildOptions
from daemon.commitment import Reports
from daemon.common import Common
from daemon.config import Config
from daemon.database import Database
from daemon.errors import ConfigError, UnavailableError
from daemon.health import Health
from daemon.hints import ANALYSES, DELIVERIES, Hints
from daemon.http import HttpServer
from daemon.nightly import Nightly, started_calendar
from daemon.outbox import Outbox
from daemon.presence import Presence
from daemon.receiving import Receiving
from daemon.reloading import Reload, Reloading
from daemon.roles import EVERY, Role
from daemon.threads import Threads
from daemon.troubles import of_service
from daemon.turns import Turns

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler
    from fastapi import FastAPI

    from daemon.console.desk import Desk
    from daemon.receive import Reception
    from daemon.stow_http import StowDoor

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
        Reads the configuration again and has the service start anew.
    roles
        What of a node this process does.

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
        reload: Reload = lambda agreed: None,
        roles: frozenset[Role] = EVERY,
    ) -> None:
        self.config = config
        self._roles = roles
        self._trail = audit.open_trail(config, now)
        self._notes = notes = Notes(self._trail.note if self._trail else audit.nowhere)
        try:
            loaded = bundles.load(config)
            tls = certificates.load(config, now())
            watched = certificates.watched(config, tls)
        except ConfigError as error:
            notes.misconfigured(str(error))
            self._end_trail()
            raise
        scratch = setup.make_state(config)
        self._lock = setup.lock(config.state_dir)
        failpoints.reach("start.locked")
        for left in scratch.iterdir():
            left.unlink(missing_ok=True)  # masks and pictures of a process that was killed
        self.database = database = Database(config.database_url)
        setup.guard_folder(config, database)
        self._folders = folders = setup.make_folders(config)
        now = database.clock(now)
        holder = setup.holder(config)
        database.write(lambda c: claims.release(c, holder))
        failpoints.reach("start.opened")
        self._reloading = Reloading(config, database, holder, reload)
        self._stopping = threading.Event()
        self._threads = Threads(self._stopping, STALL_S)
        self._turns = Turns(database, holder, now)
        self._hints = Hints(database)
        self._common = common = Common(
            config=config,
            database=database,
            folders=folders,
            clock=now,
            bundles=loaded,
            recipe=setup.recipe_digest(config),
            holder=holder,
            tls=tls,
            notes=notes,
            reports=Reports(database, folders.objects, now),
            turns=self._turns,
            hints=self._hints,
            stopping=self._stopping,
        )
        self._outbox = Outbox(common)
        self._nightly = Nightly(config.retention, database, folders, watched, now, self._turns)
        self._receiving = Receiving(common) if Role.RECEIVER in roles else None
        self._analysing = None
        if Role.WORKER in roles:
            self._analysing = Analysing(common, child or Child(ChildOptions.of(config)))
        self.health = Health(
            config,
            database,
            folders.spool,
            now,
            self._threads,
            self._analysing.child if self._analysing else None,
            watched,
            self._trail,
            lambda: self._receiving is None or self._receiving.acceptor.alive,
            lambda: self._reloading.refused,
        )
        self._presence = Presence(database, holder, roles, now, self.health.capacity)
        self._desk: Desk | None = None
        pages = self._console if Role.CONSOLE in roles else None
        stow = partial(self._stow, self._receiving.reception) if self._receiving else None
        self._http = HttpServer(self.health, config.http, pages, stow=stow)
        self._calendar: BackgroundScheduler | None = None

    @property
    def port(self) -> int:
        """Port on which instances are received; 0: none are."""
        return self._receiving.acceptor.port if self._receiving else 0

    @property
    def http_port(self) -> int:
        """Port of probes and metrics."""
        return self._http.port

    def start(self) -> None:
        """Open the ports and start the threads; the model loads meanwhile."""
        if self._receiving is not None:
            self._receiving.open()
        self._http.start()
        if Role.DELIVERER in self._roles:
            self._hints.on(DELIVERIES, self._outbox.ring)
            self._outbox.start(self._threads)
            self._threads.start("nightly", partial(self._nightly.run, self._stopping))
            self._calendar = started_calendar(self._nightly.come)
        if self._receiving is not None:
            self._receiving.start(self._threads)
        if self._analysing is not None:
            self._analysing.start(self._threads, self.health)
        if self.database.shared:
            self._threads.start("hints", partial(self._hints.listen, self._stopping))
            self._threads.start("presence", partial(self._presence.run, self._stopping))
            self._threads.start("reload", partial(self._reloading.run, self._stopping))
        if self.config.notify.webhook is not None:
            from daemon.notify import Notifiers

            own, of_rows = partial(of_service, self.health), self.health.troubles_of_rows
            mine = partial(self._turns.mine, "notify")
            told = Notifiers(self.config, own, of_rows, self.database, mine)
            self._threads.start("notify", partial(told.run, self._stopping))
        self._notes.activity(started=True)
        systemd.notify("READY=1")
        ports = {"port": self.port, "http_port": self.http_port}
        log.info("ready", extra={"action": "start", "roles": sorted(self._roles), **ports})
        build.load()

    def serve(self, stop: threading.Event) -> None:
        """Tell the service manager that all is well until `stop` is set."""
        while not stop.wait(5.0):
            if not self.health.ailments():
                systemd.notify("WATCHDOG=1")

    def stop(self, drain_s: float = 20.0) -> None:
        """Let running associations and the job at hand finish, within `drain_s`, and stop."""
        log.info("stopping", extra={"action": "stop"})
        deadline = time.monotonic() + drain_s
        if self._receiving is not None:
            self._receiving.acceptor.stop(drain_s)
        self._stopping.set()
        self._outbox.wake()
        self._nightly.bell.ring()
        if self._analysing is not None:
            self._analysing.wind_down()
        self._threads.join(deadline)
        if self._analysing is not None:
            # a job that did not finish is given back and claimed at the next start
            self._analysing.child.kill()
            self._threads.join(time.monotonic() + 5.0)
            self._analysing.child.stop()
        if self._calendar is not None:
            self._calendar.shutdown(wait=False)
        self._http.stop()
        if self._desk is not None:
            self._desk.stop()
        with suppress(UnavailableError):  # they end by themselves soon
            self._turns.give_up()
        self.database.close()
        self._notes.activity(started=False)
        self._end_trail()
        self._lock.close()

    def _end_trail(self) -> None:
        if self._trail is not None:
            self._trail.stop()

    def nightly(self) -> None:
        """Do tonight's work, unless it is done."""
        self._nightly.come()
        self._nightly.look()

    def _console(self, app: "FastAPI") -> None:
        """Add the pages for people to the HTTP application; in its thread, for it takes a while."""
        from daemon.console.app import install
        from daemon.console.desk import Desk

        self._desk = Desk(self._common, self.health, self)
        install(app, self._desk, self._notes)

    def _stow(self, reception: "Reception") -> "StowDoor":
        """Make the door for images on the HTTP port; in its thread, likewise."""
        from daemon.stow_http import StowDoor

        return StowDoor(self.config, reception, self._notes, self._stopping)

    def echo(self, destination: str) -> str:
        """C-ECHO a destination; return what came of it, raise `PeerError` where nothing did."""
        how = ways.echo(self._outbox.peers[destination])
        return f"{destination} answered {how}"

    def wake(self) -> None:
        """Say that there is new work."""
        self._hints.tell(ANALYSES)
        self._hints.tell(DELIVERIES)

    def reload(self) -> None:
        """Have every process read its configuration again; raise `DaemonError` if ours is wrong."""
        self._reloading.every_process()

    def reload_here(self) -> None:
        """Read the configuration again and start anew; raise `DaemonError` where it is wrong."""
        self._reloading.this_process()
