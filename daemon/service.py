"""The service: reception, assembly, worker, deliveries and probes in one process tree."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from apscheduler.schedulers.background import BackgroundScheduler

from daemon import clock, setup, status, systemd
from daemon.asker import Asker
from daemon.assemble import Assembler
from daemon.callers import Callers
from daemon.child import START_S, Child, ChildOptions
from daemon.commitment import Reports, trust_stored
from daemon.config import Config, Destination
from daemon.custody import Custody
from daemon.database import Database
from daemon.deliver import Deliverer, park_unknown, remote
from daemon.errors import DaemonError, UnavailableError
from daemon.http import HttpServer
from daemon.pulse import Pulse
from daemon.receive import Reception
from daemon.teller import Teller
from daemon.worker import Worker
from dicom_io.acceptor import Acceptor
from dicom_io.errors import DicomIOError
from dicom_io.facts import eligible, facts
from dicom_io.frames import read_header
from dicom_io.reception import Limits

log = logging.getLogger(__name__)
STALL_S = START_S + 30.0  # a thread that has not advanced for so long is stuck
_POLL_S = 0.2


class Service:
    """Everything `axnode serve` runs.

    Parameters
    ----------
    config
        The configuration.
    now
        The wall clock.

    Raises
    ------
    DaemonError
        Something the service needs is not there; says what to do.
    """

    def __init__(self, config: Config, now: clock.Clock = clock.now_us) -> None:
        self.config = config
        bundle = setup.load_bundle(config)
        setup.guard_demonstration(config, bundle)
        self._folders = setup.make_folders(config)
        self._lock = setup.lock_state(config)
        for left in self._folders.scratch.glob("*.npz"):
            left.unlink(missing_ok=True)  # masks of a process that was killed
        self.database = Database(config.database_url)
        recipe = setup.recipe_digest(config)
        self._stopping = threading.Event()
        self._pulses: dict[str, Pulse] = {}
        self._threads: list[threading.Thread] = []
        self._clock = now
        self._child = Child(
            ChildOptions(
                bundle.path, config.model.device, int(config.model.memory_limit_gb * 2**30)
            ),
            self._on_life,
        )
        self._worker = Worker(
            config,
            self.database,
            now,
            self._folders,
            setup.make_reader(config, bundle, self.database),
            recipe,
            self._child,
        )
        self._assembler = Assembler(
            config, self.database, now, self._eligible, bundle.digest, recipe
        )
        reports = Reports(self.database, self._folders.objects, now)
        self._deliverers = {
            item.name: self._deliverer(item, reports) for item in config.destinations
        }
        self._model_problem = "the model is still loading"
        self.model_failed = False
        reception = Reception(config, self.database, self._folders.spool, now, reports)
        self._teller: Teller | None = None
        provider = None
        if config.node.storage_commitment_scp:
            callers = Callers(config)
            provider = Custody(callers, self.database, self._folders.spool, now)
            own = config.node.ae_title
            self._teller = Teller(own, callers, provider, self.database, now)
        self._acceptor = _acceptor(config, reception, provider)
        self._http = HttpServer(self, config.http.host, config.http.port)
        self._calendar = BackgroundScheduler(timezone="UTC")

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
        self._adopt()
        self._thread("assembler", self._assemble)
        self._thread("worker", self._work)
        for name, deliverer in self._deliverers.items():
            self._thread(f"deliver-{name}", partial(deliverer.run, self._stopping))
        if self._teller is not None:
            self._thread("commitment", partial(self._teller.run, self._stopping))
        self._calendar.add_job(self._nightly, "cron", hour=3, minute=17)
        self._calendar.start()
        systemd.notify("READY=1")
        log.info(
            "ready",
            extra={"action": "start", "port": self.port, "http_port": self.http_port},
        )

    def _deliverer(self, destination: Destination, reports: Reports) -> Deliverer:
        peer = remote(destination, self.config.node.ae_title)
        asks = destination.storage_commitment
        asker = Asker(peer, self.database, reports, self._clock) if asks else None
        objects = self._folders.objects
        return Deliverer(peer, self.database, objects, self._clock, asker=asker)

    def _adopt(self) -> None:
        """Bring deliveries that wait in line with the destinations of this configuration."""
        trusted = [d.name for d in self.config.destinations if not d.storage_commitment]
        names, now = list(self._deliverers), self._clock()
        self.database.write(lambda c: park_unknown(c, names, now))
        for file_hash in self.database.write(lambda c: trust_stored(c, trusted, now)):
            self._folders.objects.remove(file_hash)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; then drain."""
        self.start()
        while not stop.wait(5.0):
            if not self.ailments():
                systemd.notify("WATCHDOG=1")
        systemd.notify("STOPPING=1")
        self.stop()

    def stop(self, drain_s: float = 20.0) -> None:
        """Let running associations and the job at hand finish, within `drain_s`, and stop."""
        log.info("stopping", extra={"action": "stop"})
        deadline = time.monotonic() + drain_s
        self._acceptor.stop(drain_s)
        self._stopping.set()
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        self._child.kill()  # a job that did not finish is given back and claimed at the next start
        for thread in self._threads:
            thread.join(5.0)
        self._child.stop()
        if self._calendar.running:
            self._calendar.shutdown(wait=False)
        self._http.stop()
        self.database.close()
        self._lock.close()

    def _thread(self, name: str, target: Callable[[Pulse], None]) -> None:
        pulse = self._pulses[name] = Pulse()
        thread = threading.Thread(
            target=self._guarded, args=(name, target, pulse), name=name, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _guarded(self, name: str, target: Callable[[Pulse], None], pulse: Pulse) -> None:
        while not self._stopping.is_set():
            pulse()  # what fails and is tried again advances; `unready` tells what is wrong
            try:
                target(pulse)
            except Exception:
                log.exception("thread failed", extra={"action": "thread_failed", "poller": name})
                self._stopping.wait(5.0)

    def _assemble(self, pulse: Pulse) -> None:
        while not self._stopping.is_set():
            pulse()
            if not self._assembler.sweep():
                self._stopping.wait(_POLL_S)

    def _work(self, pulse: Pulse) -> None:
        try:
            self._child.start()
        except DaemonError as error:
            self._model_problem, self.model_failed = str(error), True
            raise
        self._model_problem, self.model_failed = "", False
        self._worker.run(self._stopping, pulse)

    def _on_life(self) -> None:
        self._pulses["worker"]()
        self._worker.alive()

    def _eligible(self, hashes: Sequence[str]) -> str | None:
        for digest in hashes:
            try:
                why = eligible(facts(read_header(self._folders.spool.path(digest))))
            except (DicomIOError, OSError):
                continue  # what cannot be read names nothing; the worker says so if it must
            if why is not None:
                return why
        return None

    def _nightly(self) -> None:
        free = self._folders.spool.free_bytes() // 2**30
        log.info("nightly check", extra={"action": "nightly", "free_gib": free})

    # Probed

    def ailments(self) -> list[str]:
        """Return the threads that are stuck."""
        dead = [] if self.database.alive else ["the database's writer has ended"]
        if not self._acceptor.alive:
            dead.append("reception has ended")
        return dead + [
            f"{name} has not advanced for {pulse.age_s():.0f} s"
            for name, pulse in self._pulses.items()
            if pulse.age_s() > STALL_S
        ]

    def unready(self) -> list[str]:
        """Return what keeps the node from analysing."""
        problems = [f"model: {self._model_problem}"] if self._model_problem else []
        if self._folders.spool.free_bytes() < self.config.node.disk_floor_gb * 2**30:
            problems.append("disk: less is free than node.disk_floor_gb")
        return problems

    def metrics(self) -> dict[str, float]:
        """Return the metrics."""
        values: dict[str, float] = {
            "axnode_disk_free_bytes": self._folders.spool.free_bytes(),
            "axnode_ready": float(not self.unready()),
        }
        with self.database.read() as connection:
            for state, number in status.counts(connection).items():
                values[f'axnode_studies{{state="{state}"}}'] = number
            values["axnode_oldest_waiting_seconds"] = (
                status.oldest_waiting_s(connection, self._clock()) or 0.0
            )
            names = [destination.name for destination in self.config.destinations]
            for item in status.destinations(connection, names):
                for state in ("pending", "stored", "delivered", "parked"):
                    key = f'axnode_deliveries{{destination="{item["name"]}",state="{state}"}}'
                    values[key] = item[state]
        return values


def _acceptor(config: Config, reception: Reception, provider: Custody | None) -> Acceptor:
    limits = Limits(max_associations=config.node.max_associations)
    where = config.node.host, config.node.port
    return Acceptor(reception, reception.accepted, *where, limits, provider=provider)
