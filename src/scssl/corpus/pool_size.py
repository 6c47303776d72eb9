"""How many cells a loader holds at a time, and what memory that takes; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scssl.corpus.store import Corpus, Split

BLOCK_SIZE: Final = 256
"""Consecutive cells read at a time: about 1 MB, so that a disk reads them at full speed."""
WORKERS: Final = 2
"""Reading threads, unless asked otherwise: one reads the next pool while the other cuts batches from this one."""
POOL_BYTES: Final = 128 << 20
"""Aimed size of a pool; it has at least one batch. It does not depend on the threads, and so neither does the order."""
MOST_POOLS: Final = 4
AHEAD_BYTES: Final = 96 << 20
"""Aimed size of the batches prepared ahead; there is at least one."""
MAX_POOL_BLOCKS: Final = 64
BYTES_PER_NONZERO: Final = 8
"""Counts and genes are int32 in pools and batches."""
_BYTES_PER_CELL: Final = 8 * 8
_BYTES_PER_BLOCK: Final = 2 * 8


@dataclass(frozen=True, kw_only=True)
class PoolSize:
    """What a loader holds at a time."""

    pool_cells: int
    """Cells in a pool, a multiple of the batch size."""
    n_pools: int
    """Pools at a time: one that batches are cut from, the others being read."""
    ahead: int
    """Batches prepared ahead."""
    n_bytes: int
    """Memory that pools and batches take, on average."""


def pool_size(
    *,
    nonzeros_per_cell: float,
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
    batch_size
        Cells in a batch.
    workers
        Reading threads.
    pool_cells
        Cells in a pool, where they are given; rounded up to whole batches.
    largest
        Cells that a pool must not exceed, unless a batch does.
    """
    per_cell = nonzeros_per_cell * BYTES_PER_NONZERO + _BYTES_PER_CELL
    n_pools = min(max(2, workers), MOST_POOLS)
    if pool_cells is None:
        fitting = min(int(POOL_BYTES / per_cell), MAX_POOL_BLOCKS * BLOCK_SIZE)
        batches = max(1, fitting // batch_size)
    else:
        batches = -(-pool_cells // batch_size)
    if largest is not None:
        batches = max(1, min(batches, largest // batch_size))
    ahead = max(1, min(int(AHEAD_BYTES / per_cell / batch_size), 2 * workers))
    # Beside those ahead: the batch that the caller works on, and the one that it has not dropped yet.
    held = n_pools * batches * batch_size + (ahead + 2) * batch_size
    return PoolSize(pool_cells=batches * batch_size, n_pools=n_pools, ahead=ahead, n_bytes=int(held * per_cell))


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
    size = pool_size(nonzeros_per_cell=nonzeros, batch_size=batch_size, workers=workers)
    # No pool is larger than the split.
    pools = min(1.0, n_cells / size.pool_cells) * size.n_bytes
    return int(pools) + n_cells // BLOCK_SIZE * _BYTES_PER_BLOCK + selected * 4 + corpus.measured.nbytes
