"""A pool: some thousand cells read together, in any order, straight into the batches that they make."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scssl.corpus.format.shard import SOURCE
from scssl.corpus.loader.ranges import elements
from scssl.corpus.loader.scatter import Places, announce, scatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scssl.corpus.format.shard import Shard
    from scssl.corpus.loader.reuse import Arrays
    from scssl.corpus.store import Corpus

CELL, COUNTS, CODES = 0, 1, 2
"""Rows of `Cells.about`; from `CODES` on come the columns' codes, the source's first."""
NARROW: Final[np.dtype[Any]] = np.dtype(np.uint16)
WIDE: Final[np.dtype[Any]] = np.dtype(np.int32)
"""Of batches: as narrow as what is read, or where a shard stores a wider type, one that tensors can reckon with."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Cells of one batch, compressed by row."""

    values: NDArray[Any]
    """(n_nonzeros,) uint16 or int32, raw counts."""
    indices: NDArray[Any]
    """(n_nonzeros,) uint16 or int32, position of the gene in the panel."""
    indptr: NDArray[np.int64]
    """(n_cells + 1,)."""
    about: NDArray[np.int64]
    """(n_about, n_cells) number in the corpus, total counts and codes of each cell."""


class _Part(NamedTuple):
    """What a pool takes from one shard."""

    shard: Shard
    place: slice
    """Where its cells are among the distinct cells of the pool."""
    rows: NDArray[np.int64]
    """Their rows in the shard, ascending."""
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    """Where their counts are."""


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

    def read(self, batches: Sequence[NDArray[np.int64]], *, arrays: Arrays) -> list[Cells]:
        """Read the cells of some batches; copies of a cell are read once.

        Parameters
        ----------
        batches
            (n_cells,) each, positions in the split in the order in which they are wanted.
        arrays
            Where memory comes from.
        """
        cells = np.concatenate([np.empty(0, dtype=np.int64), *batches])
        distinct, first, which = np.unique(cells, return_index=True, return_inverse=True)
        edges = np.searchsorted(distinct, self._first)
        parts = []
        for number in np.flatnonzero(np.diff(edges)).tolist():
            place = slice(edges[number], edges[number + 1])
            rows = distinct[place] - self._first[number]
            part = _Part(self._shards[number], place, rows, *self._ranges(self._shards[number], rows))
            # All is announced before anything is read: the disk is slow to answer, not slow to deliver.
            announce(part.shard.values, part.starts, part.stops)
            announce(part.shard.indices, part.starts, part.stops)
            parts.append(part)
        about = self._about(parts, distinct.size)
        lengths = np.concatenate([np.empty(0, dtype=np.int64), *(part.stops - part.starts for part in parts)])[which]
        edges = np.cumsum([0, *(batch.size for batch in batches)])
        cuts = [slice(start, stop) for start, stop in pairwise(edges.tolist())]
        indptrs = [np.concatenate([[0], np.cumsum(lengths[cut])]) for cut in cuts]
        values = self._fill("values", parts, first, which, indptrs, arrays)
        indices = self._fill("indices", parts, first, which, indptrs, arrays)
        return [
            Cells(values=v, indices=i, indptr=indptr, about=about.take(which[cut], axis=1))
            for v, i, indptr, cut in zip(values, indices, indptrs, cuts, strict=True)
        ]

    def _about(self, parts: list[_Part], n_cells: int) -> NDArray[np.int64]:
        about = np.empty((CODES + len(self._columns), n_cells), dtype=np.int64)
        for part in parts:
            shard, place = part.shard, part.place
            about[CELL, place] = shard.first_cell + part.rows
            about[COUNTS, place] = elements(shard.n_counts, part.rows)
            for row, (column, n_names) in enumerate(self._columns.items(), start=CODES):
                codes = elements(shard.codes[column], part.rows)
                if codes.min() < -1 or codes.max() >= n_names:
                    key = f"obs/{column}/codes"
                    raise shard._altered(key)
                about[row, place] = codes
        return about

    def _ranges(self, shard: Shard, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        # Where a row ends the next one starts, which is mostly asked for too.
        alone = np.append(np.diff(rows) != 1, True)
        place = np.arange(rows.size) + np.cumsum(alone) - alone
        both = np.empty(rows.size + int(alone.sum()), dtype=np.int64)
        both[place], both[place + 1] = rows, rows + 1
        indptr = elements(shard.indptr, both)
        starts, stops = indptr[place], indptr[place + 1]
        if starts.size and (indptr[0] < 0 or indptr[-1] > shard.n_nonzeros or np.any(np.diff(indptr) < 0)):
            key = "X/indptr"
            raise shard._altered(key)
        return starts, stops

    def _fill(
        self,
        name: str,
        parts: list[_Part],
        first: NDArray[np.int64],
        which: NDArray[np.int64],
        indptrs: list[NDArray[np.int64]],
        arrays: Arrays,
    ) -> list[NDArray[Any]]:
        """Read the counts or genes of all cells: each distinct one to its first place, from which copies are made."""
        vectors = [getattr(part.shard, name) for part in parts]
        dtype = NARROW if all(vector.dtype == NARROW for vector in vectors) else WIDE
        filled = [arrays.take(int(indptr[-1]), dtype) for indptr in indptrs]
        if not filled:
            return filled
        places = Places(filled, indptrs)
        for vector, part in zip(vectors, parts, strict=True):
            scatter(vector, part.starts, part.stops, first[part.place], places)
        copies = np.flatnonzero(first[which] != np.arange(which.size))
        for copy, original in zip(places.each(copies), places.each(first[which[copies]]), strict=True):
            copy[:] = original
        limit = self._n_genes if name == "indices" else np.iinfo(WIDE).max + 1
        if limit <= np.iinfo(f"u{dtype.itemsize}").max and any(_largest(array) >= limit for array in filled):
            for part in parts:
                if any(_largest(row) >= limit for row in places.each(first[part.place])):
                    key = "X/indices" if name == "indices" else "X/data"
                    raise part.shard._altered(key)
        return filled


def _largest(array: NDArray[Any]) -> int:
    """Return the largest element; seen as unsigned, those that did not fit are large too."""
    return int(array.view(f"u{array.dtype.itemsize}").max(initial=0))
