"""Baselines against scikit-learn, division by donor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from scssl.tasks.translate import baselines
from scssl.tasks.translate.division import divide


@pytest.mark.parametrize("shape", [(60, 200), (200, 60)])
def test_baselines_are_what_their_names_say(shape):
    rng = np.random.default_rng(0)
    X, Q = (rng.normal(size=(n, shape[1])).astype(np.float32) for n in (shape[0], 15))
    Y = (X[:, :3] + rng.normal(size=(shape[0], 3))).astype(np.float32)
    only = {baselines.RIDGE: (0.01,), baselines.PCA_RIDGE: (10.0, 0.001), baselines.KNN: (5.0,)}
    found = {method: value for (method, _), value in baselines._all(X, Q, Y, only)}
    largest = np.linalg.svd(X - X.mean(0), compute_uv=False)[0] ** 2
    np.testing.assert_allclose(found["ridge"], Ridge(0.01 * largest).fit(X, Y).predict(Q), atol=1e-4)
    pca = PCA(10, svd_solver="full").fit(X)
    expected = Ridge(0.001 * largest).fit(pca.transform(X), Y).predict(pca.transform(Q))
    np.testing.assert_allclose(found["PCA + ridge"], expected, atol=1e-3)
    fifty = PCA(50, svd_solver="full").fit(X)
    expected = KNeighborsRegressor(5).fit(fifty.transform(X), Y).predict(fifty.transform(Q))
    np.testing.assert_allclose(found["kNN"], expected, atol=1e-4)


def test_what_is_chosen_suits_the_data():
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(150, 20)).astype(np.float32), rng.normal(size=(20, 2)).astype(np.float32)
    exact = baselines.baselines(X, X[:5], target=X @ W, groups=None)
    noise = baselines.baselines(X, X[:5], target=rng.normal(size=(150, 2)).astype(np.float32), groups=None)
    assert exact.chosen["ridge"]["penalty"] < 1e-3 < noise.chosen["ridge"]["penalty"]
    assert noise.chosen["kNN"]["k"] > 10
    np.testing.assert_allclose(exact.predicted["ridge"], (X @ W)[:5], atol=0.05)
    assert list(exact.predicted) == list(baselines.METHODS)


def test_log_counts():
    counts = sparse.csr_matrix(np.array([[1, 3, 6], [0, 0, 5], [0, 0, 0]]))
    found = baselines.log_counts(counts, np.array([0, 1]))
    np.testing.assert_allclose(found, np.log1p([[2500, 7500], [0, 0], [0, 0]]), rtol=1e-5)


@given(seed=st.integers(0, 500), n_donors=st.integers(1, 6), share=st.sampled_from([0.0, 0.2, 0.4]))
def test_division_is_by_whole_donors(seed, n_donors, share):
    rng = np.random.default_rng(seed)
    groups = rng.choice(np.array([*"abcdef"][:n_donors], dtype=object), size=40)
    groups[rng.random(40) < 0.1] = None
    train, val = divide(40, groups, share=share, seed=seed)
    assert sorted([*train, *val]) == list(range(40))
    assert not set(groups[val]) & set(groups[train])
    assert None not in set(groups[val])
    assert (len(val) > 0) == (share > 0 and len(set(groups) - {None}) > 0 and len(train) < 40)


def test_division_over_cells_has_the_share_wanted():
    train, val = divide(100, None, share=0.2, seed=0)
    assert (len(train), len(val)) == (80, 20)
