"""The background thread: order kept, exceptions passed on, and gone when it should be."""

from __future__ import annotations

import threading
import time

import pytest

from scssl.corpus.prefetch import prefetch


def threads():
    return [t for t in threading.enumerate() if t.name == "scssl-prefetch"]


@pytest.mark.parametrize("depth", [1, 3])
def test_all_items_in_order(depth):
    assert list(prefetch(lambda: iter(range(100)), depth=depth)) == list(range(100))
    assert not threads()


def test_runs_ahead_but_only_so_far():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    iterator = prefetch(items, depth=2)
    assert next(iterator) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 4  # one taken, two waiting, one in the thread's hands
    iterator.close()
    assert not threads()


def test_exceptions_come_through_after_the_items_before_them():
    def items():
        yield 1
        message = "broken"
        raise OSError(message)

    iterator = prefetch(items)
    assert next(iterator) == 1
    with pytest.raises(OSError, match="broken"):
        next(iterator)
    assert not threads()


def test_abandoned_iteration_ends_the_thread():
    iterator = prefetch(lambda: iter(range(10**9)))
    next(iterator)
    del iterator
    assert not threads()
