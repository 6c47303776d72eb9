"""Pools: the rows that were asked for, each read once, in memory that is used again."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus import Corpus
from scssl.corpus.format.shard import Shard, open_shard, write_shard
from scssl.corpus.loader.pool import CELL, CODES, COUNTS, PoolReader
from scssl.corpus.loader.reuse import Arrays
from scssl.errors import FormatError
from scssl.genes import GenePanel


def stored(corpus):
    parts = [sp.csr_matrix((s.values, s.indices.astype(np.int32), s.indptr), (s.n_cells, 50)) for s in shards(corpus)]
    return sp.vstack(parts).tocsr()


def shards(corpus):
    return corpus.shards_of("val")


def read(corpus, cells, *, labels=(), batch_size=7, using=None):
    reader = PoolReader(corpus, shards(corpus) if using is None else using, labels=labels)
    cells = np.array(cells, dtype=np.int64)
    batches = [cells[first : first + batch_size] for first in range(0, cells.size, batch_size)]
    found = reader.read(batches, arrays=Arrays(keep=2))
    assert [batch.indptr.size - 1 for batch in found] == [len(batch) for batch in batches]
    return found


def matrix(batches, n_genes=50):
    parts = [
        sp.csr_matrix((b.values, b.indices.astype(np.int32), b.indptr), (b.indptr.size - 1, n_genes)) for b in batches
    ]
    return sp.vstack(parts).tocsr()


@settings(max_examples=60, deadline=None)
@given(cells=st.lists(st.integers(0, 82), min_size=1, max_size=60), batch_size=st.integers(1, 70))
def test_cells_in_any_order_and_more_than_once(small_corpus, cells, batch_size):
    batches = read(small_corpus, cells, labels=["donor"], batch_size=batch_size)
    assert (matrix(batches) != stored(small_corpus)[cells]).nnz == 0
    about = np.concatenate([batch.about for batch in batches], axis=1)
    obs = small_corpus.obs("val").iloc[cells]
    np.testing.assert_array_equal(about[CELL], 83 + np.array(cells))
    np.testing.assert_array_equal(about[COUNTS], obs["n_counts"])
    np.testing.assert_array_equal(about[CODES], obs["source"].cat.codes)
    np.testing.assert_array_equal(about[CODES + 1], obs["donor"].cat.codes)


@pytest.mark.parametrize("sizes", [[], [0], [0, 3, 0]])
def test_batches_without_cells(small_corpus, sizes):
    cells = [np.arange(size) for size in sizes]
    found = PoolReader(small_corpus, shards(small_corpus), labels=[]).read(cells, arrays=Arrays(keep=2))
    assert [batch.about.shape[1] for batch in found] == sizes


def test_wide_counts(small_corpus):
    """A shard with large counts is stored in a wider type than the others; pools without it stay narrow."""
    wide = [
        replace(s, values=s.values.astype(np.uint32) + (70_000 if i == 2 else 0)) if i == 2 else s
        for i, s in enumerate(shards(small_corpus))
    ]
    expected = np.concatenate([s.values for s in wide])
    batches = read(small_corpus, range(83), using=wide)
    np.testing.assert_array_equal(np.concatenate([batch.values for batch in batches]), expected)
    assert {(batch.values.dtype.name, batch.indices.dtype.name) for batch in batches} == {("int32", "uint16")}
    batches = read(small_corpus, range(wide[0].n_cells), using=wide)
    assert {(batch.values.dtype.name, batch.indices.dtype.name) for batch in batches} == {("uint16", "uint16")}


@settings(max_examples=30, deadline=None)
@given(
    kinds=st.lists(st.sampled_from([np.uint16, np.uint32]), min_size=2, max_size=2),
    n_genes=st.sampled_from([50, 70_000]),
    compress=st.sampled_from([None, "zstd"]),
    cells=st.lists(st.integers(0, 39), min_size=1, max_size=50),
    batch_size=st.integers(1, 20),
)
def test_what_was_written_is_read(tmp_path_factory, kinds, n_genes, compress, cells, batch_size):
    """Shards of narrow and wide counts, panels of more genes than 16 bits can number, packed and not."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(len(cells))
    ids = np.array([f"g{i}" for i in range(n_genes)], dtype=object)
    panel, opened, whole = GenePanel(ids=ids, symbols=ids), [], []
    for number, kind in enumerate(kinds):
        X = sp.random(20, n_genes, density=400 / n_genes / 20, random_state=rng, format="lil")
        X[0, n_genes - 1] = 1
        X = X.tocsr()
        X.data = rng.integers(1, 2**31 if kind is np.uint32 else 2**16, X.nnz)
        shard = Shard(
            split="train", first_cell=20 * number, values=X.data.astype(kind),
            indices=X.indices.astype(np.uint16 if n_genes <= 2**16 else np.uint32), indptr=X.indptr.astype(np.int64),
            n_counts=np.arange(20), codes={"source": np.zeros(20, dtype=np.int32)}, names=np.arange(20).astype(object),
        )  # fmt: skip
        where = folder / str(number)
        entry = write_shard(
            where, shard, panel=panel, categories={"source": ["a"]}, splits=["train"], compress=compress
        )
        opened.append(open_shard(where, entry, columns=[]))
        whole.append(X)
    corpus = SimpleNamespace(panel=panel, sources=["a"], categories={})
    batches = read(corpus, cells, batch_size=batch_size, using=opened)
    assert (matrix(batches, n_genes) != sp.vstack(whole).tocsr()[cells]).nnz == 0
    # In memory only the shards that are read matter.
    kinds = {kinds[cell // 20] for cell in cells}
    assert {batch.values.dtype for batch in batches} == {np.dtype(np.uint16 if kinds == {np.uint16} else np.int32)}
    assert {batch.indices.dtype for batch in batches} == {np.dtype(np.uint16 if n_genes == 50 else np.int32)}


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("X/indices", lambda s: replace(s, indices=np.full_like(s.indices, 50))),
        ("X/indices", lambda s: replace(s, indices=np.full(s.n_nonzeros, 2**32 - 1, dtype=np.uint32))),
        ("X/data", lambda s: replace(s, values=np.full(s.n_nonzeros, 2**31, dtype=np.uint32))),
        ("X/indptr", lambda s: replace(s, indptr=s.indptr[::-1].copy())),
        ("X/indptr", lambda s: replace(s, indptr=s.indptr + 1)),
        ("X/indptr", lambda s: replace(s, indptr=s.indptr - 1)),
        ("obs/source/codes", lambda s: replace(s, codes={**s.codes, "source": np.full(s.n_cells, 2, dtype=np.int32)})),
        ("obs/donor/codes", lambda s: replace(s, codes={**s.codes, "donor": np.full(s.n_cells, -2, dtype=np.int32)})),
    ],
)
def test_altered_shards(small_corpus, key, change):
    altered = [change(shard) if number == 2 else shard for number, shard in enumerate(shards(small_corpus))]
    read(small_corpus, range(10), labels=["donor"], using=altered)
    with pytest.raises(FormatError, match=f"{key}: holds values that cannot be"):
        read(small_corpus, range(83), labels=["donor"], using=altered)


def test_from_disk(corpus_dir):
    corpus = Corpus.open(corpus_dir)
    train = corpus.shards_of("train")
    cells = np.random.default_rng(0).permutation(corpus.n_cells("train"))[:50]
    whole = train[0].rows(0, train[0].n_cells)
    indices = whole.indices.astype(np.int32)
    expected = sp.csr_matrix((whole.values, indices, whole.indptr), (train[0].n_cells, len(corpus.panel)))
    assert (matrix(read(corpus, cells, using=train), len(corpus.panel)) != expected[cells]).nnz == 0
