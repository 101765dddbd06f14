"""Ten thousand associations and a thousand studies: nothing may grow.

``python -m tests.soak.endurance`` prints a Markdown table of rounds. The node is the real one but
for its model: a tiny network with random weights, so that what is measured is the node.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dicom_io import scu
from tests import builders_net
from tests.soak.site import Site

_ROUNDS = 10
_AT_ONCE = 8
_RSS_GROWTH = 1.05
_SLOWER = 1.25  # of the last rounds' median against the first ones'; a shared machine is noisy


@dataclass(frozen=True)
class Sample:
    """What the node's process holds."""

    threads: int
    descriptors: int
    rss_mb: float

    @classmethod
    def of(cls, pid: int) -> "Sample":
        """Read it from the kernel."""
        proc = Path(f"/proc/{pid}")
        (line,) = (s for s in (proc / "status").read_text().splitlines() if s.startswith("VmRSS"))
        return cls(
            len(list((proc / "task").iterdir())),
            len(list((proc / "fd").iterdir())),
            int(line.split()[1]) / 1024,
        )


def work(site: Site, associations: int, studies: int) -> float:
    """Open the associations, a study in each of `studies` of them; return seconds to their rest."""
    start = time.monotonic()
    remote = site.node.remote()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        echoes = [pool.submit(scu.echo, remote, 60) for _ in range(associations - studies)]
        stores = []
        for _ in range(studies):
            files = site.studies.make(1)
            stores.append(pool.submit(scu.store, remote, files))
        for echo in echoes:
            echo.result()
        statuses = {result.status for store in stores for result in store.result()}
    assert statuses == {0}, statuses
    site.settle()
    return time.monotonic() - start


def endure(folder: Path, associations: int, studies: int) -> list[str]:
    """Run the rounds, print each, and return what grew."""
    bundle = builders_net.bundle(folder / "bundle")
    with Site(folder / "site", model={"bundle": str(bundle.path)}) as site:
        site.node.start()
        share = (associations // _ROUNDS, studies // _ROUNDS)
        work(site, *share)  # caches fill, pools reach their size
        before = Sample.of(site.node.pid)
        print(
            "| Round | threads | descriptors | RSS (MB) | seconds a study |\n|---|---|---|---|---|"
        )
        times, memory = [], []
        for number in range(1, _ROUNDS + 1):
            times.append(work(site, *share) / share[1])
            time.sleep(2)  # threads of released associations end
            after = Sample.of(site.node.pid)
            memory.append(after.rss_mb)
            print(
                f"| {number} | {after.threads} | {after.descriptors} | {after.rss_mb:.1f} "
                f"| {times[-1]:.2f} |",
                flush=True,
            )
        assert site.node.stop() == 0
    grown = []
    if after.threads > before.threads:
        grown.append(f"threads: {before.threads} to {after.threads}")
    if after.descriptors > before.descriptors:
        grown.append(f"descriptors: {before.descriptors} to {after.descriptors}")
    # one sample is some MB off, up or down: the allocator gives back when it likes
    if median(memory[-3:]) > median(memory[:3]) * _RSS_GROWTH:
        grown.append(f"RSS: {median(memory[:3]):.1f} to {median(memory[-3:]):.1f} MB")
    if median(times[-3:]) > median(times[:3]) * _SLOWER:
        grown.append(f"seconds a study: {median(times[:3]):.2f} to {median(times[-3:]):.2f}")
    print(f"Before the first round: {before}")
    return grown


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 1 where something grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--associations", type=int, default=10_000)
    parser.add_argument("--studies", type=int, default=1000)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="axnode-soak-") as folder:
        grown = endure(Path(folder), arguments.associations, arguments.studies)
    print("Nothing grew" if not grown else "Grown: " + "; ".join(grown))
    return 1 if grown else 0


if __name__ == "__main__":
    raise SystemExit(main())
