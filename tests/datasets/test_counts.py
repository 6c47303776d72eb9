"""The sparse negative binomial sampler, against the distribution itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scssl.datasets.counts import negative_binomial


@pytest.mark.parametrize("mean", [0.03, 0.7, 3.9, 4.1, 60.0])
@pytest.mark.parametrize("dispersion", [0.05, 0.4, 5.0])
def test_follows_the_distribution_of_scipy(mean, dispersion):
    n = 40_000
    rng = np.random.default_rng(1)
    drawn = negative_binomial(np.full((n, 1), mean, np.float32), dispersion=np.array([dispersion]), rng=rng)
    values = drawn.toarray().ravel()
    exact = stats.nbinom(1 / dispersion, 1 / (1 + mean * dispersion))
    # Largest distance between distribution functions; 1.95 / sqrt(n) is exceeded once in a thousand times.
    support = np.arange(values.max() + 1)
    observed = np.searchsorted(np.sort(values), support, side="right") / n
    assert np.abs(observed - exact.cdf(support)).max() < 1.95 / np.sqrt(n)
    error = np.sqrt(exact.var() / n)
    assert abs(values.mean() - mean) < 4 * error


def test_sparse_form():
    rng = np.random.default_rng(0)
    mean = np.exp(rng.normal(-1, 2, (50, 30))).astype(np.float32)
    mean[:, 3] = 0
    drawn = negative_binomial(mean, dispersion=np.full(30, 0.2), rng=rng)
    assert drawn.has_canonical_format
    assert drawn.data.min() >= 1
    assert drawn[:, 3].nnz == 0
    assert drawn.dtype == np.int32


def test_entries_are_independent_and_keep_their_gene():
    rng = np.random.default_rng(2)
    mean = np.tile(np.array([0.1, 2.0, 30.0], np.float32), (4000, 1))
    drawn = negative_binomial(mean, dispersion=np.array([0.1, 1.0, 0.3]), rng=rng).toarray()
    np.testing.assert_allclose(drawn.mean(0), mean[0], rtol=0.1)
    np.testing.assert_allclose(drawn.var(0), mean[0] + np.array([0.1, 1.0, 0.3]) * mean[0] ** 2, rtol=0.15)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.06


def test_no_entries_above_zero():
    rng = np.random.default_rng(0)
    assert negative_binomial(np.zeros((3, 2), np.float32), dispersion=np.ones(2), rng=rng).nnz == 0
