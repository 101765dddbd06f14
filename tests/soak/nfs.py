"""The shared folder over NFS: what one node sees of what another does, and a server that dies.

``tests/soak/nfs.sh`` builds the machines and runs this; ``--help`` tells how to make it shorter.
One client stores by `daemon.spool` and tells the other, which looks, under each of several mount
options. Then the server's power is cut again and again while one client stores and the other reads:
every file that was acknowledged has to be there, whole. Prints a line of JSON for all that is seen.
"""

import argparse
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.soak import nfs_nodes as nodes
from tests.soak.nfs_machines import Machine, machines, mount

PEER = "tests.soak.nfs_peer"
OPTIONS = (
    "vers=4.2",
    "vers=4.2,lookupcache=positive",
    "vers=4.2,lookupcache=none",
    "vers=4.2,noac",
    "vers=4.1",
    "vers=3",
    "vers=3,lookupcache=positive",
)
RECOMMENDED = "vers=4.2,hard,lookupcache=positive"
SOFT = "vers=4.2,soft,timeo=50,retrans=2"
# what it acknowledges is in the server's memory only: shows that a cut is one; until its next boot
ASYNC = (
    "exportfs -i -o rw,async,no_subtree_check,no_root_squash,fsid=0 10.97.0.0/24:/export && "
    "exportfs -v | grep -q async"
)
_BACK_S = 600.0  # until clients go on after the server is back; its grace alone is 90
_UNIT_TESTS = "tests/unit/test_spool.py"


def say(*words: object) -> None:
    """Print a line of what was seen."""
    print(json.dumps(words), flush=True)


class Stream:
    """What a command that goes on says, line by line, with the time of each."""

    def __init__(self, machine: Machine, *arguments: object) -> None:
        self.said: list[tuple[float, list[Any]]] = []
        self._machine = machine
        self._command = machine.python(PEER, *arguments)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError, RuntimeError):  # it is stopped by its machine's end, or `stop`
            for line in self._machine.lines(self._command, timeout_s=3600):
                self.said.append((time.monotonic(), json.loads(line)))

    def since(self, moment: float, word: str) -> list[tuple[float, list[Any]]]:
        """Return what was said since a moment under a word."""
        return [(at, line) for at, line in list(self.said) if at >= moment and line[0] == word]

    def wait(self, moment: float, word: str, longest_s: float) -> float:
        """Wait until a word is said after a moment; return how long that took, in s."""
        while time.monotonic() < moment + longest_s:
            if heard := self.since(moment, word):
                return heard[0][0] - moment
            time.sleep(0.1)
        raise RuntimeError(f"{self._machine.name} says no {word} within {longest_s} s")


@contextmanager
def streams(receiver: Machine, worker: Machine, kilobytes: int) -> Iterator[tuple[Stream, Stream]]:
    """Store on one client and read on the other, without a pause."""
    stored = Stream(receiver, "store", kilobytes)
    stored.wait(time.monotonic(), "stored", 60)
    read = Stream(worker, "read")
    try:
        yield stored, read
    finally:
        for client in (receiver, worker):
            client.run("pkill -9 -f 'nfs_peer (store|read)' || true")


def seen(clients: Sequence[Machine], options: str, count: int, kilobytes: int) -> None:
    """Tell what one client sees of the other's doings."""
    receiver, worker = clients
    mount(options, *clients)
    answers = worker.lines(worker.python(PEER, "worker"))
    next(answers)  # it serves
    threading.Thread(target=lambda: list(answers), daemon=True).start()
    for line in receiver.lines(receiver.python(PEER, "receiver", worker.address, count, kilobytes)):
        phase, found, took_s = json.loads(line)
        say(options, phase, found, took_s)


def power(
    server: Machine,
    clients: Sequence[Machine],
    options: str,
    kills: int,
    kilobytes: int,
    down_s: float = 10.0,
) -> bool:
    """Cut the server's power while it is written to; tell whether nothing acknowledged is lost."""
    receiver, worker = clients
    mount(options, *clients)
    with streams(receiver, worker, kilobytes) as (stored, read):
        for number in range(kills):
            time.sleep(random.uniform(3, 15))
            server.kill()
            cut = time.monotonic()
            time.sleep(down_s)
            server.start()
            boot_s = server.wait()
            back = time.monotonic()
            waits = [
                each.wait(back, word, _BACK_S)
                for each, word in ((stored, "stored"), (read, "read"))
            ]
            say(
                options,
                f"cut {number + 1}",
                {
                    "away_s": round(down_s + boot_s),
                    "stores_again_after_s": round(waits[0], 1),
                    "reads_again_after_s": round(waits[1], 1),
                    "stored_while_away": len(stored.since(cut, "stored"))
                    - len(stored.since(back, "stored")),
                    "failed": Counter(line[1] for _, line in stored.since(cut, "failed")),
                    "read": Counter(
                        line[0] for at, line in list(read.said) if at >= cut and line[0] != "read"
                    ),
                    "longest_store_s": max(line[2] for _, line in stored.since(cut, "stored")),
                },
            )
        acknowledged = {line[1] for _, line in list(stored.said) if line[0] == "stored"}
    mount(options, *clients)
    there: dict[str, set[str]] = {"whole": set(), "damaged": set(), "missing": set()}
    parts = 0
    for line in worker.lines(worker.python(PEER, "verify")):
        word, *rest = json.loads(line)
        if word == "count":
            parts = rest[1]
        else:
            there.setdefault(word, set()).add(rest[0])
    lost = acknowledged - there["whole"]
    say(
        options,
        "acknowledged",
        {
            "files": len(acknowledged),
            "lost": len(lost),
            "damaged_of_all": len(there["damaged"]),
            "parts_left": parts,
        },
    )
    return not lost


def unit_tests(client: Machine, options: str) -> None:
    """Run the tests of the spool in a folder of the share."""
    mount(options, client)
    command = (
        f"pytest -q --no-header -p no:cacheprovider --basetemp /mnt/shared/tests {_UNIT_TESTS}"
    )
    try:
        said = client.run(client.python(command)).splitlines()
    except RuntimeError as error:
        said = [str(error)]
    say(options, "unit tests", said[-1])


def main(arguments: Sequence[str]) -> int:
    """Run the trial; return 1 where a file that was acknowledged is not there."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.nfs", description=__doc__)
    parser.add_argument("folder", type=Path, help="what nfs.sh has built")
    parser.add_argument("--files", type=int, default=1000, help="announced under each option")
    parser.add_argument("--kilobytes", type=int, default=20, help="of a file")
    parser.add_argument("--kills", type=int, default=10, help="of the server")
    parser.add_argument("--cuts", type=int, default=3, help="of the server, under whole nodes")
    parser.add_argument("--options", nargs="*", default=OPTIONS, help="of the mount")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the machines end with this
    with machines(given.folder) as (server, *clients):
        say("kernel", server.run("uname -r"))
        unit_tests(clients[0], RECOMMENDED)
        for options in given.options:
            seen(clients, options, given.files, given.kilobytes)
        good = power(server, clients, RECOMMENDED, given.kills, given.kilobytes)
        power(server, clients, SOFT, 1, given.kilobytes, down_s=150)
        server.run(ASYNC)
        if power(server, clients, RECOMMENDED, 1, given.kilobytes):
            say("an asynchronous export lost nothing: these are no cuts")
            good = False
        for seen_of in nodes.run(server, clients, RECOMMENDED, given.cuts, 90, given.folder):
            say(RECOMMENDED, *seen_of)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
