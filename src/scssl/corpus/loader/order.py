"""The order of an epoch: one long row of cells that ranks share and pools are cut from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.corpus.loader.balance import Interleaving

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.corpus.loader.selection import Selection

# What a random stream is for. With it no two streams have keys of which one is the other with zeros appended.
_ROW, _POOL = 1, 2
_FINEST = 4096
"""Classes are cut into about this many blocks or more, so that small ones are well shuffled too."""


class Row:
    """The selected cells of a split in the order of one epoch; any stretch of it can be asked for.

    Shuffled, each class is cut into blocks of consecutive cells with borders drawn anew, and the blocks are put in
    random order. A class that is drawn more often than it has cells goes through this order again, so that copies of a
    cell come as far apart as can be. The classes' draws are interleaved evenly.

    Parameters
    ----------
    selection
        The cells.
    seed, epoch
        Determine the order; ranks and threads do not matter.
    block_size
        Consecutive cells read together.
    shuffle
        If False, the order is the stored one.
    """

    def __init__(self, selection: Selection, *, seed: int, epoch: int, block_size: int, shuffle: bool) -> None:
        self._selection, self._shuffle = selection, shuffle
        if not shuffle:
            return
        rng = np.random.default_rng([seed, epoch, _ROW])
        single = len(selection.sizes) == 1
        draws = selection.sizes if single else selection.draws(rng)
        self._interleaving = Interleaving(draws, rng=rng)
        starts, lengths = [], []
        for first, size in zip(selection.bounds.tolist(), selection.sizes.tolist(), strict=False):
            block = block_size if single else min(block_size, max(1, size // _FINEST))
            edges = np.arange(int(rng.integers(block)), size, block)
            edges = np.unique(np.concatenate([[0], edges, [size]]))
            order = rng.permutation(edges.size - 1)
            starts.append(first + edges[:-1][order])
            lengths.append(np.diff(edges)[order])
        self._starts = np.concatenate(starts)
        self._stops = np.cumsum(np.concatenate(lengths))

    def cells(self, start: int, stop: int) -> NDArray[np.int64]:
        """Positions in the split of the cells from `start` to `stop` in the row (classes side by side within it)."""
        places = self._places(start, stop) if self._shuffle else np.arange(start, stop)
        chosen = self._selection.cells
        return places if chosen is None else chosen[places].astype(np.int64)

    def _places(self, start: int, stop: int) -> NDArray[np.int64]:
        before, after = self._interleaving.before(start), self._interleaving.before(stop)
        counts = after - before
        # Draw numbers of each class in turn, then where they are in the classes' block orders joined.
        draw = np.arange(stop - start) - np.repeat(np.cumsum(counts) - counts - before, counts)
        joined = draw % np.repeat(self._selection.sizes, counts) + np.repeat(self._selection.bounds[:-1], counts)
        block = np.searchsorted(self._stops, joined, side="right")
        # A block's stop and its last cell are one apart from the next one's.
        first = np.concatenate([[0], self._stops])[block] if block.size else block
        places: NDArray[np.int64] = self._starts[block] + joined - first
        return places


def mixing(n: int, *, seed: int, epoch: int, rank: int, pool: int) -> NDArray[np.int64]:
    """Return the permutation of the `n` cells of a pool: the same whatever was read before it."""
    return np.random.default_rng([seed, epoch, _POOL, rank, pool]).permutation(n)


def share_of_rank(n: int, rank: int, world_size: int, *, equal: bool) -> range:
    """Return a rank's stretch of a row of `n` cells.

    Parameters
    ----------
    n
        Cells in the row.
    rank, world_size
        Number of the process, and how many there are.
    equal
        All ranks get the same number of cells and the last few are left out; otherwise none is.
    """
    if equal:
        each = n // world_size
        return range(rank * each, (rank + 1) * each)
    return range(rank * n // world_size, (rank + 1) * n // world_size)


def largest_pool(selection: Selection, *, batch_size: int) -> int:
    """Return how many cells a pool may have so that no copies of a cell are in it, where that is possible at all.

    Copies come as many draws of their class apart as it has cells. A stretch of the row holds at most one draw per
    class more or less than its share, which bounds how close they can be.
    """
    if len(selection.sizes) == 1:
        return max(batch_size, selection.n_cells)
    limits = selection.sizes * selection.max_repeats
    most = np.minimum(limits, selection.draws(np.random.default_rng(0)) + 1)
    repeated = most > selection.sizes
    apart = selection.sizes * selection.n_cells // most - len(selection.sizes)
    spacing = int(apart[repeated].min(initial=selection.n_cells))
    return max(batch_size, spacing - spacing % batch_size)
