"""Counts under another condition: means, spread, and what is kept of the control cells."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scssl.tasks.simulate.generate import around, dispersions, generate, unevenness
from scssl.tasks.simulate.pseudobulks import bulk, to_share, to_value
from scssl.tasks.simulate.space import Space

SHARE = np.array([0.5, 0.2, 0.1, 0.1, 0.09, 0.01])
TARGET = np.array([0.4, 0.1, 0.2, 0.1, 0.09, 0.11])


def cells(n=4000, total=200, dispersion=0.3, seed=0):
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1 / dispersion, dispersion, (n, len(SHARE))) * SHARE * total
    return sp.csr_matrix(rng.poisson(rate))


def make(counts, seed=0, **options):
    options = {"share": SHARE, "target": TARGET, "depth": 1.0, "dispersion": np.full(6, 0.3)} | options
    return generate(counts, rng=np.random.default_rng(seed), **options)


def test_simulated_cells_are_negative_binomial_around_the_new_mean():
    made = make(cells(), depth=1.5).toarray()
    mean = 1.5 * 200 * TARGET
    np.testing.assert_allclose(made.mean(axis=0), mean, rtol=0.06)
    # Up and down alike; given totals vary themselves, which adds a little.
    np.testing.assert_allclose(made.var(axis=0), mean + 0.3 * mean**2, rtol=0.3)


def test_cells_keep_what_they_were_and_nothing_happens_where_nothing_changes():
    counts = cells(500)
    np.testing.assert_array_equal(make(counts, target=SHARE).toarray(), counts.toarray())
    made = make(counts).toarray()
    for gene in range(6):
        assert np.corrcoef(made[:, gene], counts.toarray()[:, gene])[0, 1] > (0.6 if gene < 5 else 0.1)
    assert (made[:, 1] <= counts.toarray()[:, 1]).all()
    assert (made[:, 2] >= counts.toarray()[:, 2]).all()
    assert made.dtype == np.int64
    np.testing.assert_array_equal(make(counts, seed=1).toarray(), make(counts, seed=1).toarray())
    assert (make(counts, seed=2) != make(counts, seed=1)).nnz


def test_a_gene_that_no_control_cell_had_can_appear_and_one_can_vanish():
    share = np.array([0.6, 0.2, 0.1, 0.1, 0.0, 0.0])
    counts = cells(3000).toarray()
    counts[:, 4:] = 0
    made = make(sp.csr_matrix(counts), share=share, target=np.array([0.6, 0.2, 0.1, 0.0, 0.1, 0.0])).toarray()
    assert made[:, 4].mean() == pytest.approx(0.1 * counts.sum(axis=1).mean(), rel=0.1)
    assert not made[:, 3].any()
    assert not made[:, 5].any()


def test_unevenness_keeps_means_is_seen_and_is_found_again():
    counts = cells(6000, dispersion=0.05)
    options = {"dispersion": np.full(6, 0.05)}
    even, uneven = (make(counts, unevenness=u, **options) for u in (0.0, 0.2))
    np.testing.assert_allclose(uneven.mean(axis=0), even.mean(axis=0), rtol=0.05)
    assert uneven.toarray()[:, 5].var() > 1.3 * even.toarray()[:, 5].var()
    space = Space.fit(sp.vstack([counts, uneven], format="csr"), n_components=4)
    known = dispersions([counts])
    found = [unevenness([(counts[:300], case[300:600])], space=space, dispersion=known) for case in (even, uneven)]
    assert found[0] < 0.05 < found[1] < 0.5


def test_dispersions_are_found():
    groups = []
    for seed in (1, 2):
        counts = cells(3000, dispersion=0.4, seed=seed).toarray()
        # A gene that takes up most of the counts keeps totals from following the others.
        counts = np.concatenate([counts, np.full((3000, 1), 5000)], axis=1)
        groups.append(sp.csr_matrix(counts))
    np.testing.assert_allclose(dispersions(groups)[:5], 0.4, atol=0.08)
    assert (dispersions([sp.csr_matrix((10, 6))]) > 0).all()


def test_around_is_poisson_with_the_cells_own_totals():
    counts = cells(2000)
    made = around(counts, share=TARGET, rng=np.random.default_rng(0)).toarray()
    np.testing.assert_allclose(made.mean(axis=0), TARGET * counts.sum(axis=1).mean(), rtol=0.1)
    totals = np.asarray(counts.sum(axis=1)).ravel()
    assert np.corrcoef(made.sum(axis=1), totals)[0, 1] > 0.9


def test_bulk_against_loops():
    counts = cells(30)
    got, y = bulk(counts), counts.toarray().astype(float)
    totals = y.sum(axis=1)
    share = y.sum(axis=0) / totals.sum()
    np.testing.assert_allclose(got.share, share)
    for gene in range(6):
        error = sum((y[i, gene] - totals[i] * share[gene]) ** 2 for i in range(30)) * 30 / 29 / totals.sum() ** 2
        slope = 1e4 / (4 + 1e4 * share[gene])
        assert got.variance[gene] == pytest.approx(max(error, 1 / totals.sum() ** 2) * slope**2)
    assert got.log_total == pytest.approx(np.log(totals).mean())
    donors = np.arange(30) % 3
    parts = [bulk(counts[np.flatnonzero(donors == d)]) for d in range(3)]
    whole = bulk(counts, donors=donors)
    np.testing.assert_allclose(whole.share, np.mean([p.share for p in parts], axis=0))
    spread = np.stack([p.value for p in parts]).var(axis=0, ddof=1)
    inner = np.mean([p.variance for p in parts], axis=0)
    np.testing.assert_allclose(whole.variance, np.maximum(spread, inner) / 3)


def test_values_and_shares_are_each_others_inverse():
    np.testing.assert_allclose(to_share(to_value(SHARE)), SHARE)
    np.testing.assert_allclose(to_share(to_value(SHARE, offset=1.0), offset=1.0), SHARE)
    assert (to_share(to_value(SHARE) - 100) == 0).all()
