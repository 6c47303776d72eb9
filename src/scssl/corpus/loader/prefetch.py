"""Run jobs in background threads, a few ahead of the one whose result is wanted, and hand the results over in order."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Raised in a job whose result nobody waits for any more."""


class Threads:
    """Threads that run jobs in the order in which they were started.

    A job may wait for one that was started before it, never for a later one.
    """

    def __init__(self, workers: int) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="scssl-prefetch")
        self._stop = threading.Event()

    def start(self, job: Callable[[], T]) -> Future[T]:
        """Queue a job."""

        def run() -> T:
            self.check()
            return job()

        return self._executor.submit(run)

    def check(self) -> None:
        """Leave the job if its result is not wanted any more."""
        if self._stop.is_set():
            raise Stopped

    def close(self) -> None:
        """Forget jobs that did not start, tell the others to stop, and wait until they have."""
        self._stop.set()
        self._executor.shutdown(wait=True, cancel_futures=True)


def prefetch(jobs: Callable[[Threads], Iterator[Callable[[], T]]], *, workers: int = 1, ahead: int = 2) -> Iterator[T]:
    """Iterate over the results of jobs, in order, with up to `ahead` of them waiting or being made.

    An exception in a job is raised where its result would have come. The threads end when the iteration is over or
    abandoned.

    Parameters
    ----------
    jobs
        Gives the jobs one after the other; it is asked for the next one in the caller's thread, as late as possible. It
        may start jobs of its own, which the jobs that it gives may wait for.
    workers
        Threads.
    ahead
        Results that may wait.
    """
    threads = Threads(workers)
    waiting: deque[Future[T]] = deque()
    try:
        rest = jobs(threads)
        while True:
            while len(waiting) <= ahead and (job := next(rest, None)) is not None:
                waiting.append(threads.start(job))
            if not waiting:
                return
            # Not kept in a variable: what is handed over belongs to the caller alone.
            yield waiting.popleft().result()
    finally:
        threads.close()
