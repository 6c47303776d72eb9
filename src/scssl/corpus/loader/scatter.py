"""Read rows of a vector to where they belong, in whatever order that is.

From a plain file the system itself writes every row to its place (a scattered read): the only copy is that from its
cache. What must be unpacked or widened first goes through a small memory.
"""

from __future__ import annotations

import ctypes
import errno
import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from scssl.corpus.format.shard import FileVector
from scssl.corpus.loader.ranges import GAP_BYTES, gap_of, reading, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from scssl.corpus.format.shard import Vector
    from scssl.corpus.loader.ranges import Reader

PIECE: Final = 1 << 18
"""Elements that go through memory at a time: few enough to stay in the processor's cache. Compressed vectors are packed
in pieces of which this is a multiple, so none is unpacked twice."""
SKIP_BYTES: Final = 32 << 10
"""Between rows, what is read and thrown away rather than starting another read; the disk has brought it anyway."""
MOST_PLACES: Final = 1024
"""Places that one scattered read may write to; no system allows fewer."""
ANNOUNCED: Final = 1 << 20
"""Bytes announced at a time: of more, systems may read the first only."""


def _find_preadv() -> Callable[[int, int, int, int], int] | None:
    if not hasattr(os, "preadv"):
        return None
    # The system's own function: Python's takes a list of objects, which for thousands of rows costs more than reading.
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, "preadv64", None) or library.preadv
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64]
    function.restype = ctypes.c_ssize_t
    return cast("Callable[[int, int, int, int], int]", function)


_preadv = _find_preadv()


