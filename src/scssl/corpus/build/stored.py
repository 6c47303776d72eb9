"""Cells of a corpus that may be copies of others: found by their names, read only where these agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.sparse as sp

from scssl.corpus.build.barcodes import barcode_keys
from scssl.corpus.build.copies import Sketch, sketch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scssl.corpus.format.shard import Shard
    from scssl.corpus.store import Corpus

_CELLS_AT_ONCE: Final = 4096
_GAP: Final = 32
"""Reading so many cells too many takes less time than another read."""


def cells_with_keys(shard: Shard, wanted: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the cells of a shard whose key is wanted, and their keys."""
    keys = barcode_keys(shard.cell_names())
    rows = np.flatnonzero(np.isin(keys, wanted))
    return rows, keys[rows]


def read_sketch(corpus: Corpus, shard: Shard, rows: NDArray[np.int64], rank: NDArray[np.int32]) -> Sketch:
    """Sketch some cells of a shard, given in stored order; cells far apart are read by themselves."""
    n_genes, parts = len(corpus.panel), []
    for run in _runs(rows):
        start, stop = int(run[0]), int(run[-1]) + 1
        read = shard.check_genes(shard.rows(start, stop), n_genes=n_genes)
        X = sp.csr_matrix((read.values, read.indices.astype(np.int32), read.indptr), shape=(stop - start, n_genes))
        parts.append(X if len(run) == stop - start else X[run - start])
    return sketch(sp.vstack(parts, format="csr"), rank)


def _runs(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut sorted numbers into parts that are read at once."""
    for block in np.split(rows, np.flatnonzero(np.diff(rows) > _GAP) + 1):
        yield from np.split(block, np.flatnonzero(np.diff((block - block[0]) // _CELLS_AT_ONCE)) + 1)
