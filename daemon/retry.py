"""When a delivery is tried again: a value, not a behaviour."""

from dataclasses import dataclass
from enum import Enum, auto

from daemon.clock import seconds
from dicom_io.scu import Outcome


class Verdict(Enum):
    """What becomes of a delivery after one attempt."""

    DELIVERED = auto()
    AGAIN = auto()
    PARK = auto()


@dataclass(frozen=True)
class RetryPolicy:
    """Back-off that doubles; the limit counts attempts, so that no clock can change it."""

    first_s: float = 30.0
    longest_s: float = 600.0
    attempts: int = 1012  # 7 days at these waits: five of up to 480 s, then 600 s each

    def wait_us(self, attempts: int) -> int:
        """Return the wait after the `attempts`-th failed attempt, in microseconds."""
        return seconds(min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 30)))

    def judge(self, outcome: Outcome, attempts: int) -> Verdict:
        """Judge the `attempts`-th attempt (1-based) by its outcome."""
        if outcome in (Outcome.STORED, Outcome.WARNING):
            return Verdict.DELIVERED
        if outcome is Outcome.TRANSIENT and attempts < self.attempts:
            return Verdict.AGAIN
        return Verdict.PARK
