"""Shares of measured genes: against a slow reference, and against the truth when genes were hidden."""

from __future__ import annotations

import numpy as np
import pytest

from scssl.corpus.size_factors import gene_share, measured_share


def slow_gene_share(counts, measured, n_cells, rounds=3000):
    """The two equations of the docstring, one number at a time."""
    n_sources, n_genes = counts.shape
    weight = [min(n, 5 * np.median(n_cells)) for n in n_cells]
    totals = [sum(counts[s, g] for g in range(n_genes) if measured[s, g]) for s in range(n_sources)]
    seen = [1.0] * n_sources
    share = [0.0] * n_genes
    for _ in range(rounds):
        for g in range(n_genes):
            above = below = 0.0
            for s in range(n_sources):
                if measured[s, g]:
                    above += weight[s] * seen[s] * counts[s, g] / totals[s]
                    below += weight[s]
            share[g] = above / below if below else 0.0
        total = sum(share)
        share = [x / total for x in share]
        new = [sum(share[g] for g in range(n_genes) if measured[s, g]) for s in range(n_sources)]
        if max(abs(a - b) for a, b in zip(seen, new, strict=True)) < 1e-10:
            break
        seen = new
    return np.array(share)


def random_sources(rng, n_sources, n_genes, share_measured):
    measured = rng.random((n_sources, n_genes)) < share_measured
    measured[0] = True
    counts = rng.integers(0, 1000, (n_sources, n_genes)) * measured
    return counts, measured, rng.integers(1, 50, n_sources) ** 3


@pytest.mark.parametrize("seed", range(3))
def test_against_slow_reference(seed):
    rng = np.random.default_rng(seed)
    counts, measured, n_cells = random_sources(rng, 4, 25, 0.6)
    fast = gene_share(counts, measured, n_cells=n_cells)
    np.testing.assert_allclose(fast, slow_gene_share(counts, measured, n_cells), rtol=1e-4, atol=1e-7)
    slow_seen = [sum(fast[g] for g in range(25) if measured[s, g]) for s in range(4)]
    np.testing.assert_allclose(measured_share(fast, measured), slow_seen, rtol=1e-5)


def test_complete_data_give_the_mean_profile():
    counts = np.array([[10, 30, 60], [50, 25, 25]])
    share = gene_share(counts, np.ones((2, 3), dtype=bool), n_cells=np.array([7, 7]))
    np.testing.assert_allclose(share, [0.3, 0.275, 0.425], rtol=1e-6)


def test_recovers_the_truth_from_sources_that_measured_different_genes():
    """Cells of one kind, genes hidden at random; no single source saw everything."""
    rng = np.random.default_rng(0)
    truth = rng.gamma(0.3, size=800)
    truth /= truth.sum()
    measured = rng.random((12, 800)) < rng.uniform(0.05, 0.7, (12, 1))
    counts = rng.poisson(3e6 * truth * measured)
    share = gene_share(counts, measured, n_cells=np.full(12, 1000))
    anywhere = measured.any(axis=0)
    target = truth * anywhere / truth[anywhere].sum()
    np.testing.assert_allclose(measured_share(share, measured), measured @ target, rtol=0.02)
    assert share.sum() == pytest.approx(1, abs=1e-5)
    assert not share[~anywhere].any()


def test_corrected_totals_of_a_small_panel_agree_with_the_whole(atlas):
    """The purpose: total / measured_share of a source with hidden genes is near its total over all genes."""
    X = atlas.X.astype(np.int64)
    study = atlas.obs["study"].cat.codes.to_numpy()
    rng = np.random.default_rng(0)
    measured = np.ones((3, atlas.n_vars), dtype=bool)
    measured[2, rng.random(atlas.n_vars) < 0.7] = False
    complete = np.stack([np.asarray(X[study == s].sum(axis=0)).ravel() for s in range(3)])
    cells = np.bincount(study)
    seen = measured_share(gene_share(complete * measured, measured, n_cells=cells), measured)
    true_total = complete[2].sum() / cells[2]
    naive = (complete[2] * measured[2]).sum() / cells[2]
    assert abs(naive / seen[2] - true_total) < 0.15 * true_total
    assert abs(naive - true_total) > 0.4 * true_total
    np.testing.assert_allclose(seen[:2], 1, atol=1e-6)


def test_one_huge_source_does_not_decide_alone():
    counts = np.array([[90, 10], [10, 90], [10, 90]])
    share = gene_share(counts, np.ones((3, 2), dtype=bool), n_cells=np.array([10**9, 10, 10]))
    np.testing.assert_allclose(share[0], (5 * 0.9 + 0.1 + 0.1) / 7, rtol=1e-6)


def test_nothing_to_go_by():
    measured = np.array([[True, True, False], [False, False, True]])
    share = gene_share(np.zeros((2, 3), dtype=np.int64), measured, n_cells=np.zeros(2, dtype=np.int64))
    np.testing.assert_allclose(share, 1 / 3)
    share = gene_share(np.array([[5, 5, 0], [0, 0, 0]]), measured, n_cells=np.array([3, 0]))
    assert measured_share(share, measured).tolist() == [1, 1]
