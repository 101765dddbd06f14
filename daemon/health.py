"""How the service is: what the probes, the metrics, the console and notifications say of it."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from daemon import metrics
from daemon.audit import Trail
from daemon.certificates import Certificate
from daemon.child import Child
from daemon.clock import Clock
from daemon.config import Config
from daemon.database import Database
from daemon.errors import UnavailableError
from daemon.spool import Spool
from daemon.threads import Threads
from daemon.troubles import Trouble, of_rows


class Health:
    """Asks the parts of the service how they are.

    Parameters
    ----------
    child
        The analysing process; None: others analyse.
    receiving
        Tells whether associations are still accepted.
    refused_reload
        Tells why the configuration was not read again; "": it was, or not asked for.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        spool: Spool,
        clock: Clock,
        threads: Threads,
        child: Child | None,
        watched: Sequence[Certificate],
        trail: Trail | None,
        receiving: Callable[[], bool],
        refused_reload: Callable[[], str],
    ) -> None:
        self._config = config
        self._database = database
        self._spool = spool
        self._clock = clock
        self._threads = threads
        self._child = child
        self._watched = watched
        self._trail = trail
        self._receiving = receiving
        self._refused_reload = refused_reload
        # "": it is there, or somewhere else
        self.model_problem = "the model is still loading" if child else ""
        self.model_failed = False

    @property
    def refused_reload(self) -> str:
        """Why the configuration was not read again; empty: nothing is wrong with it."""
        return self._refused_reload()

    def ailments(self) -> list[str]:
        """Return the threads that are stuck."""
        dead = [] if self._database.alive else ["the database's writer has ended"]
        if not self._receiving():
            dead.append("reception has ended")
        return dead + self._threads.stuck()

    def unready(self) -> list[str]:
        """Return what keeps the node from analysing."""
        problems = [f"model: {self.model_problem}"] if self.model_problem else []
        try:
            if self._spool.room() < self._config.node.disk_floor_gb * 2**30:
                problems.append("disk: less is free than node.disk_floor_gb")
        except UnavailableError as error:
            problems.append(str(error))
        if self._database.problem:
            problems.append(self._database.problem)
        return problems

    def certificates(self) -> list[tuple[str, bool]]:
        """Return each certificate in words, and whether it ends soon."""
        now = self._clock()
        return [(one.words(now), one.ends_soon(now)) for one in self._watched]

    def device(self) -> str:
        """Return where the model runs; empty while it loads."""
        if self._child is None:
            return "another process"
        if self.model_problem:
            return ""
        return self._child.description.get("device", "")

    def capacity(self) -> tuple[str, int]:
        """Return where the model runs, and how many frames it reads at once; "" and 0: not here."""
        if self._child is None or not self.device():
            return "", 0
        return self.device(), self._child.together

    def troubles_of_rows(self) -> Sequence[Trouble]:
        """Return what is wrong with the work; raise `UnavailableError` where nobody can say."""
        with self._database.read() as connection:
            return of_rows(connection, self._destinations())

    def metrics(self) -> dict[str, float]:
        """Return the metrics."""
        values = {"axnode_audit_lost_total": float(self._trail.lost if self._trail else 0)}
        with suppress(UnavailableError):
            values["axnode_disk_free_bytes"] = float(self._spool.room())
        now = self._clock()
        values |= metrics.certificates(self._watched, now)
        with suppress(UnavailableError), self._database.read() as connection:
            values |= metrics.rows(connection, self._destinations(), now)
        return values | {"axnode_ready": float(not self.unready())}

    def _destinations(self) -> list[str]:
        return [destination.name for destination in self._config.destinations]
