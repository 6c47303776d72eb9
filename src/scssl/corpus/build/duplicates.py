"""De-duplication during a build: the keys and sketches of all cells on disk, compared a range of keys at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.corpus.build.copies import N_ENTRIES, Sketch, barcode_keys, find_copies, sketch
from scssl.corpus.format.shard import SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scssl.corpus.build.read import Block
    from scssl.corpus.format.shard import Shard
    from scssl.corpus.store import Corpus

CELLS_AT_ONCE: Final = 250_000
"""Cells compared at a time, about: 250 MB of memory."""
CHUNK: Final = 4096
"""Cells of a corpus that are looked at in one go."""
ENDING: Final = ".keys.npy"
RECORD: Final = np.dtype(
    [
        ("key", "<u8"),
        ("cell", "<i8"),
        ("bucket", "<i4"),
        ("source", "<i4"),
        ("genes", "<i4", (N_ENTRIES,)),
        ("counts", "<u2", (N_ENTRIES,)),
    ]
)
"""What is remembered of a cell."""


@dataclass
class KeyWriter:
    """Gather what is needed to recognise the cells of a part.

    Parameters
    ----------
    rank
        (n_genes,) from `gene_order`.
    """

    rank: NDArray[np.int32]
    _parts: list[NDArray[Any]] = field(default_factory=list)

    def add(self, block: Block, bucket: NDArray[np.integer]) -> None:
        """Take some cells and the buckets that they went to."""
        self._parts.append(records(block, bucket, self.rank))

    def sorted(self) -> NDArray[Any]:
        """Return the records in the order of their keys."""
        joined = np.concatenate([np.empty(0, dtype=RECORD), *self._parts])
        return joined[np.argsort(joined["key"], kind="stable")]


def records(block: Block, bucket: NDArray[np.integer], rank: NDArray[np.int32]) -> NDArray[Any]:
    """(n_cells,) of `RECORD`."""
    found = np.empty(block.X.shape[0], dtype=RECORD)
    sketched = sketch(block.X, rank)
    found["key"], found["cell"], found["bucket"] = barcode_keys(block.names), block.cell, bucket
    found["source"], found["genes"] = block.codes[:, 0], sketched.genes
    found["counts"] = np.minimum(sketched.counts, np.iinfo(np.uint16).max)
    return found


def key_ranges(n_cells: int) -> list[tuple[int, int]]:
    """Ranges (first, last) of keys, each with about `CELLS_AT_ONCE` of the cells."""
    n = max(1, -(-n_cells // CELLS_AT_ONCE))
    edges = [i * (1 << 64) // n for i in range(n + 1)]
    return [(first, after - 1) for first, after in pairwise(edges)]


def read_range(files: Sequence[Path], first: int, last: int) -> Iterator[NDArray[Any]]:
    """Read the records with keys from `first` to `last` of each file."""
    for path in files:
        held = np.load(path, mmap_mode="r", allow_pickle=False)
        start = int(np.searchsorted(held["key"], np.uint64(first), side="left"))
        stop = int(np.searchsorted(held["key"], np.uint64(last), side="right"))
        yield np.array(held[start:stop])


def find_in_corpus(corpus: Corpus, files: Sequence[Path], rank: NDArray[np.int32]) -> NDArray[Any]:
    """Return the records of the corpus' cells whose keys are among those of new cells.

    Parameters
    ----------
    corpus
        Where to look: the names of all cells are read, and the counts of the few that are wanted.
    files
        Records of new cells.
    rank
        (n_genes,) the order of the sketches.
    """
    # 8 bytes for each new cell, which may well be many: nothing else is held of them.
    wanted = np.unique(np.concatenate([np.load(path, mmap_mode="r", allow_pickle=False)["key"] for path in files]))
    found = [np.empty(0, dtype=RECORD)]
    for shard in corpus.shards:
        keys = barcode_keys(shard.cell_names())
        for row in np.array_split(np.flatnonzero(np.isin(keys, wanted)), max(1, shard.n_cells // CHUNK)):
            if row.size:
                found.append(_records_of(corpus, shard, row, keys[row], rank))
    return np.concatenate(found)


def _records_of(
    corpus: Corpus, shard: Shard, rows: NDArray[np.int64], keys: NDArray[np.uint64], rank: NDArray[np.int32]
) -> NDArray[Any]:
    first, last = int(rows[0]), int(rows[-1]) + 1
    cells = shard.check_genes(shard.rows(first, last), n_genes=len(corpus.panel))
    arrays = (cells.values, cells.indices.astype(np.int32), cells.indptr)
    X = sp.csr_matrix(arrays, shape=(last - first, len(corpus.panel)))[rows - first]
    sketched = sketch(X, rank)
    found = np.empty(len(rows), dtype=RECORD)
    found["key"], found["cell"], found["bucket"] = keys, shard.first_cell + rows, -1
    found["source"] = shard.read_codes(SOURCE, n_names=len(corpus.sources))[rows]
    found["genes"], found["counts"] = sketched.genes, np.minimum(sketched.counts, np.iinfo(np.uint16).max)
    return found


def find_dropped(
    parts: Sequence[NDArray[Any]],
    rank: NDArray[np.int32],
    measured: NDArray[np.bool_],
    *,
    known: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Find the cells that are copies of others; of these, the one of the source that measured most genes is kept.

    Parameters
    ----------
    parts
        Records.
    rank
        (n_genes,) the order of the sketches.
    measured
        (n_sources, n_genes) which genes each source measured.
    known
        Records of cells that are in the corpus already, and stay.

    Returns
    -------
    numpy.ndarray
        The records of the copies.
    """
    new = np.concatenate([np.empty(0, dtype=RECORD), *parts])
    richness = measured.sum(axis=1)[new["source"]]
    new = new[np.lexsort((new["cell"], -richness))]
    old = np.empty(0, dtype=RECORD) if known is None else known
    found = np.concatenate([old, new])
    sketches = Sketch(found["genes"], found["counts"].astype(np.int32), rank)
    copy_of = find_copies(found["key"], found["source"], sketches, measured)
    copy_of[: len(old)] = -1
    return found[copy_of >= 0]
