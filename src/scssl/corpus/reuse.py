"""Memory of batches that is used again once nobody holds the batch."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Arrays:
    """Gives int32 arrays; the memory of one that was dropped goes to the next.

    New memory costs as much time as filling it, as the system clears it page by page, and large arrays that come and go
    leave holes that small ones keep open.

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
            memory = np.empty(int(size * 1.05), dtype=np.int32)
        array = memory[:size]
        # Tensors and views made of it hold it, so this is called when the last of them is gone.
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array
