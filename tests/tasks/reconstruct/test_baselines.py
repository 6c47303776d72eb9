"""Hold-outs and baselines against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scssl.tasks.reconstruct import baselines
from scssl.tasks.reconstruct.baselines import Given
from scssl.tasks.reconstruct.holdout import Sample, hold_out


def sample_of(seed, n_cells=40, n_genes=12):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.6, 3, size=(n_cells, n_genes))).astype(np.float32)
    measured = np.ones(n_genes, dtype=bool)
    measured[-1] = False
    counts[:, -1] = 0
    return Sample(counts=sp.csr_matrix(counts), measured=measured, measured_share=0.9)


@given(st.integers(0, 99), st.sampled_from(["thinned", "hidden"]), st.floats(0.1, 0.9))
@settings(deadline=None, max_examples=25)
def test_what_is_seen_and_what_is_scored_add_up(seed, how, share):
    sample = sample_of(seed)
    gene_share = np.full(12, 1 / 12)
    split = hold_out(sample, how, share=share, gene_share=gene_share, seed=seed)
    whole = sample.counts.toarray()[split.rows]
    np.testing.assert_array_equal(split.seen.toarray() + split.truth.toarray(), whole)
    assert (split.seen.sum(axis=1) > 0).all()
    if split.hidden is None:
        np.testing.assert_array_equal(split.true_total, split.truth.toarray().sum(axis=1))
        np.testing.assert_array_equal(split.expected_total, split.true_total)
        return
    assert not split.hidden[:, ~sample.measured].any()
    assert (split.seen.toarray()[split.hidden] == 0).all()
    assert (split.truth.toarray()[~split.hidden] == 0).all()
    np.testing.assert_array_equal(split.true_total, whole.sum(axis=1))
    # The total that methods are given comes from what is seen alone.
    visible = 1 - split.hidden[:, :11].mean(axis=1)
    expected = split.seen.toarray().sum(axis=1) / np.maximum(visible, 1e-3)
    np.testing.assert_allclose(split.expected_total, expected, rtol=1e-6)


def test_thinning_is_binomial():
    counts = np.full((4000, 2), 8.0, dtype=np.float32)
    sample = Sample(counts=sp.csr_matrix(counts), measured=np.ones(2, dtype=bool), measured_share=1.0)
    split = hold_out(sample, "thinned", share=0.25, gene_share=np.full(2, 0.5), seed=0)
    found = np.bincount(split.truth.toarray().ravel().astype(int), minlength=9) / 8000
    # Cells without counts on one of the sides are left out, which here are hardly any.
    np.testing.assert_allclose(found, stats.binom.pmf(np.arange(9), 8, 0.25), atol=0.02)


def averaged(given, members):
    """Means of log values and pooled shares over the given cells, by a loop."""
    counts = given.counts.toarray()
    log = np.log1p(counts * given.scale / np.maximum(given.total, 1)[:, None])
    out = np.zeros((2, counts.shape[1]))
    for gene in range(counts.shape[1]):
        cells = [c for c in members if given.seen is None or given.seen[c, gene]]
        chosen = cells or [c for c in range(len(counts)) if given.seen is None or given.seen[c, gene]]
        out[0, gene] = log[chosen, gene].mean()
        out[1, gene] = counts[chosen, gene].sum() / given.total[chosen].sum()
    return out


@pytest.mark.parametrize("hidden", [False, True])
def test_means_and_neighbours_against_loops(hidden):
    rng = np.random.default_rng(0)
    counts = sample_of(1).counts
    seen = rng.random(counts.shape) < 0.7 if hidden else None
    if seen is not None:
        counts = sp.csr_matrix(counts.toarray() * seen)
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel() + 5
    given = Given(counts, total, seen, 1e4)
    everyone = range(counts.shape[0])
    found = baselines.gene_mean(given)(slice(3, 5))
    expected = averaged(given, everyone)
    np.testing.assert_allclose(found.log, np.tile(expected[0], (2, 1)), rtol=1e-4)
    np.testing.assert_allclose(found.share, np.tile(expected[1], (2, 1)), rtol=1e-4)
    labels = rng.choice(["a", "b", "c"], size=counts.shape[0]).astype(object)
    found = baselines.type_mean(given, labels)(slice(0, 4))
    codes = rng.normal(size=(counts.shape[0], 3))
    near = baselines.neighbours(given, codes=codes, k=4)(slice(0, 4))
    for cell in range(4):
        same = averaged(given, [c for c in everyone if labels[c] == labels[cell]])
        np.testing.assert_allclose([found.log[cell], found.share[cell]], same, rtol=1e-4)
        order = np.argsort(((codes - codes[cell]) ** 2).sum(axis=1))[:4]
        np.testing.assert_allclose([near.log[cell], near.share[cell]], averaged(given, order), rtol=1e-4)


def test_components_against_a_singular_value_decomposition():
    counts = sample_of(2, n_cells=60).counts
    given = Given(counts, np.asarray(counts.sum(axis=1), dtype=np.float64).ravel(), None, 1e4)
    log = given.log.toarray()
    centred = log - log.mean(axis=0)
    u, s, v = np.linalg.svd(centred, full_matrices=False)
    found = baselines.Components(given, n=6, seed=0).method(3)(slice(0, 60))
    expected = np.maximum(log.mean(axis=0) + (u[:, :3] * s[:3]) @ v[:3], 0)
    np.testing.assert_allclose(found.log, expected, atol=0.05)
    np.testing.assert_allclose(found.share.sum(axis=1), 1, rtol=1e-5)
