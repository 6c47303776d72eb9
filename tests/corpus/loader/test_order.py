"""The order of an epoch: every draw once, the same for every way of cutting it, well mixed."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.loader.order import Row, largest_pool, mixing, share_of_rank
from scssl.corpus.loader.selection import Selection


def selection_of(sizes, *, max_repeats=10, seed=0):
    """Cells of a split in which the classes are scattered."""
    cells = np.random.default_rng(seed).permutation(2 * sum(sizes))[: sum(sizes)]
    bounds = np.cumsum([0, *sizes])
    parts = [np.sort(cells[a:b]) for a, b in itertools.pairwise(bounds)]
    return Selection(cells=np.concatenate(parts), bounds=bounds, max_repeats=max_repeats)


SIZES = st.lists(st.integers(1, 80), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(
    sizes=SIZES, repeats=st.integers(1, 5), block=st.integers(1, 40), seed=st.integers(0, 9), epoch=st.integers(0, 9)
)
def test_every_draw_comes_once(sizes, repeats, block, seed, epoch):
    selection = selection_of(sizes, max_repeats=repeats)
    row = Row(selection, seed=seed, epoch=epoch, block_size=block, shuffle=True)
    drawn = Counter(row.cells(0, selection.n_cells).tolist())
    per_class = []
    for first, last in zip(selection.bounds, selection.bounds[1:], strict=False):
        times = [drawn.pop(cell, 0) for cell in selection.cells[first:last].tolist()]
        assert max(times) - min(times) <= 1
        assert max(times) <= (repeats if len(sizes) > 1 else 1)
        per_class.append(sum(times))
    assert not drawn
    assert sum(per_class) == selection.n_cells
    expected = selection.draws(np.random.default_rng(0))
    assert sorted(per_class) == sorted(expected)


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, step=st.integers(1, 50), shuffle=st.booleans())
def test_stretches_join_to_the_whole(sizes, step, shuffle):
    selection = selection_of(sizes if shuffle else sizes[:1])
    row = Row(selection, seed=1, epoch=2, block_size=8, shuffle=shuffle)
    n = selection.n_cells
    whole = Counter(row.cells(0, n).tolist())
    parts = [row.cells(start, min(start + step, n)).tolist() for start in range(0, n, step)]
    assert [len(part) for part in parts] == [min(step, n - start) for start in range(0, n, step)]
    assert sum(map(Counter, parts), Counter()) == whole


def test_stored_order():
    selection = selection_of([50])
    row = Row(selection, seed=1, epoch=2, block_size=8, shuffle=False)
    np.testing.assert_array_equal(row.cells(0, 50), selection.cells)
    everything = Selection(cells=None, bounds=np.array([0, 9]), max_repeats=1)
    assert Row(everything, seed=0, epoch=0, block_size=2, shuffle=False).cells(3, 7).tolist() == [3, 4, 5, 6]


def test_blocks_and_their_borders_are_drawn_anew():
    everything = Selection(cells=None, bounds=np.array([0, 1000]), max_repeats=1)
    rows = [Row(everything, seed=0, epoch=e, block_size=50, shuffle=True).cells(0, 1000) for e in range(20)]
    borders = {int(row[np.flatnonzero(np.diff(row) != 1)[0] + 1]) % 50 for row in rows}
    assert len(borders) > 8
    assert len({tuple(row // 50) for row in rows}) == 20


def test_copies_are_as_far_apart_as_can_be():
    selection = selection_of([10, 490], max_repeats=5)
    row = Row(selection, seed=0, epoch=0, block_size=8, shuffle=True)
    rare = set(selection.cells[:10].tolist())
    parts = [row.cells(start, start + 100).tolist() for start in range(0, 500, 100)]
    for part in parts:
        assert sorted(cell for cell in part if cell in rare) == sorted(rare)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=2, max_size=4), repeats=st.integers(1, 10), batch=st.integers(1, 20),
    seed=st.integers(0, 5),
)  # fmt: skip
def test_no_pool_has_copies_where_that_can_be(sizes, repeats, batch, seed):
    selection = selection_of(sizes, max_repeats=repeats)
    pool = largest_pool(selection, batch_size=batch)
    assert pool >= batch
    row = Row(selection, seed=seed, epoch=0, block_size=16, shuffle=True)
    n = selection.n_cells
    if pool > batch:
        for start in range(0, n, pool):
            cells = row.cells(start, min(start + pool, n))
            assert len(set(cells.tolist())) == len(cells)


def test_streams_of_rows_and_pools_differ():
    keys = [(epoch, rank, pool) for epoch in range(3) for rank in range(3) for pool in range(3)]
    orders = {tuple(mixing(30, seed=0, epoch=e, rank=r, pool=p)) for e, r, p in keys}
    assert len(orders) == len(keys)
    assert tuple(np.random.default_rng([0, 0]).permutation(30)) not in orders


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("n", [0, 1, 5, 100, 101])
@pytest.mark.parametrize("world", [1, 2, 7])
def test_shares_of_ranks(n, world, equal):
    shares = [share_of_rank(n, rank, world, equal=equal) for rank in range(world)]
    joined = [i for share in shares for i in share]
    assert joined == list(range(n - n % world if equal else n))
    assert max(map(len, shares)) - min(map(len, shares)) <= (0 if equal else 1)
