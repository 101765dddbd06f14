"""The retry policy, without sleeping."""

import pytest

from daemon.clock import seconds
from daemon.retry import RetryPolicy, Verdict
from dicom_io.scu import Outcome

POLICY = RetryPolicy()
WEEK_US = seconds(7 * 86_400)


def test_waits_double_from_30_seconds_to_10_minutes() -> None:
    waits = [POLICY.wait_us(n) // seconds(1) for n in range(1, 8)]
    assert waits == [30, 60, 120, 240, 480, 600, 600]


def test_it_gives_up_after_a_week_counted_in_attempts() -> None:
    waited, attempt = 0, 1
    while POLICY.judge(Outcome.TRANSIENT, attempt) is Verdict.AGAIN:
        waited += POLICY.wait_us(attempt)
        attempt += 1
    assert POLICY.judge(Outcome.TRANSIENT, attempt) is Verdict.PARK
    assert waited == pytest.approx(WEEK_US, abs=seconds(600))


def test_a_day_without_the_pacs_is_no_reason_to_give_up() -> None:
    assert POLICY.judge(Outcome.TRANSIENT, 24 * 6 + 10) is Verdict.AGAIN


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome.STORED, Verdict.DELIVERED),
        (Outcome.WARNING, Verdict.DELIVERED),
        (Outcome.TRANSIENT, Verdict.AGAIN),
        (Outcome.PERMANENT, Verdict.PARK),
        (Outcome.UNSUPPORTED, Verdict.PARK),
    ],
)
def test_every_outcome_has_its_verdict(outcome: Outcome, verdict: Verdict) -> None:
    assert POLICY.judge(outcome, 1) is verdict


@pytest.mark.parametrize("attempts", [1, 31, 1000, 10**9])
def test_no_number_of_attempts_breaks_the_wait(attempts: int) -> None:
    assert 0 < POLICY.wait_us(attempts) <= seconds(600)


def test_success_counts_at_the_last_attempt_too() -> None:
    assert POLICY.judge(Outcome.STORED, POLICY.attempts) is Verdict.DELIVERED
