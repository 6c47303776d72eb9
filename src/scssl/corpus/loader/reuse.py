"""Memory that is used again instead of being taken anew.

New memory costs as much time as filling it, as the system clears it page by page, and large arrays that come and go
leave holes that small ones keep open.
"""

from __future__ import annotations

import mmap
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


_SMALL: Final = 1 << 18
"""Bytes below which malloc does as well."""


def from_system(n_bytes: int) -> NDArray[np.uint8]:
    """(at least n_bytes,) array of zeros, whose memory goes back to the system as soon as it is dropped.

    What malloc gives may stay with the process.
    """
    n_bytes = max(n_bytes, mmap.PAGESIZE)
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(n_bytes, dtype=np.uint8)
    # Private to the process, as only then it can have large pages, which are cleared and found faster.
    memory = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype=np.uint8, count=n_bytes)


class Arrays:
    """Gives arrays; the memory of one that was dropped goes to the next.

    Parameters
    ----------
    keep
        Arrays kept for later use.
    """

    def __init__(self, *, keep: int) -> None:
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=keep)

    def take(self, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """(size,) array with any content."""
        n_bytes = size * dtype.itemsize
        if n_bytes < _SMALL:
            return np.empty(size, dtype=dtype)
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(0, dtype=np.uint8)
        if memory.size < n_bytes:
            memory = from_system(int(n_bytes * 1.05))
        array = memory[:n_bytes].view(dtype)
        # Tensors and views made of it hold it, so this is called when the last of them is gone.
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array
