"""Kill -9 at every point on the way of a study, and at random: nothing acknowledged may be lost.

``python -m tests.soak.kill_matrix`` prints a Markdown table; ``--help`` tells how to make it
shorter. The node is the real one with the bundle that ships. While it is killed and started again a
modality pushes studies, late images, images sent twice and images that contradict each other, and
the PACS goes away and comes back. Where a kill comes at random or at a point of storage commitment,
the node asks its PACS to commit, and the modality asks the node.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from daemon.failpoints import POINTS
from tests.soak.site import Account, Site, ticks

RANDOM = "at random"
_PATIENCE_S = 60.0  # for the node to come to the point; then it is stopped in order, and killed
_LONGEST_S = 12.0  # after the start, of a kill at random
_OFTEN = (
    "spool",
    "database.begun",
    "database.committed",
    "receive.recorded",
)  # passed by each image
_OF_COMMITMENT = ("commitment", "custody")


class Attack:
    """Kills one node again and again.

    Parameters
    ----------
    seed
        Decides what is pushed, and when; the node's own timing is the machine's.
    """

    def __init__(self, site: Site, seed: int) -> None:
        self._site = site
        self._chance = random.Random(seed)
        self._sent: list[list[Path]] = []

    def kill_at(self, point: str) -> bool:
        """Start the node, and let it die at a point; return whether it came there."""
        site = self._site
        arrival = self._chance.choice((1, 2)) if point.startswith(_OFTEN) else 1
        site.node.launch(AXNODE_FAILPOINT=f"{point}:{arrival}")
        self._push(conflict=point == "receive.dropped")
        for left in ticks(_PATIENCE_S):
            if (code := site.node.wait_end(0.05)) is not None:
                assert code == -9, (point, code, site.node.log[-3000:])
                site.kills += 1
                return True
            self._weather()
            if left < _PATIENCE_S / 2 and point.startswith("database"):
                break  # checkpoints are rare, but for the last one
        return self._end_in_order()

    def _end_in_order(self) -> bool:
        """Stop by SIGTERM: some points lie on the way out only."""
        reached = self._site.node.stop() == -9
        self._site.kills += reached
        return reached

    def kill_at_random(self) -> bool:
        """Start the node, and kill it some time later."""
        self._site.node.launch()
        moments = sorted(self._chance.uniform(0, _LONGEST_S) for _ in range(3))
        start = time.monotonic()
        for left in ticks(moments[-1]):
            assert self._site.node.wait_end(0) is None, self._site.node.log[-3000:]
            while len(moments) > 1 and time.monotonic() - start > moments[0]:
                moments.pop(0)
                self._push()
            if left > 1:
                self._weather()
        self._site.node.kill()
        self._site.kills += 1
        return True

    def _push(self, *, conflict: bool = False) -> None:
        site, chance = self._site, self._chance
        files = site.studies.make(2)
        site.modality.offer(*files)
        if self._sent and chance.random() < 0.3:  # once more, and a late one
            earlier = chance.choice(self._sent)
            site.modality.offer(earlier[0], *site.studies.make(1, _study(earlier[0])))
        if conflict or chance.random() < 0.1:
            site.modality.offer(site.studies.conflict(files[0]), conflicting=True)
        self._sent.append(files)

    def _weather(self) -> None:
        pacs = self._site.pacs
        if pacs.is_up and self._chance.random() < 0.003:
            pacs.down()
        elif not pacs.is_up and self._chance.random() < 0.05:
            pacs.up()


def _study(path: Path) -> str:
    import pydicom

    return str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def attack(folder: Path, point: str, kills: int, seed: int) -> tuple[int, Account]:
    """Kill a fresh node `kills` times, let it come to rest and verify; return the kills."""
    committing = point == RANDOM or point.startswith(_OF_COMMITMENT)
    with Site(folder, committing=committing) as site:
        attacker = Attack(site, seed)
        for _ in range(kills):
            if point == RANDOM:
                attacker.kill_at_random()
            else:
                attacker.kill_at(point)
        site.node.start(ready=False)
        site.settle()
        code = site.node.stop()
        assert code == 0, site.node.log[-3000:]
        return site.kills, site.verify()


def row(point: str, kills: int, account: Account, seconds: float) -> str:
    """Return a line of the table."""
    numbers = [getattr(account, field.name) for field in fields(account)]
    return f"| {point} | {kills} | " + " | ".join(map(str, numbers)) + f" | {seconds:.0f} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the matrix; 1 where a point was never reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="at each point (%(default)s)")
    parser.add_argument("--random", type=int, default=200, help="at random (%(default)s)")
    parser.add_argument("--points", nargs="*", default=list(POINTS), metavar="POINT")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    names = [field.name for field in fields(Account)]
    print(f"| Killed | times | {' | '.join(names)} | seconds |")
    print("|---|" + "---|" * (len(names) + 2))
    missed = []
    plan = [(point, arguments.kills) for point in arguments.points]
    for point, kills in [*plan, (RANDOM, arguments.random)]:
        if not kills:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="axnode-kill-") as folder:
            done, account = attack(Path(folder), point, kills, arguments.seed)
        print(row(point, done, account, time.monotonic() - start), flush=True)
        missed += [point] if done < kills else []
    if missed:
        print(f"Not reached as often as asked: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
