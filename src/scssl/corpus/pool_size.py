"""How many cells a loader holds at a time, and what memory that takes; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scssl.corpus.format.shard import Shard
    from scssl.corpus.store import Corpus, Split

BLOCK_SIZE: Final = 256
"""Consecutive cells read at a time: about 1 MB, so that a disk reads them at full speed."""
WORKERS: Final = 2
"""Reading threads, unless asked otherwise."""
POOL_BYTES: Final = 128 << 20
"""Aimed size of a pool of 32-bit counts and genes; it has at least one batch. It depends neither on the threads nor on
the types that a corpus is stored in, and so neither does the order."""
MOST_POOLS: Final = 5
MAX_POOL_BLOCKS: Final = 64
_WIDE: Final = 8
_NARROW: Final = 4
"""Bytes of a count and its gene."""
_BYTES_PER_CELL: Final = 8 * 8
_BYTES_PER_BLOCK: Final = 2 * 8


@dataclass(frozen=True, kw_only=True)
class PoolSize:
    """What a loader holds at a time."""

    pool_cells: int
    """Cells in a pool, a multiple of the batch size."""
    n_pools: int
    """Pools at a time: one whose batches are handed out, the others being read or waiting."""
    n_bytes: int
    """Memory that they take, on average."""


def pool_size(
    *,
    nonzeros_per_cell: float,
    bytes_per_nonzero: int = _WIDE,
    batch_size: int,
    workers: int = WORKERS,
    pool_cells: int | None = None,
    largest: int | None = None,
) -> PoolSize:
    """Choose the size of pools so that memory depends on the batch size and never on the number of cells.

    Parameters
    ----------
    nonzeros_per_cell
        Stored counts of a typical cell.
    bytes_per_nonzero
        Of a count and its gene in a batch, see `bytes_per_nonzero`.
    batch_size
        Cells in a batch.
    workers
        Reading threads.
    pool_cells
        Cells in a pool, where they are given; rounded up to whole batches.
    largest
        Cells that a pool must not exceed, unless a batch does.
    """
    n_pools = min(workers, MOST_POOLS - 1) + 1
    if pool_cells is None:
        fitting = min(int(POOL_BYTES / (nonzeros_per_cell * _WIDE + _BYTES_PER_CELL)), MAX_POOL_BLOCKS * BLOCK_SIZE)
        batches = max(1, fitting // batch_size)
    else:
        batches = -(-pool_cells // batch_size)
    if largest is not None:
        batches = max(1, min(batches, largest // batch_size))
    # Beside them: the batch that the caller has not dropped yet.
    held = n_pools * batches * batch_size + batch_size
    n_bytes = held * (nonzeros_per_cell * bytes_per_nonzero + _BYTES_PER_CELL)
    return PoolSize(pool_cells=batches * batch_size, n_pools=n_pools, n_bytes=int(n_bytes))


def bytes_per_nonzero(shards: Sequence[Shard]) -> int:
    """Return what a count and its gene take at most in batches of some shards: 4 bytes if all are stored as 16 bits."""
    narrow = all(vector.dtype.itemsize == 2 for shard in shards for vector in (shard.values, shard.indices))
    return _NARROW if narrow else _WIDE


def loading_memory(
    corpus: Corpus, *, split: Split = "train", batch_size: int = 1024, workers: int = WORKERS, selected: int = 0
) -> int:
    """Estimate the bytes that loading needs, on top of Python and torch themselves.

    Parameters
    ----------
    corpus
        What is loaded; nothing is read.
    split
        ``train``, ``val`` or ``test``.
    batch_size
        Cells in a batch.
    workers
        Reading threads.
    selected
        Cells chosen by ``where`` or drawn by ``balance``; 0 for neither.
    """
    shards = corpus.shards_of(split)
    n_cells = sum(shard.n_cells for shard in shards)
    nonzeros = sum(shard.n_nonzeros for shard in shards) / max(1, n_cells)
    batch_size = max(1, min(batch_size, n_cells))
    size = pool_size(
        nonzeros_per_cell=nonzeros,
        bytes_per_nonzero=bytes_per_nonzero(shards),
        batch_size=batch_size,
        workers=workers,
    )
    # No pool is larger than the split.
    pools = min(1.0, n_cells / size.pool_cells) * size.n_bytes
    return int(pools) + n_cells // BLOCK_SIZE * _BYTES_PER_BLOCK + selected * 4 + corpus.measured.nbytes
