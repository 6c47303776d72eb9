"""The labelled cells of a reference as a corpus, and the donors set apart for validation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scssl
from scssl.tasks.annotate.labelled import LABEL, choose_validation, gather_labelled


@pytest.fixture(scope="module")
def cells():
    return scssl.datasets.simulate_atlas(240, 100, n_types=3)


@pytest.fixture(scope="module")
def model(cells):
    return scssl.pretrain(cells, preset="small", pretext="none", genes="union", max_epochs=1)


def test_cells_are_read_as_those_of_a_query(cells, model):
    rng = np.random.default_rng(0)
    kept = rng.random(240) < 0.7
    codes = rng.integers(0, 3, kept.sum())
    validation = rng.random(kept.sum()) < 0.3
    narrow = cells[:, 20:80].copy()
    share = rng.dirichlet(np.ones(len(model.panel))).astype(np.float32)
    corpus = gather_labelled(
        model.batches(narrow, batch_size=50), model.panel, kept=kept, codes=codes, classes=["a", "b", "c"],
        validation=validation, share=share, name="cells", seed=0,
    )  # fmt: skip
    assert corpus.n_cells("train") == (~validation).sum()
    assert corpus.n_cells("val") == validation.sum()
    whole = next(iter(model.batches(narrow, batch_size=240)))
    dense = np.zeros((240, len(model.panel)))
    rows = np.repeat(np.arange(240), np.diff(whole.indptr.numpy()))
    dense[rows, whole.indices.long().numpy()] = whole.values.float().numpy()
    seen = []
    for split in ("train", "val"):
        for batch in corpus.loader(split=split, batch_size=16, labels=[LABEL], seed=1):
            place = corpus.rows[batch.cell.numpy()]
            seen.append(place)
            assert (validation[place] == (split == "val")).all()
            assert batch.labels[LABEL].tolist() == codes[place].tolist()
            mine = np.flatnonzero(kept)[place]
            found = np.zeros((batch.n_cells, len(model.panel)))
            inside = np.repeat(np.arange(batch.n_cells), np.diff(batch.indptr.numpy()))
            found[inside, batch.indices.long().numpy()] = batch.values.float().numpy()
            np.testing.assert_array_equal(found, dense[mine])
            np.testing.assert_array_equal(batch.size_factor, dense[mine].sum(1))
            assert batch.measured[0].tolist() == whole.measured[0].tolist()
            measured = whole.measured[0].numpy()
            np.testing.assert_allclose(batch.measured_share[0], share[measured].sum(), rtol=1e-5)
    assert sorted(np.concatenate(seen).tolist()) == list(range(kept.sum()))


@given(st.integers(0, 10_000))
def test_every_label_keeps_cells_to_learn_from(seed):
    rng = np.random.default_rng(seed)
    n, n_donors = int(rng.integers(2, 120)), int(rng.integers(2, 8))
    donors = rng.integers(-1, n_donors, n)
    codes = rng.integers(0, int(rng.integers(1, 6)), n)
    if len(np.unique(donors[donors >= 0])) < 2:
        return
    chosen, by_donor = choose_validation(codes, donors, share=0.2, seed=seed)
    assert set(codes[~chosen].tolist()) == set(codes.tolist())
    if by_donor:
        assert chosen.any()
        assert not set(donors[chosen].tolist()) & set(donors[~chosen].tolist())
        assert (donors[chosen] >= 0).all()


def test_donors_who_alone_have_a_label_are_learned_from():
    donors = np.repeat(np.arange(6), 20)
    codes = np.tile([0, 1], 60)
    codes[donors == 2] = 5
    for seed in range(10):
        chosen, by_donor = choose_validation(codes, donors, share=0.2, seed=seed)
        assert by_donor
        assert not (chosen & (donors == 2)).any()


def test_where_every_donor_has_a_label_of_its_own_cells_are_set_apart(caplog):
    donors = np.repeat(np.arange(3), 20)
    chosen, by_donor = choose_validation(donors, donors, share=0.2, seed=0)
    assert not by_donor
    assert "validation is by cells" in caplog.text
    assert np.bincount(donors[chosen]).tolist() == [4, 4, 4]


def test_by_cells_a_label_seen_once_is_learned_from():
    codes = np.array([0] * 50 + [1] * 2 + [2])
    for seed in range(20):
        chosen, by_donor = choose_validation(codes, None, share=0.2, seed=seed)
        assert not by_donor
        assert not chosen[-1]
        assert chosen[:50].sum() in (10, 11)
        assert chosen[50:52].sum() <= 1
    assert not choose_validation(codes, None, share=0.0, seed=0)[0].any()
