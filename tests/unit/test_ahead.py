"""Work done ahead of who asks for it."""

import threading
from functools import partial

import pytest

from model.training.ahead import ahead


@pytest.mark.parametrize("threads", [0, 1, 3, 20])
def test_results_come_in_order(threads: int) -> None:
    first = threading.Event()
    if threads < 2:
        first.set()

    def work(number: int) -> int:
        if number == 0:
            assert first.wait(10)  # with threads to spare, the second is done before the first
        else:
            first.set()
        return number

    assert list(ahead((partial(work, n) for n in range(9)), threads)) == list(range(9))


def test_no_more_is_begun_than_there_are_threads() -> None:
    begun: list[int] = []
    results = ahead((partial(begun.append, n) for n in range(9)), 2)
    next(results)
    assert len(begun) <= 3
    results.close()
    assert len(begun) <= 4


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_reaches_who_asks(threads: int) -> None:
    def fail() -> int:
        raise ValueError("no such image")

    before = threading.active_count()
    results = ahead(iter([lambda: 1, fail, lambda: 3]), threads)
    assert next(results) == 1
    with pytest.raises(ValueError, match="no such image"):
        next(results)
    assert threading.active_count() == before
