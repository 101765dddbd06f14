"""What a process holds: memory, threads and descriptors, as the kernel counts them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MIB = 1 << 20


@dataclass(frozen=True)
class Footprint:
    """A process and its descendants at one moment."""

    memory: int  # bytes of resident memory
    peak: int  # bytes, the most since `forget_peak`
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Measure a process and what it has started."""
        statuses = [_status(one) for one in _family(pid)]
        return cls(
            memory=sum(_kib(status, "VmRSS") for status in statuses) * 1024,
            peak=sum(_kib(status, "VmHWM") for status in statuses) * 1024,
            threads=sum(_kib(status, "Threads") for status in statuses),
            descriptors=sum(_descriptors(one) for one in _family(pid)),
        )


def forget_peak(pid: int) -> None:
    """Let the peak begin at what is held now (proc(5), clear_refs)."""
    for one in _family(pid):
        try:
            Path(f"/proc/{one}/clear_refs").write_text("5")
        except OSError:  # it has ended meanwhile
            continue


def cpu_s(pid: int) -> float:
    """Return the processor time of a process and of all that it has started, ended ones too."""
    ticks = 0
    for one in _family(pid):
        try:
            stat = Path(f"/proc/{one}/stat").read_text()
        except OSError:  # it has ended meanwhile
            continue
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))  # proc(5): 14 to 17
    return ticks / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                children = Path(f"/proc/{one}/task/{task}/children").read_text()
                found += map(int, children.split())
        except OSError:  # it has ended meanwhile
            continue
    return found


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def _kib(status: dict[str, str], name: str) -> int:
    return int(status.get(name, "0").split()[0])


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0
