"""The part of a service that analyses: the worker and its process."""

from functools import partial

from daemon import bundles
from daemon.bell import Bell
from daemon.child import Child
from daemon.common import Common
from daemon.errors import DaemonError
from daemon.health import Health
from daemon.hints import ANALYSES, DELIVERIES
from daemon.publish import Publisher
from daemon.pulse import Pulse
from daemon.threads import Threads
from daemon.worker import Worker

_POLL_S = 0.2  # of the queue
_POLL_SHARED_S = 1.0  # where every look is a transaction between machines, and hints come


class Analysing:
    """The worker, which claims, and the process that it has images analysed by."""

    def __init__(self, common: Common, child: Child) -> None:
        self._common = common
        self.child = child
        self._bell = Bell()
        common.hints.on(ANALYSES, self._bell.ring)
        readers = [
            bundles.make_reader(common.config, bundle, common.database.node_id)
            for bundle in common.bundles.every
        ]
        self.worker = Worker(
            common.config,
            common.database,
            common.clock,
            common.folders,
            child,
            Publisher(
                common.config,
                common.database,
                common.clock,
                common.folders.objects,
                readers,
                common.recipe,
            ),
            common.holder,
            self._bell,
            partial(common.hints.tell, DELIVERIES),
        )

    def start(self, threads: Threads, health: Health) -> None:
        """Start the thread; it waits until the model is loaded."""
        self._health = health
        self.child.on_life = partial(threads.advance, "worker")
        self.child.on_wait = self.worker.alive
        threads.start("worker", self._work)

    def _work(self, pulse: Pulse) -> None:
        health = self._health
        try:
            self.worker.check_model()
        except DaemonError as error:
            health.model_problem, health.model_failed = str(error), True
            raise
        health.model_problem, health.model_failed = "", False
        poll_s = _POLL_SHARED_S if self._common.database.shared else _POLL_S
        self.worker.run(self._common.stopping, pulse, poll_s)

    def wind_down(self) -> None:
        """Let the job at hand finish; nobody waits for a model that is still loading."""
        self._bell.ring()
        if not self.worker.busy:
            self.child.kill()
