"""Files of a corpus mapped to memory: what the system has cached is read without asking it again.

Touching a page that cannot be read ends the process. So pages that may have to come from the disk are fetched first, by
a call that says so instead (on Linux). Fetching takes as long as copying, so it is left out while nothing comes from
the disk: a disk that fails, or a file that is cut, in the midst of reading what was cached does end the process.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
import weakref
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scssl.corpus.format.shard import FileVector
from scssl.corpus.loader.ranges import GAP_BYTES, ended, runs

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scssl.corpus.format.shard import Vector

MOST_FILES: Final = 2048
"""Files mapped at a time; systems set a limit. None of them is kept open. What is mapped is the system's cache and not
the process's own, but tools count it with it."""
ANNOUNCED: Final = 1 << 20
"""Bytes announced at a time: of more, systems may read the first only."""
_POPULATE_READ: Final = 22
"""Linux' number for fetching pages without touching them."""
_FAILED: Final = ctypes.c_void_p(-1).value


class Maps:
    """Vectors that are mapped to memory; those used last stay so.

    Threads may share it without a lock, which would be locked for ever in a process forked at the wrong moment: a file
    is mapped twice at worst. Pickled, it is an empty one.

    Parameters
    ----------
    most
        Files mapped at a time, beside those that are in use.
    """

    def __init__(self, *, most: int = MOST_FILES) -> None:
        self._most = most
        # By text: comparing paths runs Python code, in the midst of which another thread could change this.
        self._kept: OrderedDict[str, NDArray[Any]] = OrderedDict()

    def __reduce__(self) -> tuple[type[Maps], tuple[()]]:
        return type(self), ()

    def open(self, vector: Vector) -> Vector:
        """Return a vector as an array if it is a file that can be mapped, and as it is otherwise.

        Raises
        ------
        FormatError
            If its file has become shorter.
        """
        if not isinstance(vector, FileVector) or _system is None or not len(vector):
            return vector
        # Before each use: what lies beyond the end of a file cannot be touched.
        size, n_bytes = vector.path.stat().st_size, len(vector) * vector.dtype.itemsize
        if size < n_bytes:
            raise ended(vector.path, size // vector.dtype.itemsize + 1, len(vector))
        key = str(vector.path)
        array = self._kept.get(key)
        if array is None:
            array = _map(vector.path, n_bytes, vector.dtype)
            if array is None:
                return vector
            # Not put in place of what another thread put there: to drop that would let others in halfway.
            array = self._kept.setdefault(key, array)
        with suppress(KeyError):  # another thread may just have dropped it
            self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            # Given back to the system when nobody uses the array any more.
            self._kept.popitem(last=False)
        return array


class _Memory:
    """Memory that numpy makes read-only arrays of."""

    def __init__(self, address: int, length: int, dtype: np.dtype[Any]) -> None:
        self.__array_interface__ = {"version": 3, "data": (address, True), "shape": (length,), "typestr": dtype.str}


class _System(NamedTuple):
    """The system's own functions: Python's keep the file open, or the interpreter's lock while the disk is read."""

    mmap: Any
    munmap: Any
    madvise: Any


def _find_system() -> _System | None:
    if os.name != "posix":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    # Offsets in files have 64 bits here.
    found = _System(getattr(library, "mmap64", None) or library.mmap, library.munmap, library.madvise)
    found.mmap.argtypes = [*[ctypes.c_void_p, ctypes.c_size_t], *[ctypes.c_int] * 3, ctypes.c_int64]
    found.mmap.restype = ctypes.c_void_p
    found.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    found.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return found


_system = _find_system()


def _map(path: Path, n_bytes: int, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Return the start of a file as an array, or None where that is not possible."""
    assert _system is not None
    with path.open("rb", buffering=0) as file:
        address = _system.mmap(None, n_bytes, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address in (None, _FAILED):  # some file systems cannot, and memory may be limited
        return None
    memory = _Memory(address, n_bytes // dtype.itemsize, dtype)
    # Arrays made of it hold it, so this is called when the last of them is gone.
    weakref.finalize(memory, _system.munmap, address, n_bytes).atexit = False
    return np.asarray(memory)


def announce(array: NDArray[Any], starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
    """Tell the system that ranges of a mapped vector will be read, so that the disk works ahead.

    Parameters
    ----------
    array
        What `Maps.open` gave.
    starts, stops
        (n,) ranges, ascending.
    """
    assert _system is not None
    for begin, end in _pages(array, starts, stops):
        for at in range(begin, end, ANNOUNCED):
            _system.madvise(at, min(ANNOUNCED, end - at), mmap.MADV_WILLNEED)


def fetch(array: NDArray[Any], starts: NDArray[np.int64], stops: NDArray[np.int64], *, path: Path) -> None:
    """Bring ranges of a mapped vector to memory, so that touching them goes well.

    Parameters
    ----------
    array
        What `Maps.open` gave.
    starts, stops
        (n,) ranges, ascending.
    path
        The file, for messages.

    Raises
    ------
    OSError
        If the disk cannot read them.
    """
    if sys.platform != "linux":
        return
    assert _system is not None
    for begin, end in _pages(array, starts, stops):
        # Systems that do not know this call, or have no memory left for it, read when a page is touched.
        if _system.madvise(begin, end - begin, _POPULATE_READ) and ctypes.get_errno() in (errno.EFAULT, errno.EIO):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))


def _pages(array: NDArray[Any], starts: NDArray[np.int64], stops: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Addresses of ranges with those near each other joined, from the start of a page on."""
    item, base = array.dtype.itemsize, array.ctypes.data
    if not starts.size:
        return []
    edges = runs(starts, stops, gap=GAP_BYTES // item)
    begins = base + starts[edges[:-1]] * item // mmap.PAGESIZE * mmap.PAGESIZE
    return list(zip(begins.tolist(), (base + stops[edges[1:] - 1] * item).tolist(), strict=True))


def disk_reads() -> int | None:
    """Return a number that grows whenever this thread has the disk read, or None where the system does not say."""
    if sys.platform != "linux":
        return None
    import resource

    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_inblock + usage.ru_majflt
