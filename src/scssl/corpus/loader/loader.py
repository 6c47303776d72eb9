"""Batches of cells from a corpus: random blocks of stored cells, pooled, permuted and cut (or in stored order)."""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from scssl.corpus.batch import CellBatch
from scssl.corpus.loader.order import Row, largest_pool, mixing, share_of_rank
from scssl.corpus.loader.pool import CELL, CODES, COUNTS, Cells, PoolReader
from scssl.corpus.loader.prefetch import prefetch
from scssl.corpus.loader.reuse import Arrays
from scssl.corpus.loader.selection import select
from scssl.corpus.pool_size import BLOCK_SIZE, WORKERS, bytes_per_nonzero, pool_size
from scssl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from scssl.corpus.store import Corpus, Split

ORDER: Final = 1
"""Raised whenever the same settings come to mean another order, so that no run goes on in the wrong one."""


class CorpusLoader:
    """Iterable of `CellBatch` over one split of a corpus, prepared ahead in background threads.

    Shuffled, an epoch goes through all cells once: blocks of consecutive cells are taken from all shards in an order
    (and with block borders) drawn anew each epoch, pooled, permuted within the pool and cut into batches. As the cells
    of a corpus on disk were shuffled when it was built, batches are as well mixed as true random draws. Otherwise cells
    come in stored order.

    With several ranks every rank gets its own cells. Shuffled, all ranks take the same number of steps: up to
    ``world_size - 1`` cells are left out, other ones each epoch. In stored order every cell comes exactly once. Or,
    with `share_batches`, the batches are those of a single process and each rank gets its part of every one.

    `state_dict` says after any batch where the iteration is; a loader with the same settings that was given it by
    `load_state_dict` goes on with the next batch, without reading what came before.

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
    where
        Condition on the cells, over ``source``, ``n_counts`` and the kept obs columns, e.g.
        ``'cell_type in ["B cell"] and n_counts > 500'``; see `Condition`.
    balance
        Column whose categories are drawn equally often: ``source`` or a kept obs column. An epoch has as many draws as
        there are cells to draw from; cells without a category are left out. Copies of a cell come far apart.
    max_repeats
        How often a cell may be drawn in an epoch when balancing; rare categories get fewer draws for that.
    drop_last
        Leave out the last batch of an epoch when it is smaller.
    rank, world_size
        Number of this process, and how many share the split.
    share_batches
        Give each rank a part of every batch, which has `batch_size` cells over all ranks, rather than whole batches of
        its own: what is trained then does not depend on the number of ranks. Each rank reads about the whole split from
        the disk or its cache for that, but converts and copies its own cells only.
    workers
        Threads that read; the order does not depend on them.
    pin_memory
        Give batches in pinned memory, for ``batch.to(device, non_blocking=True)``; does nothing without CUDA.
    block_size
        Consecutive cells read at a time.
    pool_blocks
        Blocks that are mixed with each other; chosen from the memory they need by default.

    Raises
    ------
    SettingsError
        If no cell is left, or a setting is not possible.
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
        where: str | None = None,
        balance: str | None = None,
        max_repeats: int = 10,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        share_batches: bool = False,
        workers: int = WORKERS,
        pin_memory: bool = False,
        block_size: int = BLOCK_SIZE,
        pool_blocks: int | None = None,
    ) -> None:
        at_least_one: dict[str, Any] = {"batch_size": batch_size, "block_size": block_size, "world_size": world_size}
        at_least_one |= {"workers": workers, "pool_blocks": 1 if pool_blocks is None else pool_blocks}
        for name, value in at_least_one.items():
            if not isinstance(value, int | np.integer):
                message = f"{name}={value!r} is not possible; it must be a whole number"
                raise SettingsError(message)
            if value < 1:
                message = f"{name}={value} is not possible; it must be at least 1"
                raise SettingsError(message)
        if seed < 0:
            message = f"seed={seed} is not possible; it must be at least 0"
            raise SettingsError(message)
        if not 0 <= rank < world_size:
            message = f"rank={rank} is not possible with world_size={world_size}"
            raise SettingsError(message)
        labels = [labels] if isinstance(labels, str) else labels
        unknown = [label for label in labels if label not in corpus.categories]
        if unknown:
            known = ", ".join(corpus.categories) or "none"
            message = f"labels={unknown} are no columns of the corpus; it keeps: {known} (see --obs of corpus build)"
            raise SettingsError(message)
        if balance is not None and not shuffle:
            message = f"balance={balance!r} draws cells at random, so it needs shuffle=True"
            raise SettingsError(message)
        self.corpus, self.split, self.batch_size, self.shuffle = corpus, split, batch_size, shuffle
        self.seed, self.labels, self.drop_last = seed, tuple(labels), drop_last
        self.epoch = 0
        # Of each batch; and the stretch of the row that batches are cut from.
        self._part = (rank, world_size) if share_batches else (0, 1)
        rank, world_size = (0, 1) if share_batches else (rank, world_size)
        self._rank, self._workers, self._block_size = rank, workers, block_size
        self._pin = pin_memory and torch.cuda.is_available()
        shards = corpus.shards_of(split)
        self._selection = select(corpus, split=split, where=where, balance=balance, max_repeats=max_repeats)
        self._range = share_of_rank(self._selection.n_cells, rank, world_size, equal=shuffle)
        if len(self) == 0:
            message = (
                f"split={split!r} gives no batch: {len(self._range):,} cells, batch_size={batch_size:,}, "
                f"drop_last={drop_last}, world_size={world_size}"
            )
            raise SettingsError(message)
        self._reader = PoolReader(corpus, shards, labels=self.labels)
        nonzeros = sum(shard.n_nonzeros for shard in shards) / sum(shard.n_cells for shard in shards)
        largest = largest_pool(self._selection, batch_size=batch_size)
        asked = None if pool_blocks is None else pool_blocks * block_size
        self._size = pool_size(
            nonzeros_per_cell=nonzeros,
            bytes_per_nonzero=bytes_per_nonzero(shards),
            batch_size=batch_size,
            workers=workers,
            pool_cells=asked,
            largest=largest,
        )
        # Shared by all batches, not copied.
        self._measured = torch.from_numpy(np.ascontiguousarray(corpus.measured))
        self._measured_share = torch.from_numpy(corpus.measured_share())
        if self._pin:
            self._measured, self._measured_share = self._measured.pin_memory(), self._measured_share.pin_memory()
        self._resume_at: tuple[int, int] | None = None
        self._now: _Place | None = None
        self._settings = {
            "corpus": corpus.fingerprint,
            "split": split,
            "batch_size": batch_size,
            "shuffle": shuffle,
            "seed": seed,
            "where": where,
            "balance": balance,
            "max_repeats": max_repeats if balance is not None else None,
            "drop_last": drop_last,
            "world_size": world_size,
            "block_size": block_size,
            "pool_cells": self._size.pool_cells,
            "order": ORDER,
        }

    def __len__(self) -> int:
        """Batches in an epoch."""
        n = len(self._range)
        return n // self.batch_size if self.drop_last else math.ceil(n / self.batch_size)

    @property
    def n_cells(self) -> int:
        """Cells in an epoch, of this rank (before `drop_last`); of all ranks where they share batches."""
        return len(self._range)

    def batch_cells(self, number: int) -> int:
        """Return how many cells a batch has, of all ranks where they share batches.

        Parameters
        ----------
        number
            Place of the batch in the epoch, from 0.
        """
        return min(self.batch_size, len(self._range) - number * self.batch_size)

    def memory_bytes(self) -> int:
        """Estimate the memory that iterating needs, on top of Python and torch themselves."""
        return self._size.n_bytes + self._selection.n_bytes

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration; without it each iteration takes the next epoch.

        Parameters
        ----------
        epoch
            Number of the epoch, from 0. The iteration starts at its first batch, unless `load_state_dict` has just
            been told to go on within this very epoch.
        """
        self.epoch = epoch
        self._now = None

    def state_dict(self) -> dict[str, Any]:
        """Say where the iteration is, after the batch that was handed out last.

        Returns
        -------
        dict
            Plain values: ``epoch`` and ``batch``, the next one to come, and ``settings``, which the order depends on.
        """
        epoch, batch = self.epoch, 0
        if self._resume_at is not None and self._resume_at[0] == epoch:
            batch = self._resume_at[1]
        if self._now is not None and self._now.batch < len(self):
            epoch, batch = self._now.epoch, self._now.batch
        return {"epoch": epoch, "batch": batch, "settings": dict(self._settings)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on where another one was; those after it are whole epochs again.

        Parameters
        ----------
        state
            What `state_dict` returned, of any rank.

        Raises
        ------
        SettingsError
            If that loader had other settings, so that its order was another one.
        """
        try:
            settings, epoch, batch = state["settings"], int(state["epoch"]), int(state["batch"])
            other = [key for key in self._settings if settings[key] != self._settings[key]]
        except (KeyError, TypeError, ValueError) as error:
            message = f"the state of the loader cannot be understood ({error!r}); it was written by another version"
            raise SettingsError(message) from error
        if other:
            differences = ", ".join(f"{key} was {settings[key]!r} and is {self._settings[key]!r}" for key in other)
            message = f"cannot go on in the middle of an epoch, as its order would change: {differences}"
            raise SettingsError(message)
        if epoch < 0 or not 0 <= batch <= len(self):
            message = f"the state of the loader is not possible: batch {batch:,} of {len(self):,} in epoch {epoch:,}"
            raise SettingsError(message)
        self.epoch, self._resume_at, self._now = epoch, (epoch, batch), None

    def __iter__(self) -> Iterator[CellBatch]:
        """Iterate over one epoch."""
        epoch, first = self.epoch, 0
        if self._resume_at is not None and self._resume_at[0] == epoch:
            first = self._resume_at[1]
        self._resume_at = None
        self._now = _Place(epoch, first)
        self.epoch += 1
        return self._iterate(self._now)

    def _iterate(self, place: _Place) -> Iterator[CellBatch]:
        first = place.batch
        pools = prefetch(lambda _: self._jobs(place.epoch, first), workers=self._workers, ahead=self._size.n_pools - 1)
        for batches in pools:
            while batches:
                place.batch += 1
                self._now = place
                # Not kept in a variable: what is handed over belongs to the caller alone.
                yield batches.popleft()

    def _jobs(self, epoch: int, first: int) -> Iterator[Callable[[], deque[CellBatch]]]:
        """Give a job for each pool, from that with batch `first` on; it gives the pool's batches from `first` on."""
        row = Row(self._selection, seed=self.seed, epoch=epoch, block_size=self._block_size, shuffle=self.shuffle)
        per_pool = self._size.pool_cells // self.batch_size
        arrays = Arrays(keep=2 * per_pool * (self._size.n_pools + 1))
        for number in range(first // per_pool, math.ceil(len(self) / per_pool)):
            skipped = max(0, first - number * per_pool)
            yield partial(self._read, number, row, epoch, skipped, arrays)

    def _read(self, number: int, row: Row, epoch: int, skipped: int, arrays: Arrays) -> deque[CellBatch]:
        start = self._range.start + number * self._size.pool_cells
        cells = row.cells(start, min(start + self._size.pool_cells, self._range.stop))
        if self.shuffle:
            cells = cells[mixing(cells.size, seed=self.seed, epoch=epoch, rank=self._rank, pool=number)]
        most = len(self) - number * (self._size.pool_cells // self.batch_size)
        batches = [cells[first : first + self.batch_size] for first in range(0, cells.size, self.batch_size)]
        own = [batch[self._own(batch.size)] for batch in batches[skipped:most]]
        return deque(map(self._batch, self._reader.read(own, arrays=arrays)))

    def _own(self, n_cells: int) -> slice:
        """Which cells of a batch are this rank's."""
        rank, n_ranks = self._part
        each, more = divmod(n_cells, n_ranks)
        # No rank gets more of a smaller batch than of a full one.
        return slice(rank * each + min(rank, more), (rank + 1) * each + min(rank + 1, more))

    def _batch(self, cells: Cells) -> CellBatch:
        about = torch.from_numpy(cells.about)
        batch = CellBatch(
            values=torch.from_numpy(cells.values),
            indices=torch.from_numpy(cells.indices),
            indptr=torch.from_numpy(cells.indptr),
            n_genes=len(self.corpus.panel),
            size_factor=about[COUNTS].float(),
            measured=self._measured,
            measured_row=about[CODES],
            measured_share=self._measured_share,
            source=about[CODES],
            cell=about[CELL],
            labels={label: about[number] for number, label in enumerate(self.labels, start=CODES + 1)},
        )
        return batch.pin_memory() if self._pin else batch


class _Place:
    """How far an iteration has come."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.epoch, self.batch = epoch, batch
