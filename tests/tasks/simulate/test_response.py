"""Changes of groups that were not measured: against formulas written out, and against a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from scssl.tasks.simulate import response
from scssl.tasks.simulate.response import _mixture, _Part, _posterior, kernels, predict


def test_posterior_is_that_of_a_joint_normal_distribution():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    K = root @ root.T + np.eye(5)
    d, v = rng.normal(size=(3, 4)), rng.uniform(0.1, 1, (3, 4))
    density, mean, variance = _posterior(d, v, _Part(kernel=K, slope=0.0), level=np.zeros((4, 5)))
    for gene in range(4):
        seen = K[:3, :3] + np.diag(v[:, gene])
        gain = K[:, :3] @ np.linalg.inv(seen)
        np.testing.assert_allclose(mean[gene], gain @ d[:, gene], rtol=1e-5)
        np.testing.assert_allclose(variance[gene], np.diag(K - gain @ K[:3]), rtol=1e-5)
        expected = multivariate_normal(np.zeros(3), seen).logpdf(d[:, gene]) + 1.5 * np.log(2 * np.pi)
        assert density[gene] == pytest.approx(expected, rel=1e-5)


def test_weights_of_the_mixture_are_found():
    rng = np.random.default_rng(1)
    size = np.where(rng.random(4000) < 0.3, 3.0, 0.5)
    x = rng.normal(size=4000) * size
    log_density = np.stack([-0.5 * (x / s) ** 2 - np.log(s) for s in (3.0, 0.5)])
    np.testing.assert_allclose(_mixture(log_density), [0.3, 0.7], atol=0.04)


def test_slope_makes_changes_follow_the_level():
    level = np.array([[1.0, -2.0, 0.5]])
    part, expected = _Part(kernel=np.eye(3), slope=0.5), np.eye(3) + 0.25 * np.outer(level[0], level[0])
    np.testing.assert_allclose(part.covariance(level, n_seen=2)[0], expected[:2])
    np.testing.assert_allclose(part.variance(level)[0], np.diag(expected))


def test_kernels_know_types_donors_and_likeness():
    types, donors = ["a", "a", "b", "c"], ["1", "2", "1", "1"]
    near = np.array([[0.0, 1], [0, 1], [0.1, 1], [5, -2]])
    found = kernels(types, donors, [near])
    for K in found:
        assert np.linalg.eigvalsh(K).min() > -1e-9
    assert any(K[0, 2] > K[0, 3] for K in found)
    assert any(K[0, 1] < K[0, 0] for K in found)
    assert len(kernels(["a", "b"], None, [near[:2]])) < len(found)
    np.testing.assert_array_equal(kernels(["a"], None, [near[:1]])[0], [[1.0]])


@pytest.fixture(scope="module")
def world():
    """Genes of which a fifth change: half of the variance is common to all groups."""
    rng = np.random.default_rng(2)
    n_groups, n_genes = 7, 600
    active = rng.random(n_genes) < 0.2
    change = (rng.normal(size=n_genes) + 0.6 * rng.normal(size=(n_groups, n_genes))) * active
    variance = rng.uniform(0.01, 0.09, (n_groups, n_genes))
    seen = change + np.sqrt(variance) * rng.normal(size=change.shape)
    covariances = kernels([f"t{i}" for i in range(n_groups)], None, [rng.normal(size=(n_groups, 4))])
    level = rng.normal(size=(n_groups, n_genes))
    return change, seen, variance, active, predict(seen[:6], variance[:6], covariances, level=level)


def test_a_group_not_seen_is_predicted_better_than_by_the_mean_of_the_others(world):
    change, seen, _, active, found = world
    error = ((found.mean[6] - change[6]) ** 2).sum()
    assert error < 0.97 * ((seen[:6].mean(axis=0) - change[6]) ** 2).sum()
    assert error < 0.6 * (change[6] ** 2).sum()
    assert np.abs(found.mean[6, ~active]).mean() < 0.5 * np.abs(seen[:6].mean(axis=0)[~active]).mean()


def test_its_uncertainty_is_about_right_and_larger_than_of_groups_seen(world):
    change, _, _, active, found = world
    inside = np.abs(found.mean[6] - change[6]) <= 1.645 * found.sd[6]
    assert 0.75 < inside[active].mean() < 0.99
    assert found.sd[6, active].mean() > 1.5 * found.sd[:6, active].mean()


def test_genes_at_a_time_do_not_matter(world, monkeypatch):
    _, seen, variance, _, found = world
    level = np.zeros_like(seen)
    covariances = kernels([f"t{i}" for i in range(7)], None, [])
    one = predict(seen[:6], variance[:6], covariances, level=level)
    monkeypatch.setattr(response, "AT_A_TIME", 100)
    np.testing.assert_allclose(predict(seen[:6], variance[:6], covariances, level=level).mean, one.mean)
    assert found.mean.shape == one.mean.shape


def test_one_group_predicts_another_with_all_uncertainty_of_that():
    change = np.concatenate([np.full(20, 2.0), np.zeros(200)])[None]
    found = predict(change, np.full_like(change, 0.01), kernels(["a", "b"], None, []), level=np.zeros((2, 220)))
    assert np.isfinite(found.mean).all()
    assert 0 < found.mean[1, :20].mean() <= 2.01
    assert found.sd[1, :20].mean() > 2 * found.sd[1, 20:].mean()
