"""A seeded part of the kill matrix; the whole of it is ``make soak``."""

from pathlib import Path

import pytest

from daemon.failpoints import POINTS
from tests.soak.kill_matrix import Attack
from tests.soak.site import Site

pytestmark = pytest.mark.integration

# one of each stage; on the way of one node, so that each finds what the one before has left
_HERE = (
    "start.opened",
    "spool.renamed",
    "database.committed",
    "receive.recorded",
    "assemble.queued",
    "worker.built",
    "deliver.answered",
)


def test_whatever_kills_the_node_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        attack = Attack(site, seed=11)
        reached = {point: attack.kill_at(point) for point in _HERE}
        attack.kill_at_random()
        site.node.start(ready=False)
        site.settle()
        assert site.node.stop() == 0
        account = site.verify()
    assert reached == dict.fromkeys(_HERE, True)
    assert account.acknowledged >= 2 * account.studies > 2
    assert account.objects >= 2 * account.studies  # a report, and a SEG of each series with nodes


def test_every_point_is_on_the_way_of_a_study() -> None:
    """A point that the code no longer passes would be a kill that never happens."""
    root = Path(__file__).parents[2] / "daemon"
    code = "\n".join(path.read_text() for path in root.glob("*.py") if path.stem != "failpoints")
    assert [point for point in POINTS if f'"{point}"' not in code] == []
