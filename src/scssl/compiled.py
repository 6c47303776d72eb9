"""Loops compiled by numba: without the lock of the interpreter, kept on disk, shared out over threads by rows."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_ROWS: Final = 16
"""Rows below which a thread of its own costs more than it saves."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop over numpy arrays (decorator).

    It runs beside other Python threads, and is kept on disk after its first use where there is a place to keep it.

    Parameters
    ----------
    function
        Function of arrays and numbers. It must check no bounds by exceptions: there are none.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's can be written, as in some containers.
        return njit(nogil=True)(function)


def over_rows(kernel: Callable[..., Any], n_rows: int, *arguments: Any, threads: int = 1) -> list[Any]:
    """Call ``kernel(start, stop, *arguments)`` for ranges of rows, in several threads.

    Numba's own threads are not used: they must not be entered by two Python threads at once, and fight with torch's.

    Parameters
    ----------
    kernel
        Compiled function.
    n_rows
        Rows in all.
    *arguments
        What else it is given.
    threads
        How many at a time.

    Returns
    -------
    list
        What each call returned, in the order of the rows.
    """
    parts = max(1, min(threads, n_rows // LEAST_ROWS))
    if parts == 1:
        return [kernel(0, n_rows, *arguments)]
    edges = [n_rows * part // parts for part in range(parts + 1)]
    others = [_pool(parts).submit(kernel, edges[i], edges[i + 1], *arguments) for i in range(1, parts)]
    first = kernel(edges[0], edges[1], *arguments)
    return [first, *(other.result() for other in others)]


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="scssl-rows")


if hasattr(os, "register_at_fork"):
    # Threads do not survive in a forked process: it makes its own.
    os.register_at_fork(after_in_child=_pool.cache_clear)
