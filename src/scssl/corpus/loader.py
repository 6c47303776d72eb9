"""Batches of cells from a corpus: random blocks of stored cells, pooled, permuted and cut (or in stored order)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch

from scssl.corpus.batch import CellBatch
from scssl.corpus.prefetch import prefetch
from scssl.corpus.shard import SOURCE
from scssl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scssl.corpus.store import Corpus, Split

BLOCK_SIZE = 256
"""Consecutive cells read at a time: about 1 MB, so that a disk reads them at full speed."""
POOL_BYTES = 256 << 20
"""Aimed size of the pool that batches are drawn from; a pool has at least two batches."""
MAX_POOL_BLOCKS = 64
_BYTES_PER_NONZERO = 8
_CELL, _COUNTS, _SOURCE, _LABELS = 0, 1, 2, 3


class CorpusLoader:
    """Iterable of `CellBatch` over one split of a corpus, prepared ahead in a background thread.

    Shuffled, an epoch goes through all cells once: blocks of consecutive cells are taken from all shards in an order
    (and with block borders) drawn anew each epoch, pooled, permuted within the pool and cut into batches. As the cells
    of a corpus on disk were shuffled when it was built, batches are as well mixed as true random draws. Otherwise cells
    come in stored order.

    With several ranks every rank gets its own cells. Shuffled, all ranks take the same number of steps: up to
    ``world_size - 1`` cells are left out, other ones each epoch. In stored order every cell comes exactly once.

    Parameters
    ----------
    corpus
        Where the cells come from.
    split
        ``train``, ``val`` or ``test``.
    batch_size
        Cells in a batch; the last one of an epoch may be smaller.
    shuffle
        Random order for training, or stored order for evaluation.
    seed
        With the epoch it determines the order; the global random state is neither used nor changed.
    labels
        Kept obs columns whose codes go to ``CellBatch.labels``.
    drop_last
        Leave out the last batch of an epoch when it is smaller.
    rank, world_size
        Number of this process, and how many share the split.
    block_size
        Consecutive cells read at a time.
    pool_blocks
        Blocks that are mixed with each other; chosen from the memory they need by default.

    Raises
    ------
    SettingsError
        If the split is empty, or a setting is not possible.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        split: Split = "train",
        batch_size: int = 1024,
        shuffle: bool = True,
        seed: int = 0,
        labels: Sequence[str] = (),
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        block_size: int = BLOCK_SIZE,
        pool_blocks: int | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("block_size", block_size), ("world_size", world_size)):
            if value < 1:
                message = f"{name}={value} is not possible; it must be at least 1"
                raise SettingsError(message)
        if not 0 <= rank < world_size:
            message = f"rank={rank} is not possible with world_size={world_size}"
            raise SettingsError(message)
        unknown = [label for label in labels if label not in corpus.categories]
        if unknown:
            known = ", ".join(corpus.categories) or "none"
            message = f"labels={unknown} are no columns of the corpus; it keeps: {known} (see --obs of corpus build)"
            raise SettingsError(message)
        self.corpus, self.split, self.batch_size, self.shuffle = corpus, split, batch_size, shuffle
        self.seed, self.labels, self.drop_last = seed, tuple(labels), drop_last
        self.epoch = 0
        self._block_size = block_size
        self._shards = corpus.shards_of(split)
        self._total = sum(shard.n_cells for shard in self._shards)
        self._range = _share_of_rank(self._total, rank, world_size, equal=shuffle)
        if len(self) == 0:
            message = (
                f"split={split!r} gives no batch: {len(self._range):,} cells, batch_size={batch_size:,}, "
                f"drop_last={drop_last}, world_size={world_size}"
            )
            raise SettingsError(message)
        self._pool_cells = self._choose_pool(pool_blocks)
        # Shared by all batches, not copied.
        self._measured = torch.from_numpy(np.ascontiguousarray(corpus.measured))
        self._measured_share = torch.from_numpy(corpus.measured_share())

    def __len__(self) -> int:
        """Batches in an epoch."""
        n = len(self._range)
        return n // self.batch_size if self.drop_last else math.ceil(n / self.batch_size)

    @property
    def n_cells(self) -> int:
        """Cells in an epoch, of this rank (before `drop_last`)."""
        return len(self._range)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration; without it each iteration takes the next epoch.

        Parameters
        ----------
        epoch
            Number of the epoch, from 0.
        """
        self.epoch = epoch

    def __iter__(self) -> Iterator[CellBatch]:
        """Iterate over one epoch."""
        epoch = self.epoch
        self.epoch += 1
        return prefetch(lambda: self._batches(epoch))

    def _choose_pool(self, pool_blocks: int | None) -> int:
        if pool_blocks is not None:
            if pool_blocks < 1:
                message = f"pool_blocks={pool_blocks} is not possible; it must be at least 1"
                raise SettingsError(message)
            return pool_blocks * self._block_size
        per_cell = sum(shard.n_nonzeros for shard in self._shards) / self._total * _BYTES_PER_NONZERO
        fitting = int(POOL_BYTES / max(1.0, per_cell))
        return max(2 * self.batch_size, min(fitting, MAX_POOL_BLOCKS * self._block_size))

    def _batches(self, epoch: int) -> Iterator[CellBatch]:
        rng = np.random.default_rng([self.seed, epoch])
        left = _Pool.empty(len(self.corpus.panel), len(self.labels))
        remaining = len(self)
        for blocks in self._pools(rng):
            pool = _Pool.join([left, *(self._read(*block) for block in blocks)])
            order = rng.permutation(pool.n_cells) if self.shuffle else np.arange(pool.n_cells)
            full = pool.n_cells - pool.n_cells % self.batch_size
            for start in range(0, full, self.batch_size):
                yield self._batch(pool.take(order[start : start + self.batch_size]))
                remaining -= 1
            left = pool.take(order[full:])
            del pool  # before the next one is read: only one is held
        if remaining:
            yield self._batch(left)

    def _pools(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Blocks (shard, start, stop) in the epoch's order, as many at a time as make a pool."""
        blocks = self._blocks(rng)
        sizes = blocks[:, 2] - blocks[:, 1]
        pool = (np.cumsum(sizes) - sizes) // self._pool_cells
        yield from np.split(blocks, np.flatnonzero(np.diff(pool)) + 1)

    def _blocks(self, rng: np.random.Generator) -> NDArray[np.int64]:
        parts = []
        for number, shard in enumerate(self._shards):
            # Borders move from epoch to epoch, so that the same cells do not always come together.
            first = int(rng.integers(self._block_size)) if self.shuffle else 0
            inner = np.arange(first, shard.n_cells, self._block_size)
            edges = np.unique(np.concatenate([[0], inner, [shard.n_cells]]))
            parts.append(np.stack([np.full(edges.size - 1, number), edges[:-1], edges[1:]], axis=1))
        blocks = np.concatenate(parts).astype(np.int64)
        if self.shuffle:
            blocks = blocks[rng.permutation(len(blocks))]
        # The blocks in this order make one long row of cells; this rank has a range of it.
        stops = np.cumsum(blocks[:, 2] - blocks[:, 1])
        starts = stops - (blocks[:, 2] - blocks[:, 1])
        cut = blocks.copy()
        cut[:, 1] += np.maximum(0, self._range.start - starts)
        cut[:, 2] -= np.maximum(0, stops - self._range.stop)
        return cut[cut[:, 1] < cut[:, 2]]

    def _read(self, number: int, start: int, stop: int) -> _Pool:
        shard = self._shards[number]
        rows = shard.check_genes(shard.rows(start, stop), n_genes=len(self.corpus.panel))
        meta = np.empty((stop - start, _LABELS + len(self.labels)), dtype=np.int64)
        meta[:, _CELL] = np.arange(shard.first_cell + start, shard.first_cell + stop)
        meta[:, _COUNTS] = shard.n_counts[start:stop]
        part = slice(start, stop)
        meta[:, _SOURCE] = shard.read_codes(SOURCE, part, n_names=len(self.corpus.sources))
        for column, label in enumerate(self.labels, start=_LABELS):
            meta[:, column] = shard.read_codes(label, part, n_names=len(self.corpus.categories[label]))
        return _Pool(rows.values, rows.indices, rows.indptr, meta, len(self.corpus.panel))

    def _batch(self, cells: _Pool) -> CellBatch:
        meta = torch.from_numpy(np.ascontiguousarray(cells.meta.T))
        return CellBatch(
            values=torch.from_numpy(cells.values),
            indices=torch.from_numpy(cells.indices),
            indptr=torch.from_numpy(cells.indptr.astype(np.int64)),
            n_genes=cells.n_genes,
            size_factor=meta[_COUNTS].float(),
            measured=self._measured,
            measured_row=meta[_SOURCE],
            measured_share=self._measured_share,
            source=meta[_SOURCE],
            cell=meta[_CELL],
            labels={label: meta[column] for column, label in enumerate(self.labels, start=_LABELS)},
        )


