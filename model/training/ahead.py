"""Does work ahead of who asks for it, in threads, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def ahead(work: Iterable[Callable[[], T]], threads: int) -> Iterator[T]:
    """Yield what each call returns, in order, while the next ones are under way.

    Parameters
    ----------
    work
        Calls that know nothing of each other.
    threads
        How many are done at once; 0: each is done when it is asked for.
    """
    if not threads:
        for call in work:
            yield call()
        return
    calls = iter(work)
    with ThreadPoolExecutor(threads, "ahead") as pool:
        under_way: deque[Future[T]] = deque(pool.submit(call) for call in islice(calls, threads))
        try:
            while under_way:
                result = under_way.popleft().result()
                under_way.extend(pool.submit(call) for call in islice(calls, 1))
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
