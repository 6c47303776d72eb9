"""Pools: the rows that were asked for, each read once, in memory that is used again."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus import Corpus
from scssl.corpus.loader import pool
from scssl.corpus.loader.pool import CELL, CODES, COUNTS, Pool, PoolReader, SharedPool
from scssl.errors import FormatError, SettingsError


def stored(corpus):
    parts = [sp.csr_matrix((s.values, s.indices.astype(np.int32), s.indptr), (s.n_cells, 50)) for s in shards(corpus)]
    return sp.vstack(parts).tocsr()


def shards(corpus):
    return corpus.shards_of("val")


def contents(filled, rows):
    indptr = np.concatenate([[0], np.cumsum(np.diff(filled.indptr)[rows])])
    values, indices = np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1], dtype=np.int32)
    filled.copy_rows(rows, values, indices)
    return sp.csr_matrix((values, indices, indptr), shape=(len(rows), 50))


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(st.lists(st.integers(0, 82), max_size=60), min_size=1, max_size=3))
def test_cells_in_any_order_and_more_than_once(small_corpus, asked):
    reader = PoolReader(small_corpus, shards(small_corpus), labels=["donor"])
    filled = Pool()
    for cells in asked:  # into the same pool
        reader.read(filled, np.array(cells, dtype=np.int64))
        assert (contents(filled, filled.rows) != stored(small_corpus)[cells]).nnz == 0
        about = filled.about[:, filled.rows]
        obs = small_corpus.obs("val").iloc[cells]
        np.testing.assert_array_equal(about[CELL], 83 + np.array(cells, dtype=np.int64))
        np.testing.assert_array_equal(about[COUNTS], obs["n_counts"])
        np.testing.assert_array_equal(about[CODES], obs["source"].cat.codes)
        np.testing.assert_array_equal(about[CODES + 1], obs["donor"].cat.codes)
        assert filled.about.shape[1] == len(set(cells))


@pytest.mark.parametrize("gather", ["_gather", "gather_rows"])
def test_both_ways_to_gather(small_corpus, monkeypatch, gather):
    monkeypatch.setattr(pool, "_gather", getattr(pool, gather))
    filled = Pool()
    PoolReader(small_corpus, shards(small_corpus), labels=[]).read(filled, np.arange(83))
    rows = np.array([5, 0, 0, 82, 13])
    assert (contents(filled, rows) != stored(small_corpus)[rows]).nnz == 0


def test_wide_counts(small_corpus):
    """A shard with large counts is stored in a wider type than the others."""
    wide = [
        replace(s, values=s.values.astype(np.uint32) + (70_000 if i == 2 else 0))
        for i, s in enumerate(shards(small_corpus))
    ]
    filled = Pool()
    PoolReader(small_corpus, wide, labels=[]).read(filled, np.arange(83))
    expected = np.concatenate([s.values for s in wide])
    np.testing.assert_array_equal(filled.values[: expected.size], expected)


def test_memory_is_used_again(small_corpus):
    reader, filled = PoolReader(small_corpus, shards(small_corpus), labels=[]), Pool()
    reader.read(filled, np.arange(83))
    before = filled.values, filled.indices
    reader.read(filled, np.arange(40))
    assert filled.values is before[0]
    assert filled.indices is before[1]


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("X/indices", lambda s: replace(s, indices=np.full_like(s.indices, 50))),
        ("X/indptr", lambda s: replace(s, indptr=s.indptr[::-1].copy())),
        ("X/indptr", lambda s: replace(s, indptr=s.indptr + 1)),
        ("X/indptr", lambda s: replace(s, indptr=s.indptr - 1)),
        ("obs/source/codes", lambda s: replace(s, codes={**s.codes, "source": np.full(s.n_cells, 2, dtype=np.int32)})),
        ("obs/donor/codes", lambda s: replace(s, codes={**s.codes, "donor": np.full(s.n_cells, -2, dtype=np.int32)})),
    ],
)
def test_altered_shards(small_corpus, key, change):
    altered = [change(shard) if number == 2 else shard for number, shard in enumerate(shards(small_corpus))]
    reader = PoolReader(small_corpus, altered, labels=["donor"])
    reader.read(Pool(), np.arange(10))
    with pytest.raises(FormatError, match=f"{key}: holds values that cannot be"):
        reader.read(Pool(), np.arange(83))


def test_too_many_counts_for_a_pool():
    with pytest.raises(SettingsError, match=r"3 cells holds 3,000,000,000 counts.*lower batch_size"):
        Pool().resize(np.full(3, 10**9))


def test_from_disk(corpus_dir):
    corpus = Corpus.open(corpus_dir)
    train = corpus.shards_of("train")
    filled = Pool()
    cells = np.random.default_rng(0).permutation(corpus.n_cells("train"))[:50]
    PoolReader(corpus, train, labels=[]).read(filled, cells)
    whole = train[0].rows(0, train[0].n_cells)
    for place, cell in enumerate(cells):
        row = filled.rows[place]
        np.testing.assert_array_equal(
            filled.values[filled.indptr[row] : filled.indptr[row + 1]],
            whole.values[whole.indptr[cell] : whole.indptr[cell + 1]],
        )


def test_the_last_one_to_leave_a_pool_gives_it_back():
    filled, free, future = Pool(), SimpleQueue(), Future()
    future.set_result(filled)
    shared = SharedPool(future, uses=2, free=free)
    with shared as first, shared as second:
        assert first is second is filled
        assert free.empty()
    assert free.get_nowait() is filled
