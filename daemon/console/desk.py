"""What the pages and ``/api/v1`` show and do, without HTTP: rows, service and audit trail."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, func, select

from daemon import by_hand, schema, status, unpark
from daemon.clock import SECOND_US
from daemon.common import Common
from daemon.console import listing
from daemon.console.accounts import Person
from daemon.console.drift import Day, drift
from daemon.console.files import File, Files
from daemon.console.listing import StudyPage
from daemon.console.overview import Overview, overview
from daemon.console.peers import Peers, peers
from daemon.console.study import Study, study
from daemon.console.words import ROLES
from daemon.eligibility import by_headers
from daemon.errors import UnknownError
from daemon.fallback import destinations_for
from daemon.troubles import Ailing

_DRIFT_US = 60 * SECOND_US  # for which it is kept: it reads the rows of three months


class Ailments(Ailing, Protocol):
    """How the service is: `daemon.health.Health`."""

    def device(self) -> str:
        """Return where the model runs; empty while it loads."""


class Running(Protocol):
    """What the service is asked to do."""

    def echo(self, destination: str) -> str:
        """C-ECHO a destination; return what came of it, raise `PeerError` where nothing did."""

    def wake(self) -> None:
        """Say that there is new work."""

    def reload(self) -> None:
        """Read the configuration again; raise `ConfigError` where it is wrong."""


@dataclass(frozen=True)
class Asker:
    """Who asks, and from where: for the audit trail."""

    person: Person
    address: str


class Desk:
    """The one behind all pages.

    Parameters
    ----------
    health, running
        The service.
    """

    def __init__(self, common: Common, health: Ailments, running: Running) -> None:
        self.config = common.config
        self.bundles = common.bundles
        self.bundle = common.bundles.first
        self.clock = common.clock
        self.health = health
        self._running = running
        self._database = common.database
        self._recipe = common.recipe
        self._judge = by_headers(common.folders.spool, common.config.rules)
        self._notes = common.notes
        self.files = Files(common.database, common.folders)
        self._drift: tuple[int, tuple[Day, ...]] = (-_DRIFT_US, ())
        self._drift_lock = threading.Lock()

    def stop(self) -> None:
        """End what was started."""
        self.files.stop()

    # what is shown

    def overview(self) -> Overview:
        """Return the first page."""
        names = [destination.name for destination in self.config.destinations]
        with self._database.read() as connection:
            return overview(connection, names, self.health, self.clock())

    def studies(self, wanted: status.Page, after: str | None) -> StudyPage:
        """Return a page of studies; see `listing.page`."""
        with self._database.read() as connection:
            return listing.page(connection, wanted, after)

    def find(self, words: str) -> StudyPage:
        """Return the studies of a Study Instance UID, or of its beginning, or of a PatientID."""
        with self._database.read() as connection:
            return listing.find(connection, self._database.node_id, words)

    def study(self, study_id: int) -> Study:
        """Return one study; `InputError` where there is none."""
        with self._database.read() as connection:
            return study(connection, study_id)

    def looked_at(self, asker: Asker, study_id: int) -> Study:
        """Return one study to a person, which is noted."""
        shown = self.study(study_id)
        self._notes.looked(asker.person.name, asker.address, shown.study_uid, "study")
        return shown

    def study_id(self, study_uid: str) -> int:
        """Return a study's row; `InputError` where there is none."""
        with self._database.read() as connection:
            return by_hand.study_id_of(connection, study_uid)

    def peers(self) -> Peers:
        """Return modalities, PACS and refusals."""
        words = [words for words, _ in self.health.certificates()]
        with self._database.read() as connection:
            return peers(connection, self.config, words)

    def drift(self) -> tuple[Day, ...]:
        """Return the distribution of the bundle's scores, day by day; up to a minute old."""
        with self._drift_lock:
            now = self.clock()
            made_us, days = self._drift
            if not 0 <= now - made_us < _DRIFT_US:
                with self._database.read() as connection:
                    days = drift(connection, self.bundle.digest, self.threshold, now)
                self._drift = now, days
            return days

    @property
    def threshold(self) -> float:
        """The operating point in force."""
        points = self.bundle.operating_points
        wanted = self.config.model.operating_point
        return next((p.threshold for p in points if p.name == wanted), points[0].threshold)

    def last_event(self) -> int:
        """Return the number of the latest event: when it changes, so do the pages."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.max(schema.events.c.id))).scalar() or 0)

    # files, which are noted

    def result(self, asker: Asker, study_id: int, object_id: int) -> File:
        """Return a result object's file to a person."""
        self._notes.looked(asker.person.name, asker.address, self._uid(study_id), "results")
        return self.files.result(study_id, object_id)

    def report(self, asker: Asker, study_id: int, object_id: int) -> tuple[str, str]:
        """Return a report to a person; see `Files.report`."""
        self._notes.looked(asker.person.name, asker.address, self._uid(study_id), "report")
        return self.files.report(study_id, object_id)

    # what is done

    def retry(self, asker: Asker, study_id: int) -> str:
        """Try what is parked again."""
        uid = self._uid(study_id)
        names = [destination.name for destination in self.config.destinations]
        return self._act(asker, uid, "retried", lambda c: unpark.retry(c, uid, names, self.clock()))

    def send(self, asker: Asker, study_id: int, destination: str) -> str:
        """Send the results to a destination, again or for the first time."""
        if destination not in {each.name for each in self.config.destinations}:
            raise UnknownError(f"no destination {destination!r} is configured")
        by = asker.person.name
        roles = [role for role in ROLES if destination in destinations_for(role, self.config)]
        return self._act(
            asker,
            self._uid(study_id),
            f"sent to {destination}",
            lambda c: by_hand.send(c, study_id, destination, self.clock(), by=by, roles=roles),
        )

    def analyse(self, asker: Asker, study_id: int) -> str:
        """Have it analysed again, or in spite of the rules."""
        with self._database.read() as connection:
            verdict = self._judge(by_hand.members(connection, study_id))
        now = self.bundles.named(verdict.bundle).digest, self._recipe
        return self._act(
            asker,
            self._uid(study_id),
            "analysed by hand",
            lambda c: by_hand.analyse(c, study_id, now, self.clock(), by=asker.person.name),
        )

    def park(self, asker: Asker, study_id: int) -> str:
        """Set it aside."""
        return self._act(
            asker,
            self._uid(study_id),
            "parked",
            lambda c: by_hand.park(c, study_id, self.clock(), by=asker.person.name),
        )

    def echo(self, asker: Asker, destination: str) -> str:
        """C-ECHO a destination."""
        if destination not in {each.name for each in self.config.destinations}:
            raise UnknownError(f"no destination {destination!r} is configured")
        self.administered(asker, f"C-ECHO to {destination}")
        return self._running.echo(destination)

    def reload(self, asker: Asker) -> None:
        """Read the configuration again."""
        self._running.reload()
        self.administered(asker, "configuration reloaded")

    def administered(self, asker: Asker, what: str) -> None:
        """Note what a person did to the node."""
        self._notes.administered(asker.person.name, asker.address, what)

    def _act(
        self, asker: Asker, study_uid: str, what: str, work: Callable[[Connection], str]
    ) -> str:
        done = self._database.write(work)
        self._notes.acted(asker.person.name, asker.address, study_uid, what)
        self._running.wake()
        return done

    def _uid(self, study_id: int) -> str:
        with self._database.read() as connection:
            found = connection.execute(
                select(schema.studies.c.study_uid).where(schema.studies.c.id == study_id)
            ).scalar()
        if found is None:
            raise UnknownError("no such study is known")
        return str(found)
