"""How many connections and associations there may be at once, in all and per address."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from dicom_io.reception import LIMIT_EXCEEDED, Limits, Rejection


@dataclass(eq=False)
class Ticket:
    """One connection's place; `evict` ends the connection from another thread."""

    address: str
    evict: Callable[[], None]
    reserved: int = 0  # bytes of memory before association


class Admission:
    """Places for connections.

    A connection that has not associated holds no association's place, so silent sockets keep
    nobody out: past the limit the oldest of them is ended.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._pending: dict[Ticket, None] = {}  # in the order of arrival
        self._associated: set[Ticket] = set()
        self._per_address: Counter[str] = Counter()  # associations
        self._bytes: Counter[str] = Counter()  # reserved before association

    def connect(self, ticket: Ticket) -> None:
        """Take a new connection in; the oldest one that has not associated makes room."""
        oldest = None
        with self._lock:
            if len(self._pending) >= self._limits.max_connections:
                oldest = next(iter(self._pending))
                del self._pending[oldest]
            self._pending[ticket] = None
        if oldest is not None:
            oldest.evict()

    def reserve(self, ticket: Ticket, size: int) -> bool:
        """Reserve memory for an association request; False if its address holds too much."""
        with self._lock:
            held = self._bytes[ticket.address] + size
            if held > self._limits.pending_bytes_per_address:
                return False
            self._bytes[ticket.address] = held
            ticket.reserved += size
            return True

    def associate(self, ticket: Ticket) -> Rejection | None:
        """Turn a connection into an association, if there is a place."""
        with self._lock:
            self._pending.pop(ticket, None)
            self._release_bytes(ticket)
            per_address = self._per_address[ticket.address]
            if (
                len(self._associated) >= self._limits.max_associations
                or per_address >= self._limits.max_associations_per_address
            ):
                return LIMIT_EXCEEDED
            self._associated.add(ticket)
            self._per_address[ticket.address] += 1
            return None

    def leave(self, ticket: Ticket) -> None:
        """Give the place back; harmless if there is none."""
        with self._lock:
            self._pending.pop(ticket, None)
            self._release_bytes(ticket)
            if ticket in self._associated:
                self._associated.remove(ticket)
                _decrease(self._per_address, ticket.address, 1)

    def counts(self) -> tuple[int, int]:
        """Return the numbers of connections without and with an association."""
        with self._lock:
            return len(self._pending), len(self._associated)

    def _release_bytes(self, ticket: Ticket) -> None:
        _decrease(self._bytes, ticket.address, ticket.reserved)
        ticket.reserved = 0


def _decrease(counter: Counter[str], key: str, amount: int) -> None:
    """Subtract, and forget addresses that hold nothing: there may be many."""
    counter[key] -= amount
    if counter[key] <= 0:
        del counter[key]
