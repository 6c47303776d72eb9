"""A pool: some thousand cells read together, in any order, straight into the batches that they make."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from scssl.corpus.format.shard import SOURCE, FileVector
from scssl.corpus.loader.mapped import Maps, announce, disk_reads, fetch
from scssl.corpus.loader.ranges import elements
from scssl.corpus.loader.scatter import places_of, scatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scssl.corpus.format.shard import Shard, Vector
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
    cells: NDArray[np.int64]
    """Which cells of the pool these are."""
    rows: NDArray[np.int64]
    """Their rows in the shard, ascending; copies of a cell follow each other."""
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    """Where their counts are."""
    values: Vector
    indices: Vector
    """Those of the shard, mapped where that is possible."""


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
        self._maps = Maps()
        self._from_disk = True

    def read(self, batches: Sequence[NDArray[np.int64]], *, arrays: Arrays) -> list[Cells]:
        """Read the cells of some batches.

        Parameters
        ----------
        batches
            (n_cells,) each, positions in the split in the order in which they are wanted.
        arrays
            Where memory comes from.
        """
        cells = np.concatenate([np.empty(0, dtype=np.int64), *batches])
        order = np.argsort(cells)
        ordered = cells[order]
        edges = np.searchsorted(ordered, self._first)
        before, from_disk = disk_reads(), self._from_disk
        parts = []
        for number in np.flatnonzero(np.diff(edges)).tolist():
            place = slice(edges[number], edges[number + 1])
            part = self._part(self._shards[number], order[place], ordered[place] - self._first[number])
            if from_disk:
                # All is announced before anything is read: the disk is slow to answer, not slow to deliver.
                for vector, mapped in ((part.shard.values, part.values), (part.shard.indices, part.indices)):
                    if mapped is not vector and isinstance(mapped, np.ndarray):
                        announce(mapped, part.starts, part.stops)
            parts.append(part)
        lengths = np.empty(cells.size, dtype=np.int64)
        for part in parts:
            lengths[part.cells] = part.stops - part.starts
        about = self._about(parts, cells.size)
        edges = np.cumsum([0, *(batch.size for batch in batches)])
        cuts = [slice(start, stop) for start, stop in pairwise(edges.tolist())]
        indptrs = [np.concatenate([[0], np.cumsum(lengths[cut])]) for cut in cuts]
        values = self._fill("values", parts, indptrs, arrays, fetching=from_disk)
        indices = self._fill("indices", parts, indptrs, arrays, fetching=from_disk)
        # What the system has cached is neither announced nor fetched: that takes as long as copying.
        self._from_disk = before is None or disk_reads() != before
        return [
            Cells(values=v, indices=i, indptr=indptr, about=about[:, cut].copy())
            for v, i, indptr, cut in zip(values, indices, indptrs, cuts, strict=True)
        ]

    def _opened(self, vector: Vector, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Vector:
        """Open a vector, ranges of which will be touched at once."""
        mapped = self._maps.open(vector)
        if self._from_disk and isinstance(vector, FileVector) and isinstance(mapped, np.ndarray):
            fetch(mapped, starts, stops, path=vector.path)
        return mapped

    def _part(self, shard: Shard, cells: NDArray[np.int64], rows: NDArray[np.int64]) -> _Part:
        indptr = self._opened(shard.indptr, rows, rows + 2)
        if isinstance(indptr, np.ndarray):
            starts, stops = indptr[rows], indptr[rows + 1]
        else:
            starts, stops = elements(indptr, np.stack([rows, rows + 1], axis=1).ravel()).reshape(-1, 2).T
        overlap = (stops[:-1] > starts[1:]) & (rows[:-1] < rows[1:])
        if starts[0] < 0 or stops.max() > shard.n_nonzeros or np.any(stops < starts) or np.any(overlap):
            key = "X/indptr"
            raise shard._altered(key)
        return _Part(shard, cells, rows, starts, stops, self._maps.open(shard.values), self._maps.open(shard.indices))

    def _about(self, parts: list[_Part], n_cells: int) -> NDArray[np.int64]:
        about = np.empty((CODES + len(self._columns), n_cells), dtype=np.int64)
        for part in parts:
            shard, cells = part.shard, part.cells
            about[CELL, cells] = shard.first_cell + part.rows
            about[COUNTS, cells] = elements(self._opened(shard.n_counts, part.rows, part.rows + 1), part.rows)
            for row, column in enumerate(self._columns, start=CODES):
                about[row, cells] = elements(self._opened(shard.codes[column], part.rows, part.rows + 1), part.rows)
        for row, (column, n_names) in enumerate(self._columns.items(), start=CODES):
            if n_cells and (about[row].min() < -1 or about[row].max() >= n_names):
                wrong = (about[row] < -1) | (about[row] >= n_names)
                key = f"obs/{column}/codes"
                raise next(part.shard for part in parts if wrong[part.cells].any())._altered(key)
        return about

    def _fill(
        self,
        name: Literal["values", "indices"],
        parts: list[_Part],
        indptrs: list[NDArray[np.int64]],
        arrays: Arrays,
        *,
        fetching: bool,
    ) -> list[NDArray[Any]]:
        """Read the counts or genes of all cells."""
        vectors = [getattr(part.shard, name) for part in parts]
        dtype = NARROW if all(vector.dtype == NARROW for vector in vectors) else WIDE
        filled = [arrays.take(int(indptr[-1]), dtype) for indptr in indptrs]
        places = places_of(filled, indptrs)
        limit = self._n_genes if name == "indices" else np.iinfo(WIDE).max + 1
        for vector, part in zip(vectors, parts, strict=True):
            mapped = getattr(part, name)
            if fetching and mapped is not vector:
                fetch(mapped, part.starts, part.stops, path=vector.path)
            if scatter(mapped, part.starts, part.stops, places[part.cells], dtype=dtype) >= limit:
                key = "X/indices" if name == "indices" else "X/data"
                raise part.shard._altered(key)
        return filled
