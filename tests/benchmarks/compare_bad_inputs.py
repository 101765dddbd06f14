"""The same bad peers at this node and at other receivers: replies, memory, files, and the others.

    python -m tests.benchmarks.compare_bad_inputs [--patience 45] [--rows 1 2 …]

Runs Orthanc, DCMTK's storescp and pynetdicom's storescp beside this node's reception, all on
loopback, and prints docs/comparison.md's table of bad inputs. Inputs are played one after another
at each receiver, the receivers at the same time.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.bad_inputs import BadInput, Reply, catalogue, play
from tests.benchmarks.receivers import RECEIVERS, Receiver
from tests.crowd import CROWD, Crowd
from tests.fakes_wire import RawPeer
from tests.footprint import MIB, Footprint, forget_peak
from tests.misbehaviour import ABSURD, RLE, Act, image, request, store

NOTED_MIB = 32  # of growth; below, allocators breathe and processes are forked
ENDLESS_BYTES = 512 << 20  # after which a sender without end gives up
_CROWDED = threading.Lock()  # one crowd at a time: they take the whole machine


@contextmanager
def sampled(receiver: Receiver) -> Iterator[list[float]]:
    """Measure how much memory grows meanwhile, in MiB; the list has one number in the end."""
    before = Footprint.of(receiver.pid).memory
    forget_peak(receiver.pid)
    most, stop = [0.0], threading.Event()

    def look() -> None:
        peak = Footprint.of(receiver.pid).peak
        most[0] = max(most[0], (peak - before) / MIB)

    def watch() -> None:
        while not stop.wait(0.1):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()
        look()


def cell(receiver: Receiver, case: BadInput, patience_s: float) -> str:
    """Play one input and say what happened."""
    kept = receiver.kept()
    with sampled(receiver) as growth, ThreadPoolExecutor(1) as pool:
        playing = pool.submit(play, case, receiver.port, patience_s, receiver.title)
        time.sleep(0.5)
        troubles = [receiver.serves()]
        reply = playing.result()
    troubles.append(receiver.serves())
    time.sleep(1)  # for files to go
    good = sum(not trouble for trouble in troubles)
    parts = [_words(case, reply)]
    left = len(receiver.kept() - kept) - good
    parts += [f"{left} {'file' if left == 1 else 'files'} kept"] if left > 0 else []
    parts += [f"+{growth[0]:.0f} MiB"] if growth[0] >= NOTED_MIB else []
    parts += [f"others: {trouble}" for trouble in dict.fromkeys(filter(None, troubles))]
    parts += [] if receiver.alive else ["**process ended**"]
    return "; ".join(filter(None, parts)) or "nothing kept"


def _words(case: BadInput, reply: Reply) -> str:
    if case.cut:
        return ""
    if reply.words == "silence":
        return f"no reply in {reply.seconds:.0f} s"
    if reply.words == "took all" and case.row == 3:
        return f"not cut in {reply.seconds:.0f} s"
    if reply.words == "took all":
        return f"took all {ENDLESS_BYTES >> 20} MiB"
    late = f" after {reply.seconds:.0f} s" if reply.seconds >= 1 else ""
    return f"{reply.words}{late}"


def crowd_cell(receiver: Receiver) -> str:
    """Let a crowd come for a while, and say how long a modality waited."""
    waits, troubles = [], []
    with sampled(receiver) as growth, Crowd(receiver.port, receiver.title):
        for _ in range(8):
            started = time.monotonic()
            trouble = receiver.serves()
            waits.append(time.monotonic() - started)
            troubles += [trouble] if trouble else []
            time.sleep(1)
    served = f"served {len(waits) - len(troubles)} of {len(waits)} times"
    parts = [f"{served}, longest {max(waits):.1f} s", *dict.fromkeys(troubles)]
    parts += [f"+{growth[0]:.0f} MiB"] if growth[0] >= NOTED_MIB else []
    parts += [] if receiver.alive else ["**process ended**"]
    return "; ".join(parts)


def cases() -> list[BadInput]:
    """List every input of the table, those that are well sent included."""
    asked = request(RLE)
    absurd = [
        BadInput(17, name, "0x0000", store(_named(make(), number), f"1.2.7.{number}"), asked)
        for number, (name, make) in enumerate(ABSURD.items(), 30)
    ]
    first, other = image(), image(pixels=b"\2" * 16)
    again = [
        BadInput(20, "an image, and it again", "0x0000", _twice(first, first, 20), request()),
        BadInput(20, "other content, same UID", "0x0111", _twice(first, other, 21), request()),
    ]
    listed = catalogue(trickled_s=0.2, endless_bytes=ENDLESS_BYTES)
    return sorted([*listed, *absurd, *again], key=lambda case: case.row)


def _named(data: bytes, number: int) -> bytes:
    """Give an instance a UID of its own."""
    return data.replace(b"1.2.7.1\0", f"1.2.7.{number}".encode(), 1)


def _twice(first: bytes, second: bytes, number: int) -> Act:
    def act(peer: RawPeer) -> None:
        store(_named(first, number), f"1.2.7.{number}")(peer)
        if peer.receive()[0] == 4:  # answered
            store(_named(second, number), f"1.2.7.{number}")(peer)

    return act


def column(
    make: Callable[[Path], AbstractContextManager[Receiver]],
    listed: Sequence[BadInput],
    patience_s: float,
    *,
    crowded: bool,
) -> list[str]:
    """Run one receiver through every input; the first line is its name."""
    with tempfile.TemporaryDirectory(prefix="compare-") as name, ExitStack() as stack:
        receiver = stack.enter_context(make(Path(name)))
        lines = [receiver.name]
        for _ in range(30):
            receiver.serves()
        for case in listed:
            if not receiver.alive:
                lines.append("not run: the process had ended")
                continue
            lines.append(cell(receiver, case, patience_s))
            print(f"{receiver.name}: {case.row}. {case.name}: {lines[-1]}", file=sys.stderr)
        if crowded:
            with _CROWDED:
                lines.append(crowd_cell(receiver) if receiver.alive else "not run")
            print(f"{receiver.name}: crowd: {lines[-1]}", file=sys.stderr)
        return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patience", type=float, default=45, help="seconds to wait for a reply")
    parser.add_argument("--only", nargs="+", default=list(RECEIVERS), help="only these receivers")
    parser.add_argument("--rows", type=int, nargs="+", help="only these rows")
    parser.add_argument("--crowd", action="store_true", help="the crowd in spite of --rows")
    options = parser.parse_args()
    listed = [case for case in cases() if not options.rows or case.row in options.rows]
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")
    crowded = options.crowd or not options.rows
    run = partial(column, listed=listed, patience_s=options.patience, crowded=crowded)
    makers = [RECEIVERS[name] for name in options.only]
    with ThreadPoolExecutor(len(makers)) as pool:
        columns = list(pool.map(run, makers))
    heads = ["Input", *(lines[0] for lines in columns)]
    names = [f"{case.row}. {case.name}" for case in listed]
    names += [] if not crowded else [f"{CROWD} bad peers at once"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for number, name in enumerate(names, 1):
        print(f"| {name} | {' | '.join(lines[number] for lines in columns)} |")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
