import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.metrics.embedding import effective_rank, mean_spread


@given(st.integers(1, 6), st.integers(0, 50))
def test_effective_rank_counts_the_dimensions_used(n, seed):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(8, 8)))[0][:n]
    points = np.concatenate([np.eye(n), -np.eye(n)]) @ axes
    assert effective_rank(points + 5.0) == pytest.approx(n)
    assert effective_rank(3 * points) == pytest.approx(n)


def test_effective_rank_against_the_formula_and_at_the_edges():
    X = np.random.default_rng(0).normal(size=(50, 5)) * [10, 1, 1, 0.1, 0]
    values = np.sqrt(np.clip(np.linalg.eigvalsh(np.cov(X.T)), 0, None))
    share = values[values > 1e-9] / values.sum()
    assert effective_rank(X) == pytest.approx(np.prod(share**-share), rel=1e-6)
    assert effective_rank(np.ones((10, 4))) == 1.0
    assert mean_spread(np.ones((10, 4))) == 0.0
    assert mean_spread(np.array([[0.0, 0.0], [2.0, 4.0]])) == pytest.approx(1.5)
