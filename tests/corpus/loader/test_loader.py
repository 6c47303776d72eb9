"""The loader: every cell exactly once, the right content, the same order for the same seed."""

from __future__ import annotations

import shutil
from itertools import chain

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus import Corpus, CorpusLoader
from scssl.corpus.loader.balance import equal_draws
from scssl.errors import FormatError, SettingsError

LABELS = ("cell_type", "donor")


@pytest.fixture(scope="module")
def corpus(small_corpus):
    return small_corpus


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
    workers=st.integers(1, 3),
)
def test_every_cell_exactly_once(corpus, block, pool, batch, seed, epoch, drop_last, workers):
    n = corpus.n_cells("train")
    if drop_last and batch > n:
        return
    loader = CorpusLoader(
        corpus, batch_size=batch, block_size=block, pool_blocks=pool, seed=seed, drop_last=drop_last, workers=workers
    )
    loader.set_epoch(epoch)
    batches = cells(loader)
    seen = sorted(chain.from_iterable(batches))
    assert len(batches) == len(loader)
    assert all(len(b) == batch for b in batches[:-1])
    if drop_last:
        assert len(seen) == len(set(seen)) == n - n % batch
    else:
        assert seen == list(range(n))


SHARED = {
    "world": st.integers(1, 7),
    "batch": st.integers(1, 40),
    "block": st.integers(1, 30),
    "pool": st.integers(1, 5),
    "workers": st.integers(1, 3),
    "where": st.sampled_from([None, 'cell_type != "x"', 'donor == "p"']),
}


def ranks(corpus, world, batch, block, pool, **options):
    return [
        CorpusLoader(
            corpus, batch_size=batch, block_size=block, pool_blocks=pool, rank=rank, world_size=world, **options
        )
        for rank in range(world)
    ]


def selected(corpus, where):
    obs = corpus.obs("train")
    holds = {
        None: obs["source"].notna(),
        'cell_type != "x"': ~(obs["cell_type"] == "x"),
        'donor == "p"': obs["donor"] == "p",
    }
    return np.flatnonzero(holds[where]).tolist()


@settings(max_examples=60, deadline=None)
@given(**SHARED)
def test_in_stored_order_ranks_share_out_every_cell(corpus, world, batch, block, pool, workers, where):
    loaders = ranks(corpus, world, batch, block, pool, workers=workers, where=where, shuffle=False)
    seen = list(chain.from_iterable(chain.from_iterable(cells(loader) for loader in loaders)))
    assert seen == selected(corpus, where)


