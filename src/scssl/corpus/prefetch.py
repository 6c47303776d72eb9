"""Run an iterator ahead of its consumer, in one background thread."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
_DONE = object()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetch(make: Callable[[], Iterator[T]], *, depth: int = 2) -> Iterator[T]:
    """Iterate over ``make()`` with up to `depth` items prepared ahead in a thread.

    An exception in the thread is raised where the item would have come. The thread ends when the iteration is over or
    abandoned.

    Parameters
    ----------
    make
        Called in the thread to get the iterator.
    depth
        Items that may wait.
    """
    ready: queue.Queue[object] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in make():
                if not put(item):
                    return
            put(_DONE)
        except BaseException as error:  # noqa: BLE001 - handed over, and raised by the consumer
            put(_Failure(error))

    thread = threading.Thread(target=work, name="scssl-prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _DONE:
            if isinstance(item, _Failure):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
