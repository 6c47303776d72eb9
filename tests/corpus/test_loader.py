"""The loader: every cell exactly once, the right content, the same order for the same seed."""

from __future__ import annotations

import shutil
from itertools import chain

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus import Corpus, CorpusLoader
from scssl.errors import FormatError, SettingsError
from scssl.genes import GenePanel

LABELS = ("cell_type", "donor")


@pytest.fixture(scope="module")
def corpus():
    """A corpus in memory of several small shards per split, each cell's content telling its number."""
    return many_shards([13, 1, 40, 7, 22])


def many_shards(sizes):
    from scssl.corpus.shard import Shard

    n_genes, shards, first = 50, [], 0
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for n in sizes:
            X = sp.random(n, n_genes, density=0.2, random_state=rng, format="csr")
            X.data = np.arange(1, X.nnz + 1)
            X = sp.csr_matrix(np.maximum(X.toarray(), np.eye(1, n_genes)))  # no empty cell
            shards.append(
                Shard(
                    split=split,
                    first_cell=first,
                    values=X.data.astype(np.uint16),
                    indices=X.indices.astype(np.uint16),
                    indptr=X.indptr.astype(np.int64),
                    n_counts=np.asarray(X.sum(axis=1)).ravel().astype(np.int64),
                    codes={
                        "source": rng.integers(0, 2, n).astype(np.int32),
                        "cell_type": rng.integers(-1, 3, n).astype(np.int32),
                        "donor": rng.integers(0, 3, n).astype(np.int32),
                    },
                    names=np.array([f"{first + i}" for i in range(n)], dtype=object),
                )
            )
            first += n
    ids = np.array([f"g{i}" for i in range(n_genes)], dtype=object)
    return Corpus(
        panel=GenePanel(ids=ids, symbols=ids),
        sources=["a", "b"],
        categories={"cell_type": ["x", "y", "z"], "donor": ["p", "q", "r"]},
        measured=np.ones((2, n_genes), dtype=bool),
        gene_counts=np.ones((2, n_genes), dtype=np.int64),
        shards=shards,
        settings={},
        report={"sources": []},
    )


def cells(loader):
    return [batch.cell.tolist() for batch in loader]


def matrix(batches):
    return sp.vstack(
        [
            sp.csr_matrix((b.values.numpy(), b.indices.numpy(), b.indptr.numpy()), shape=(b.n_cells, b.n_genes))
            for b in batches
        ],
        format="csr",
    )


@settings(max_examples=60, deadline=None)
@given(
    block=st.integers(1, 60),
    pool=st.integers(1, 6),
    batch=st.integers(1, 100),
    seed=st.integers(0, 3),
    epoch=st.integers(0, 3),
    drop_last=st.booleans(),
)
def test_every_cell_exactly_once(corpus, block, pool, batch, seed, epoch, drop_last):
    n = corpus.n_cells("train")
    if drop_last and batch > n:
        return
    loader = CorpusLoader(corpus, batch_size=batch, block_size=block, pool_blocks=pool, seed=seed, drop_last=drop_last)
    loader.set_epoch(epoch)
    batches = cells(loader)
    seen = sorted(chain.from_iterable(batches))
    assert len(batches) == len(loader)
    assert all(len(b) == batch for b in batches[:-1])
    if drop_last:
        assert len(seen) == len(set(seen)) == n - n % batch
    else:
        assert seen == list(range(n))


@settings(max_examples=40, deadline=None)
@given(world=st.integers(1, 7), batch=st.integers(1, 40), block=st.integers(1, 30), shuffle=st.booleans())
def test_ranks_share_the_cells(corpus, world, batch, block, shuffle):
    n = corpus.n_cells("train")
    loaders = [
        CorpusLoader(corpus, batch_size=batch, block_size=block, shuffle=shuffle, rank=rank, world_size=world)
        for rank in range(world)
    ]
    seen = [c for loader in loaders for c in chain.from_iterable(cells(loader))]
    assert len(seen) == len(set(seen))
    if shuffle:
        assert len(seen) == n - n % world
        assert len({len(loader) for loader in loaders}) == 1
    else:
        assert sorted(seen) == list(range(n))


