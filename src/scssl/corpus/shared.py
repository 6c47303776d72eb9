"""Which cells of some data are in a corpus: names are compared first, and counts of the few cells that remain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.corpus.build.barcodes import barcode_keys
from scssl.corpus.build.copies import MIN_EQUAL, Sketch, gene_order, matching_pairs, sketch
from scssl.corpus.build.stored import cells_with_keys, read_sketch
from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.format.shard import SOURCE
from scssl.corpus.sources.values import check_counts
from scssl.errors import DataError
from scssl.genes import harmonise
from scssl.log import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.corpus.sources.source import CellSource
    from scssl.corpus.store import Corpus

_CELLS_AT_ONCE: Final = 4096


@dataclass(frozen=True, kw_only=True)
class SharedCells:
    """Pairs of a cell of the data and a cell of the corpus that are the same."""

    cell: NDArray[np.int64]
    """(n_pairs,) number of the cell in the data."""
    source: NDArray[np.int64]
    """(n_pairs,) code of the corpus' source."""
    split: NDArray[np.int64]
    """(n_pairs,) position in `SPLITS`."""
    group: NDArray[np.int64]
    """(n_pairs,) code of the asked column of the corpus, -1 if missing."""
    same_name: NDArray[np.bool_]
    """(n_cells,) cells whose barcode (or name) some cell of the corpus has."""
    comparable: NDArray[np.bool_]
    """(n_cells,) cells with enough expressed genes to be recognised."""
    n_measured: int
    """Genes of the corpus that the data measured."""


@dataclass(frozen=True)
class _Cells:
    keys: NDArray[np.uint64]
    sketch: Sketch
    source: NDArray[np.int64]

    def take(self, rows: NDArray[np.integer]) -> _Cells:
        part = Sketch(self.sketch.genes[rows], self.sketch.counts[rows], self.sketch.rank)
        return _Cells(self.keys[rows], part, self.source[rows])


def find_shared(
    corpus: Corpus, data: CellSource, *, layer: str | None = None, column: str | None = None
) -> SharedCells:
    """Find the cells of a file that are in a corpus, one shard at a time.

    Memory holds what is needed of the data (about 300 bytes per cell) and of one shard.

    Parameters
    ----------
    corpus
        Where to look.
    data
        Open file with raw counts.
    layer
        What it was opened with, for messages.
    column
        Kept column of the corpus to tell the group of.

    Raises
    ------
    DataError
        If the genes do not fit the corpus' panel, or the values are no counts or all zero.
    """
    genes = harmonise(data.var, corpus.panel, file=data.file)
    measured = np.concatenate([corpus.measured, genes.measured[None]])
    rank = gene_order(corpus.panel.ids, measured)
    parts = []
    for rows, chunk in data.chunks(_CELLS_AT_ONCE):
        check_counts(chunk, file=data.file, layer=layer, first_row=rows.start)
        parts.append(sketch(genes.apply(chunk), rank))
    joined = Sketch.join(parts)
    if not (joined.genes >= 0).any():
        message = f"{data.file}: no cell has counts on the genes of the corpus, so none can be recognised"
        raise DataError(message)
    code = np.full(data.n_cells, len(corpus.sources))
    cells = _Cells(barcode_keys(data.obs.index.to_numpy()), joined, code)

    wanted = np.unique(cells.keys)
    same_name = np.zeros(data.n_cells, dtype=bool)
    found = [np.empty((4, 0), dtype=np.int64)]
    with progress("comparing cells", corpus.n_cells()) as advance:
        for shard in corpus.shards:
            rows_there, keys = cells_with_keys(shard, wanted)
            if rows_there.size:
                mine = np.flatnonzero(np.isin(cells.keys, keys))
                same_name[mine] = True
                codes = shard.read_codes(SOURCE, n_names=len(corpus.sources))[rows_there].astype(np.int64)
                theirs = _Cells(keys, read_sketch(corpus, shard, rows_there, rank), codes)
                a, b = _match(cells.take(mine), theirs, measured)
                group = np.full(len(b), -1, dtype=np.int64)
                if column is not None:
                    names = corpus.categories[column]
                    group = shard.read_codes(column, n_names=len(names))[rows_there[b]].astype(np.int64)
                found.append(np.stack([mine[a], codes[b], np.full(len(b), SPLITS.index(shard.split)), group]))
            advance(shard.n_cells)
    cell, source, split, group = np.concatenate(found, axis=1)
    return SharedCells(
        cell=cell,
        source=source,
        split=split,
        group=group,
        same_name=same_name,
        comparable=(cells.sketch.genes >= 0).sum(axis=1) >= MIN_EQUAL,
        n_measured=int(genes.measured.sum()),
    )


def _match(mine: _Cells, theirs: _Cells, measured: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair cells of the data with cells of a shard."""
    n = len(mine.keys)
    pairs = matching_pairs(
        np.concatenate([mine.keys, theirs.keys]),
        np.concatenate([mine.source, theirs.source]),
        Sketch.join([mine.sketch, theirs.sketch]),
        measured,
    )
    earlier, later = np.concatenate([np.empty((2, 0), dtype=np.int64), *map(np.stack, pairs)], axis=1)
    # The data's cells come first, so a pair across has one of them as the earlier.
    across = (earlier < n) & (later >= n)
    return earlier[across], later[across] - n
