"""A pool: some thousand cells read together, from which batches are cut in any order."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.corpus.format.shard import SOURCE
from scssl.corpus.loader.ranges import elements, ranges_into
from scssl.corpus.loader.reuse import Scratch, from_system
from scssl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from queue import SimpleQueue

    from numpy.typing import NDArray

    from scssl.corpus.format.shard import Shard
    from scssl.corpus.store import Corpus

CELL, COUNTS, CODES = 0, 1, 2
"""Rows of `Pool.about`; from `CODES` on come the columns' codes, the source's first."""


def gather_rows(
    rows: NDArray[np.int32],
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    values: NDArray[np.int32],
    out_indices: NDArray[np.int32],
    out_values: NDArray[np.int32],
) -> None:
    """Copy rows of a CSR matrix one after the other."""
    first = 0
    for row in rows.tolist():
        start, stop = int(indptr[row]), int(indptr[row + 1])
        last = first + stop - start
        out_indices[first:last], out_values[first:last] = indices[start:stop], values[start:stop]
        first = last


_gather: Callable[..., None] = gather_rows
try:
    # What scipy's `X[rows]` calls, without new memory for each result; it lets other threads run meanwhile.
    from scipy.sparse._sparsetools import csr_row_index
except ImportError:
    pass
else:

    def _gather(rows: NDArray[np.int32], *arrays: NDArray[np.int32]) -> None:
        csr_row_index(rows.size, rows, *arrays)


class PoolReader:
    """Reads cells of a split, named by their positions in it.

    Parameters
    ----------
    corpus
        The corpus.
    shards
        Those of the split.
    labels
        Kept obs columns to read.
    """

    def __init__(self, corpus: Corpus, shards: Sequence[Shard], *, labels: Sequence[str]) -> None:
        self._shards, self._n_genes = shards, len(corpus.panel)
        self._first = np.cumsum([0, *(shard.n_cells for shard in shards)])
        names = {SOURCE: corpus.sources, **corpus.categories}
        self._columns = {column: len(names[column]) for column in (SOURCE, *labels)}

    def read(self, pool: Pool, cells: NDArray[np.int64]) -> None:
        """Fill a pool with cells; copies of a cell are read once.

        Parameters
        ----------
        pool
            What it held is overwritten.
        cells
            (n_cells,) positions in the split, in any order.
        """
        distinct, pool.rows = np.unique(cells, return_inverse=True)
        edges = np.searchsorted(distinct, self._first)
        parts = []
        for number in np.flatnonzero(np.diff(edges)).tolist():
            place = slice(edges[number], edges[number + 1])
            parts.append((self._shards[number], place, distinct[place] - self._first[number]))
        pool.about = np.empty((CODES + len(self._columns), distinct.size), dtype=np.int64)
        ranges = np.empty((2, distinct.size), dtype=np.int64)
        for shard, place, rows in parts:
            ranges[:, place] = self._ranges(shard, rows)
            pool.about[CELL, place] = shard.first_cell + rows
            pool.about[COUNTS, place] = elements(shard.n_counts, rows)
            for row, (column, n_names) in enumerate(self._columns.items(), start=CODES):
                codes = elements(shard.codes[column], rows)
                if codes.min() < -1 or codes.max() >= n_names:
                    key = f"obs/{column}/codes"
                    raise shard._altered(key)
                pool.about[row, place] = codes
        pool.resize(ranges[1] - ranges[0])
        for shard, place, _ in parts:
            starts, stops = ranges[:, place]
            stored = slice(pool.indptr[place.start], pool.indptr[place.stop])
            ranges_into(shard.values, starts, stops, pool.values[stored], scratch=pool.scratch)
            if ranges_into(shard.indices, starts, stops, pool.indices[stored], scratch=pool.scratch) >= self._n_genes:
                key = "X/indices"
                raise shard._altered(key)

    def _ranges(self, shard: Shard, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        both = np.union1d(rows, rows + 1)
        indptr = elements(shard.indptr, both)
        starts, stops = indptr[np.searchsorted(both, rows)], indptr[np.searchsorted(both, rows + 1)]
        if starts.size and (indptr[0] < 0 or indptr[-1] > shard.n_nonzeros or np.any(np.diff(indptr) < 0)):
            key = "X/indptr"
            raise shard._altered(key)
        return starts, stops


class Pool:
    """Cells of a pool, compressed by row, in memory that is used again for the next one."""

    def __init__(self) -> None:
        self.rows = np.empty(0, dtype=np.int64)
        """(n_cells,) which stored row each cell is."""
        self.about = np.empty((CODES, 0), dtype=np.int64)
        """(n_about, n_rows) number in the corpus, total counts and codes of each stored row."""
        self.indptr = np.zeros(1, dtype=np.int32)
        self.values = self.indices = np.empty(0, dtype=np.int32)
        self.scratch = Scratch()
        """Memory to read through."""

    def resize(self, lengths: NDArray[np.int64]) -> None:
        """Make room for rows of these lengths."""
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        if indptr[-1] > np.iinfo(np.int32).max:
            message = (
                f"a pool of {lengths.size:,} cells holds {indptr[-1]:,} counts, which is too many; lower batch_size"
            )
            raise SettingsError(message)
        self.indptr = indptr.astype(np.int32)
        if self.values.size < indptr[-1]:
            # Some spare room, so that pools of about the same size need no new memory.
            room = int(indptr[-1] * 1.05)
            self.values = self.indices = np.empty(0, dtype=np.int32)  # freed first
            self.values, self.indices = from_system(room), from_system(room)

    def copy_rows(self, rows: NDArray[np.int64], values: NDArray[np.int32], indices: NDArray[np.int32]) -> None:
        """Write the counts and genes of some rows, one after the other, into arrays of their length."""
        _gather(rows.astype(np.int32), self.indptr, self.indices, self.values, indices, values)


class SharedPool:
    """A pool that several threads cut batches from; the last one to leave it gives it back.

    Parameters
    ----------
    filled
        The pool, perhaps still being read.
    uses
        How often it is entered.
    free
        Where it goes then.
    """

    def __init__(self, filled: Future[Pool], *, uses: int, free: SimpleQueue[Pool]) -> None:
        self._filled, self._left, self._free = filled, uses, free
        self._lock = threading.Lock()

    def __enter__(self) -> Pool:
        return self._filled.result()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                self._free.put(self._filled.result())
