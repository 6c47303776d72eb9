"""The background threads: order kept, exceptions passed on, and gone when they should be."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.loader.prefetch import Stopped, prefetch


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("scssl-prefetch") and t not in BEFORE]


BEFORE: list[threading.Thread] = []


@pytest.fixture(autouse=True)
def of_this_test_only():
    """Leave out threads of iterators that other tests abandoned, which a traceback may still hold."""
    BEFORE[:] = []
    BEFORE[:] = threads()


def numbers(n):
    return lambda _: (partial(int, i) for i in range(n))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 60), workers=st.integers(1, 4), ahead=st.integers(1, 5))
def test_all_results_in_order(n, workers, ahead):
    def slow_at_first(i):
        time.sleep(0.002 * (i % 3 == 0))  # so that later jobs end before earlier ones
        return i

    results = prefetch(lambda _: (partial(slow_at_first, i) for i in range(n)), workers=workers, ahead=ahead)
    assert list(results) == list(range(n))
    assert not threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_runs_ahead_but_only_so_far(workers):
    made = []
    iterator = prefetch(lambda _: (partial(made.append, i) for i in range(100)), workers=workers, ahead=2)
    next(iterator)
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(made) == [0, 1, 2]  # one taken, two waiting
    iterator.close()
    assert not threads()


def test_nothing_starts_before_it_is_asked_for():
    asked = []

    def jobs(_):
        asked.append(True)
        yield from ()

    iterator = prefetch(jobs)
    assert not asked
    assert list(iterator) == []
    assert asked


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_may_wait_for_jobs_started_before(workers):
    def jobs(pool):
        for i in range(20):
            first = pool.start(partial(pow, i, 2))
            yield lambda first=first: first.result() + 1

    assert list(prefetch(jobs, workers=workers)) == [i * i + 1 for i in range(20)]


@pytest.mark.parametrize("workers", [1, 3])
def test_exceptions_come_through_after_the_results_before_them(workers):
    def broken():
        message = "broken"
        raise OSError(message)

    iterator = prefetch(lambda _: iter([partial(int, 1), broken, partial(int, 2)]), workers=workers)
    assert next(iterator) == 1
    with pytest.raises(OSError, match="broken"):
        next(iterator)
    assert not threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_abandoned_iteration_ends_the_threads(workers):
    iterator = prefetch(numbers(10**9), workers=workers)
    next(iterator)
    del iterator
    assert not threads()


def test_a_long_job_can_notice_that_nobody_waits():
    started, left = threading.Event(), threading.Event()

    def jobs(pool):
        yield partial(int, 0)

        def endless():
            started.set()
            try:
                while True:
                    pool.check()
                    time.sleep(0.001)
            except Stopped:
                left.set()
                raise

        yield endless

    iterator = prefetch(jobs, workers=2)
    assert next(iterator) == 0
    assert started.wait(5)
    iterator.close()
    assert left.is_set()
    assert not threads()