def test_left_out_cells_change_with_the_epoch(corpus):
    left_out = set()
    for epoch in range(20):
        seen = set()
        for rank in range(7):
            loader = CorpusLoader(corpus, batch_size=10, rank=rank, world_size=7)
            loader.set_epoch(epoch)
            seen |= set(chain.from_iterable(cells(loader)))
        left_out |= set(range(corpus.n_cells("train"))) - seen
    assert len(left_out) > 10


def test_order_depends_on_seed_and_epoch_only(corpus):
    def order(seed, epoch, pool_blocks=3):
        loader = CorpusLoader(corpus, batch_size=8, block_size=4, pool_blocks=pool_blocks, seed=seed)
        loader.set_epoch(epoch)
        return cells(loader)

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_epochs_advance_by_themselves(corpus):
    loader = corpus.loader(batch_size=8)
    first, second = cells(loader), cells(loader)
    assert first != second
    loader.set_epoch(0)
    assert cells(loader) == first


def test_stored_order(corpus):
    loader = corpus.loader(split="val", shuffle=False, batch_size=10)
    assert list(chain.from_iterable(cells(loader))) == list(range(83, 166))
    assert cells(loader) == cells(loader)


@pytest.mark.parametrize("shuffle", [True, False])
def test_content_is_that_of_the_shards(corpus, shuffle):
    batches = list(corpus.loader(batch_size=9, shuffle=shuffle, labels=LABELS))
    shards = corpus.shards_of("train")
    stored = sp.vstack(
        [sp.csr_matrix((s.values, s.indices.astype(np.int32), s.indptr), (s.n_cells, 50)) for s in shards]
    )
    order = np.concatenate([b.cell.numpy() for b in batches])
    assert (matrix(batches) != stored.tocsr()[order]).nnz == 0
    for key, got in [
        ("source", [b.source for b in batches]),
        *((label, [b.labels[label] for b in batches]) for label in LABELS),
    ]:
        expected = np.concatenate([s.codes[key] for s in shards])[order]
        np.testing.assert_array_equal(np.concatenate([g.numpy() for g in got]), expected)
    totals = np.concatenate([b.size_factor.numpy() for b in batches])
    np.testing.assert_array_equal(totals, np.asarray(matrix(batches).sum(axis=1)).ravel())
    first = batches[0]
    assert [str(t.dtype) for t in (first.values, first.indices, first.indptr, first.size_factor, first.cell)] == [
        "torch.int32",
        "torch.int32",
        "torch.int64",
        "torch.float32",
        "torch.int64",
    ]
    assert all(b.measured.data_ptr() == first.measured.data_ptr() for b in batches)


def test_from_disk_equals_anndata(corpus_dir):
    corpus = Corpus.open(corpus_dir)
    stored = ad.concat([ad.read_zarr(corpus_dir / f"train/shard-{i:05d}.zarr") for i in range(1)])
    batches = list(corpus.loader(batch_size=64, labels=["cell_type"]))
    order = np.concatenate([b.cell.numpy() for b in batches])
    assert (matrix(batches) != stored.X[order]).nnz == 0
    types = np.array(corpus.categories["cell_type"])[np.concatenate([b.labels["cell_type"].numpy() for b in batches])]
    assert types.tolist() == stored.obs["cell_type"].to_numpy()[order].tolist()


def test_batches_are_mixed():
    """Cells of one block are spread over the batches of a pool, not kept together."""
    big = many_shards([2048])
    batch = next(iter(CorpusLoader(big, batch_size=64, block_size=64, pool_blocks=16)))
    blocks = np.unique(batch.cell.numpy() // 64)
    assert len(blocks) > 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"labels": ["tissue"]}, "it keeps: cell_type, donor"),
        ({"split": "holdout"}, "train, val, test"),
        ({"split": "test"}, "gives no batch"),
        ({"batch_size": 1000, "drop_last": True}, "gives no batch"),
        ({"rank": 2, "world_size": 2}, "rank=2"),
        ({"pool_blocks": 0}, "pool_blocks=0"),
    ],
)
def test_impossible_settings(corpus, options, message):
    with pytest.raises(SettingsError, match=message):
        CorpusLoader(corpus, **options)


def test_a_file_that_shrinks_while_it_is_read(corpus_dir, tmp_path):
    corpus = Corpus.open(shutil.copytree(corpus_dir, tmp_path / "copy"))
    path = tmp_path / "copy/train/shard-00000.zarr/X/data/c/0"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FormatError, match=r"X/data/c/0: ends before.*truncated"):
        list(corpus.loader())
