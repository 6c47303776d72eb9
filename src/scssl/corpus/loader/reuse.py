"""Memory that is used again instead of being taken anew.

New memory costs as much time as filling it, as the system clears it page by page, and large arrays that come and go
leave holes that small ones keep open.
"""

from __future__ import annotations

import mmap
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def from_system(size: int) -> NDArray[np.int32]:
    """(at least size,) array of zeros, whose memory goes back to the system as soon as it is dropped.

    What malloc gives may stay with the process.
    """
    n_bytes = max(4 * size, mmap.PAGESIZE)
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(n_bytes // 4, dtype=np.int32)
    # Private to the process, as only then it can have large pages, which are cleared and found faster.
    memory = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype=np.int32, count=n_bytes // 4)


class Arrays:
    """Gives int32 arrays; the memory of one that was dropped goes to the next.

    Parameters
    ----------
    keep
        Arrays kept for later use.
    """

    def __init__(self, *, keep: int) -> None:
        self._free: deque[NDArray[np.int32]] = deque(maxlen=keep)

    def take(self, size: int) -> NDArray[np.int32]:
        """(size,) array with any content."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(0, dtype=np.int32)
        if memory.size < size:
            memory = from_system(int(size * 1.05))
        array = memory[:size]
        # Tensors and views made of it hold it, so this is called when the last of them is gone.
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array


class Scratch:
    """Memory of one thread for what is looked at once."""

    def __init__(self) -> None:
        self._memory = np.empty(0, dtype=np.uint8)

    def take(self, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """(size,) array with any content, which the next one overwrites."""
        n_bytes = size * dtype.itemsize
        if self._memory.size < n_bytes:
            self._memory = np.empty(n_bytes, dtype=np.uint8)
        return self._memory[:n_bytes].view(dtype)