class Places:
    """Where rows go: some arrays, filled with rows from their start on.

    Parameters
    ----------
    arrays
        One for each batch, as long as its rows together, all of one type.
    indptrs
        For each of them where its rows start and end, (n_rows + 1,).
    """

    def __init__(self, arrays: list[NDArray[Any]], indptrs: list[NDArray[np.int64]]) -> None:
        self.dtype = arrays[0].dtype
        self._arrays = arrays
        empty = np.empty(0, dtype=np.int64)
        self._batches = np.repeat(np.arange(len(indptrs)), [indptr.size - 1 for indptr in indptrs])
        self._starts = np.concatenate([empty, *(indptr[:-1] for indptr in indptrs)])
        self._stops = np.concatenate([empty, *(indptr[1:] for indptr in indptrs)])
        bases = np.array([array.ctypes.data for array in arrays])
        self.addresses: NDArray[np.int64] = bases[self._batches] + self._starts * self.dtype.itemsize
        """(n_rows,) of the first element of each row."""

    def __getitem__(self, row: int) -> NDArray[Any]:
        """Return the place of a row."""
        return next(self.each(np.array([row])))

    def each(self, rows: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        """Give the places of some rows.

        Parameters
        ----------
        rows
            Which.
        """
        columns = (self._batches[rows].tolist(), self._starts[rows].tolist(), self._stops[rows].tolist())
        for batch, start, stop in zip(*columns, strict=True):
            yield self._arrays[batch][start:stop]


def scatter(
    vector: Vector, starts: NDArray[np.int64], stops: NDArray[np.int64], rows: NDArray[np.int64], places: Places
) -> None:
    """Read ranges of a vector, each to its place, converted to the type of the places.

    Parameters
    ----------
    vector
        The vector.
    starts, stops
        (n,) ranges, ascending and not overlapping.
    rows
        (n,) which place each range goes to; of its length.
    places
        The places.
    """
    if isinstance(vector, FileVector) and vector.dtype == places.dtype and _preadv is not None:
        _scatter_by_system(vector, starts, stops, places.addresses[rows])
    else:
        _scatter_by_hand(vector, starts, stops, rows, places)


def announce(vector: Vector, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
    """Tell the system that ranges of a vector will be read, so that the disk works ahead.

    Parameters
    ----------
    vector
        The vector.
    starts, stops
        (n,) ranges, ascending and not overlapping.
    """
    if not hasattr(os, "posix_fadvise") or not isinstance(vector, FileVector):
        return
    item = vector.dtype.itemsize
    edges = runs(starts, stops, gap=GAP_BYTES // item)
    with reading(vector) as reader:
        for first, last in pairwise(edges.tolist()):
            begin, end = int(starts[first]) * item, int(stops[last - 1]) * item
            for at in range(begin, end, ANNOUNCED):
                os.posix_fadvise(reader.descriptor, at, min(ANNOUNCED, end - at), os.POSIX_FADV_WILLNEED)


def _scatter_by_system(
    vector: FileVector, starts: NDArray[np.int64], stops: NDArray[np.int64], addresses: NDArray[np.int64]
) -> None:
    item = vector.dtype.itemsize
    at, n_bytes = starts * item, (stops - starts) * item
    gaps = at - np.concatenate([at[:1], at[:-1] + n_bytes[:-1]])
    bridged = np.flatnonzero((gaps > 0) & (gaps <= SKIP_BYTES))
    waste = np.empty(SKIP_BYTES, dtype=np.uint8)
    if bridged.size:
        addresses = np.insert(addresses, bridged, waste.ctypes.data)
        at, n_bytes = (
            np.insert(at, bridged, at[bridged] - gaps[bridged]),
            np.insert(n_bytes, bridged, gaps[bridged]),
        )
    # As the system wants them: pairs of an address and a number of bytes.
    vectors = np.empty((at.size, 2), dtype=np.uintp)
    vectors[:, 0], vectors[:, 1] = addresses, n_bytes
    ends = at + n_bytes
    elsewhere = np.flatnonzero(at[1:] != ends[:-1]) + 1
    edges = np.unique(np.concatenate([[0], elsewhere, np.arange(0, at.size, MOST_PLACES), [at.size]]))
    offsets, stops_at = at[edges[:-1]].tolist(), ends[edges[1:] - 1].tolist()
    with reading(vector) as reader:
        for (first, last), offset, stop in zip(pairwise(edges.tolist()), offsets, stops_at, strict=True):
            _read_to(reader, vectors[first:last], offset, stop, vector)


def _read_to(reader: Reader, vectors: NDArray[np.uintp], offset: int, stop: int, vector: FileVector) -> None:
    """Fill places one after the other with what a file holds from one byte to another."""
    assert _preadv is not None
    item = vector.dtype.itemsize
    while offset < stop:
        done = _preadv(reader.descriptor, vectors.ctypes.data, len(vectors), offset)
        if done < 0:
            if ctypes.get_errno() == errno.EINTR:
                continue
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(vector.path))
        if done == 0:
            raise reader.ended(stop // item)
        offset += done
        if offset < stop:  # the system may give less than it was asked for
            ends = np.cumsum(vectors[:, 1])
            full = int(np.searchsorted(ends, done, side="right"))
            vectors, left = vectors[full:].copy(), int(ends[full]) - done
            vectors[0] = int(vectors[0, 0]) + int(vectors[0, 1]) - left, left


def _scatter_by_hand(
    vector: Vector, starts: NDArray[np.int64], stops: NDArray[np.int64], rows: NDArray[np.int64], places: Places
) -> None:
    edges = runs(starts, stops, gap=gap_of(vector))
    with reading(vector) as reader:
        for first, last in pairwise(edges.tolist()):
            start, stop = int(starts[first]), int(stops[last - 1])
            for begin, end in pairwise([start, *range((start // PIECE + 1) * PIECE, stop, PIECE), stop]):
                piece = reader.read(begin, end)
                low, high = np.searchsorted(stops, begin, side="right"), np.searchsorted(starts, end)
                inside = slice(int(low), int(high))
                ranges = zip(starts[inside].tolist(), stops[inside].tolist(), strict=True)
                for (a, b), place in zip(ranges, places.each(rows[inside]), strict=True):
                    if begin <= a and b <= end:
                        place[:] = piece[a - begin : b - begin]
                    else:
                        cut, until = max(a, begin), min(b, end)
                        place[cut - a : until - a] = piece[cut - begin : until - begin]
