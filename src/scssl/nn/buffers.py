"""Large tensors whose memory is used again, as new memory costs about as much time as filling it."""

from __future__ import annotations

import mmap
import weakref
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from scssl.corpus.loader.reuse import from_system

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT: Final = 4
"""Pieces of memory of one size that wait for their next use."""
STEPS: Final = 16
"""Sizes between a power of two and the next, so that tensors of about the same size share memory."""


class Buffers:
    """Gives tensors of any content on the processor; the memory of those that were dropped goes to later ones."""

    def __init__(self) -> None:
        self._free: dict[int, list[NDArray[np.uint8]]] = defaultdict(list)

    def take(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor with any content.

        Parameters
        ----------
        *shape
            Its shape.
        dtype
            Its type.
        """
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        step = max(mmap.PAGESIZE, 1 << max(0, n_bytes.bit_length() - STEPS.bit_length()))
        room = max(1, -(-n_bytes // step)) * step
        free = self._free[room]
        memory = free.pop() if free else from_system(room)
        array = memory[:n_bytes]
        # The tensor and all that shares its memory hold the array, so this is called when the last of them is gone.
        weakref.finalize(array, _give_back, free, memory).atexit = False
        return torch.from_numpy(array).view(dtype).view(shape)


def _give_back(free: list[NDArray[np.uint8]], memory: NDArray[np.uint8]) -> None:
    if len(free) < KEPT:
        free.append(memory)