@settings(max_examples=60, deadline=None)
@given(**SHARED, drop_last=st.booleans(), epoch=st.integers(0, 3))
def test_in_training_ranks_never_overlap(corpus, world, batch, block, pool, workers, where, drop_last, epoch):
    chosen = selected(corpus, where)
    each = len(chosen) // world
    if each < (batch if drop_last else 1):
        return
    loaders = ranks(corpus, world, batch, block, pool, workers=workers, where=where, drop_last=drop_last)
    for loader in loaders:
        loader.set_epoch(epoch)
    seen = [cells(loader) for loader in loaders]
    assert {len(batches) for batches in seen} == {each // batch if drop_last else -(-each // batch)}
    assert all(len(part) == batch for batches in seen for part in batches[: each // batch])
    together = list(chain.from_iterable(chain.from_iterable(seen)))
    assert len(together) == len(set(together)) == world * (each - each % batch if drop_last else each)
    assert set(together) <= set(chosen)


@pytest.mark.parametrize("options", [{"world": 7}, {"world": 1, "drop_last": True}, {"world": 3, "drop_last": True}])
def test_left_out_cells_change_with_the_epoch(corpus, options):
    left_out = set()
    for epoch in range(20):
        seen = set()
        for loader in ranks(corpus, batch=10, block=8, pool=2, **options):
            loader.set_epoch(epoch)
            seen |= set(chain.from_iterable(cells(loader)))
        assert len(seen) < corpus.n_cells("train")
        left_out |= set(range(corpus.n_cells("train"))) - seen
    assert len(left_out) > 10


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 40),
    balance=st.sampled_from([None, "cell_type", "source"]),
    where=st.sampled_from([None, 'donor == "p"']),
    shuffle=st.booleans(),
)
def test_threads_do_not_change_the_order(corpus, batch, balance, where, shuffle):
    options = {"batch_size": batch, "where": where, "balance": balance if shuffle else None, "shuffle": shuffle}
    orders = [cells(CorpusLoader(corpus, **options, block_size=8, pool_blocks=2, workers=w)) for w in (1, 2, 5)]
    assert orders[0] == orders[1] == orders[2]


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
        "torch.uint16",
        "torch.uint16",
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


def test_batches_are_mixed(many_shards):
    """Cells of one block are spread over the batches of a pool, not kept together."""
    big = many_shards([2048])
    batch = next(iter(CorpusLoader(big, batch_size=64, block_size=64, pool_blocks=16)))
    blocks = np.unique(batch.cell.numpy() // 64)
    assert len(blocks) > 12


@pytest.fixture(scope="module")
def skewed(many_shards):
    """1,500 cells: 80 % x, 15 % y, 2 % z, 3 % without a type."""
    return many_shards([700, 300, 500], types=(0.8, 0.15, 0.02))


@pytest.mark.parametrize("balance", ["cell_type", "source", "donor"])
@pytest.mark.parametrize("max_repeats", [1, 4, 10])
def test_classes_are_drawn_equally(skewed, balance, max_repeats):
    loader = CorpusLoader(
        skewed, balance=balance, max_repeats=max_repeats, batch_size=100, block_size=16, pool_blocks=8, labels=LABELS
    )
    codes = skewed.obs("train")[balance].cat.codes.to_numpy()
    sizes = np.bincount(codes[codes >= 0])
    drawn = []
    for _ in range(3):
        order = list(chain.from_iterable(cells(loader)))
        drawn.append(np.bincount(order, minlength=codes.size))
        assert len(order) == sizes.sum() == loader.n_cells
        counts = np.bincount(codes[order])
        assert sorted(counts) == sorted(equal_draws(sizes, max_repeats=max_repeats, rng=np.random.default_rng(0)))
    drawn = np.array(drawn)
    assert not drawn[:, codes < 0].any()
    assert drawn.max() <= max_repeats
    for code in range(len(sizes)):
        assert np.ptp(drawn[:, codes == code], axis=1).max() <= 1
    if max_repeats > 1:  # who is drawn once more is redrawn
        assert np.any(drawn[0] != drawn[1])


def test_every_batch_is_balanced_and_has_no_copies(skewed):
    """Classes are interleaved evenly, and copies of a cell come passes apart."""
    loader = CorpusLoader(skewed, balance="cell_type", batch_size=50, block_size=16, labels=["cell_type"])
    shares = []
    for batch in loader:
        assert len(set(batch.cell.tolist())) == batch.n_cells
        shares.append(np.bincount(batch.labels["cell_type"], minlength=3) / batch.n_cells)
    first, second = np.array(shares[: len(shares) // 2]), np.array(shares[len(shares) // 2 :])
    np.testing.assert_allclose(first.mean(axis=0), second.mean(axis=0), atol=0.03)


@pytest.mark.parametrize("world", [2, 3])
def test_balanced_ranks(skewed, world):
    loaders = ranks(skewed, world, 64, 16, 4, balance="cell_type", labels=["cell_type"])
    assert len({len(loader) for loader in loaders}) == 1
    shares = []
    for loader in loaders:
        codes = np.concatenate([batch.labels["cell_type"] for batch in loader])
        shares.append(np.bincount(codes, minlength=3) / codes.size)
    np.testing.assert_allclose(shares, [shares[0]] * world, atol=0.01)


def test_sparse_selections_from_disk(corpus_dir):
    corpus = Corpus.open(corpus_dir)
    obs = corpus.obs("train")
    threshold = int(np.sort(obs["n_counts"])[-20])
    loader = corpus.loader(where=f"n_counts >= {threshold}", batch_size=8, shuffle=False)
    batches = list(loader)
    expected = np.flatnonzero(obs["n_counts"] >= threshold)
    np.testing.assert_array_equal(np.concatenate([b.cell for b in batches]), expected)
    np.testing.assert_array_equal(np.asarray(matrix(batches).sum(axis=1)).ravel(), obs["n_counts"].iloc[expected])


def test_memory_of_batches_that_are_held_is_theirs(corpus):
    held = list(corpus.loader(batch_size=5))
    again = corpus.loader(batch_size=5)
    for batch, same in zip(held, again, strict=True):
        assert batch.values.equal(same.values)
        assert batch.indices.equal(same.indices)


def test_pinned_memory(corpus, monkeypatch):
    pinned = []  # kept, so that nothing else gets their memory
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self.clone())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plain = list(corpus.loader(batch_size=20, pin_memory=True, labels=LABELS))
    assert not pinned  # and no error
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    loader = corpus.loader(batch_size=20, pin_memory=True, labels=LABELS)
    batches = list(loader)
    for batch, expected in zip(batches, plain, strict=True):
        tensors = [batch.values, batch.indices, batch.indptr, batch.size_factor, batch.cell, batch.labels["donor"]]
        # What is given out are the copies.
        assert not {t.data_ptr() for t in tensors} & {t.data_ptr() for t in pinned}
        assert batch.values.equal(expected.values)
        assert batch.labels["donor"].equal(expected.labels["donor"])


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
        ({"workers": 0}, "workers=0"),
        ({"seed": -1}, "seed=-1"),
        ({"where": 'donor == "nobody"'}, "none of its 83 cells"),
        ({"balance": "tissue"}, "balance='tissue'"),
        ({"balance": "donor", "max_repeats": 0}, "max_repeats=0"),
        ({"balance": "donor", "shuffle": False}, "needs shuffle=True"),
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