class _Pool:
    """Some cells, compressed by row, with their numbers, totals, sources and labels side by side."""

    def __init__(
        self,
        values: NDArray[np.integer],
        indices: NDArray[np.integer],
        indptr: NDArray[np.integer],
        meta: NDArray[np.int64],
        n_genes: int,
    ) -> None:
        self.values, self.indices, self.indptr, self.meta, self.n_genes = values, indices, indptr, meta, n_genes

    @classmethod
    def empty(cls, n_genes: int, n_labels: int) -> _Pool:
        none = np.empty(0, dtype=np.int32)
        return cls(none, none, np.zeros(1, dtype=np.int64), np.empty((0, _LABELS + n_labels), dtype=np.int64), n_genes)

    @property
    def n_cells(self) -> int:
        return len(self.meta)

    @classmethod
    def join(cls, parts: Sequence[_Pool]) -> _Pool:
        # int32 everywhere is what scipy's row gather wants, and what a batch holds.
        values = np.concatenate([p.values for p in parts], dtype=np.int32, casting="unsafe")
        indices = np.concatenate([p.indices for p in parts], dtype=np.int32, casting="unsafe")
        lengths = np.concatenate([np.diff(p.indptr) for p in parts])
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        meta = np.concatenate([p.meta for p in parts])
        return cls(values, indices, indptr, meta, parts[0].n_genes)

    def take(self, rows: NDArray[np.int64]) -> _Pool:
        X = sp.csr_matrix((self.values, self.indices, self.indptr), shape=(self.n_cells, self.n_genes), copy=False)
        chosen = X[rows]
        return _Pool(chosen.data, chosen.indices, chosen.indptr, self.meta[rows], self.n_genes)


def _share_of_rank(n: int, rank: int, world_size: int, *, equal: bool) -> range:
    if equal:
        each = n // world_size
        return range(rank * each, (rank + 1) * each)
    return range(rank * n // world_size, (rank + 1) * n // world_size)
